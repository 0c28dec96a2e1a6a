"""What studies train can be built, and what they measure is what they say."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from experiments._study import random_return
from experiments.dima_mabrax import presets as dima_mabrax
from experiments.dima_puck import presets as dima_puck
from experiments.gem_discrete import presets as gem_discrete
from experiments.gem_toy import measures
from experiments.gem_toy import presets as gem_toy
from experiments.mabrax_ppo import presets as mabrax_ppo
from experiments.mazero_matrix import presets as mazero_matrix
from experiments.mazero_micro import presets as mazero_micro
from experiments.mazero_search import presets as mazero_search
from experiments.q_methods import presets as q_methods
from experiments.rag_serving import presets as rag_serving
from experiments.tad_hallway import presets as tad_hallway
from experiments.tad_matrix_games import presets as tad_matrix_games
from experiments.uber_offline import measures as uber_measures
from experiments.uber_offline import presets as uber_offline
from experiments.uber_online import presets as uber_online
from experiments.value_factorization import presets as value_factorization

WITH_GYMNAX, WITH_JUMANJI = (importlib.util.find_spec(name) is not None for name in ("gymnax", "jumanji"))
PRESETS = [
    *dima_puck.equal_runs(),
    *dima_puck.long_runs(),
    *(gem_discrete.all_runs() if WITH_GYMNAX else ()),
    *gem_toy.plain_runs(),
    *gem_toy.delayed_runs(),
    *gem_toy.shown_runs(),
    *gem_toy.ablation_runs(),
    *mazero_matrix.runs(),
    *mazero_micro.hallway_runs(),
    *mazero_micro.fight_runs(),
    *mazero_micro.paper_runs(),
    *mazero_search.runs(tuple(name for name in mazero_search.TASKS if name != "connector" or WITH_JUMANJI)),
    *q_methods.game_runs(),
    *q_methods.hallway_runs(),
    *rag_serving.all_runs(),
    *tad_hallway.partial_runs(),
    *tad_hallway.observed_runs(),
    *tad_matrix_games.named_runs("common"),
    *tad_matrix_games.named_runs("named"),
    *tad_matrix_games.random_runs(),
    *uber_offline.source_runs(),
    *uber_online.runs(Path("none"), (uber_online.TD3,)),
    *value_factorization.mmdp_runs(),
    *value_factorization.game_runs(),
]


def test_names_are_unique_in_a_study():
    for runs in (
        gem_toy.plain_runs() + gem_toy.delayed_runs() + gem_toy.shown_runs() + gem_toy.ablation_runs(),
        value_factorization.mmdp_runs(),
        gem_discrete.all_runs(),
        mazero_matrix.runs(),
        mazero_micro.hallway_runs() + mazero_micro.fight_runs() + mazero_micro.paper_runs(),
        rag_serving.all_runs(),
        uber_offline.source_runs() + uber_offline.learner_runs(Path("none")) + uber_offline.library_runs(Path("none")),
        uber_online.runs(Path("none"), (uber_online.TD3, *uber_online.METHODS)),
    ):
        names = [preset.name for preset in runs]
        assert len(set(names)) == len(names)
    assert len({preset.name for preset in mabrax_ppo.runs("small") + mabrax_ppo.runs("full")}) == 18
    assert len({preset.name for preset in dima_mabrax.runs("small") + dima_mabrax.runs("full")}) == 12


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_runs_can_be_built(preset):
    experiment = preset.experiment()
    (group,) = experiment.groups()
    assert len(group.lanes) == experiment.options.seeds * len(experiment.points())


def test_ratios_of_areas():
    ours, theirs = np.full(8, 3.0), np.full(8, 2.0)
    assert measures.ratio(ours, theirs) == "1.50 [1.50, 1.50]"
    assert measures.ratio(ours, np.array([-1.0, 1.0, 0.5, 0.5])) == "–"
    spread = measures.ratio(np.arange(1.0, 9.0), theirs)
    value, low, high = (float(part.strip("[],")) for part in spread.split())
    assert value == 2.25 and low < value < high and low > 1.5 and high < 3.0


def test_offline_learners_are_compared_with_their_data():
    """Medium data is to be reached, expert data to 90 % of the way from random play."""
    final = np.array([-21.0, -19.0])
    for tier, mean, said in (("medium", -20.0, "yes"), ("medium", -19.0, "no (-19.0)"), ("expert", -10.0, "yes")):
        assert uber_measures.is_reached(final, tier=tier, mean=mean, random=-110.0) == said
    assert uber_measures.is_reached(final, tier="expert", mean=-8.0, random=-110.0) == "no (-18.2)"


def test_td3_and_uber_are_matched():
    """Networks, batches, replay and warm-up of the second phase."""
    td3, uber = (preset.experiment().config for preset in uber_online.runs(Path("none"), ("TD3", "UBER"))[:2])
    for name in (
        "hidden",
        "batch_size",
        "learning_rate",
        "capacity",
        "warmup_steps",
        "rollout_length",
        "gradient_steps",
    ):
        assert getattr(td3, name) == getattr(uber, name)
    for name in ("gamma", "target_rate", "policy_delay", "exploration_noise", "n_step"):
        assert getattr(td3, name) == getattr(uber, name)


def test_return_of_uniform_actions():
    """A chain of two steps, of which each takes one of two actions: one in four of a thousand episodes gets through."""
    env, wrong = "toy/chain", {"length": 2, "limit": 2, "wrong": "end"}
    assert random_return(env, **wrong) == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 1000) ** 0.5)


def test_gem_and_dqn_are_matched():
    """What the two configs have in common, in the units of either."""
    gem, dqn = gem_discrete.GEM, gem_discrete.DQN
    for name in ("num_envs", "capacity", "batch_size", "learning_rate"):
        assert gem[name] == dqn[name]
    assert gem["hidden"] == (dqn["width"],) * 2 and gem["warmup_steps"] == dqn["learning_starts"]
    steps = [config["num_envs"] * config["rollout_length"] for config in (gem, dqn)]
    assert steps[0] / gem["gradient_steps"] == steps[1] / dqn["gradient_steps"]
    assert gem["target_period"] == dqn["target_period"]


@pytest.mark.parametrize("study", [mazero_matrix, mazero_micro], ids=["matrix", "micro"])
def test_mazero_and_qmix_begin_to_learn_at_the_same_step(study):
    """QMIX counts stretches of experience, and MAZero steps; both take as many gradient steps per step."""
    q, planner = study.QMIX, study.MAZERO
    assert q["learning_starts"] * q["rollout_length"] == planner["warmup_steps"]
    ratios = [c["gradient_steps"] / (c["num_envs"] * c["rollout_length"]) for c in (q, planner)]
    assert ratios[0] == ratios[1]
