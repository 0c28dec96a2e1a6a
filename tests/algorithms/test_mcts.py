"""Planning in the environment itself, as the runner evaluates it."""

import dataclasses

import jax
import jaxmarl_envs
import pytest
from jaxmarl_envs import EpisodeStatistics
from runner_tools import metrics
from toy_envs import context

from jaxmarl_suite import algorithms
from jaxmarl_suite.runner import Experiment, TrainOptions, make_act, restore_policies, run
from jaxmarl_suite.runner._play import evaluate_policy

MCTS = algorithms.get("mcts")


@pytest.mark.parametrize(
    ("settings", "low", "high"),
    [
        # 8 (1 - (8/9)^20) = 7.2 on average, with a standard error of 0.4.
        ({"num_samples": 20}, 5.6, 8.0),
        ({"search": "gumbel"}, 8.0, 8.0),
        # mctx's MuZero takes what it has not tried for the worst that it has: where it finds 0 after -12, it stays.
        pytest.param({"search": "muzero"}, 0.0, 8.0, marks=pytest.mark.slow),
    ],
)
def test_one_step_of_a_game(settings, low, high):
    """The best joint action of M1 pays 8, wrong ones next to it -12; among 20 drawn ones the best is missing at times."""
    env = EpisodeStatistics(jaxmarl_envs.make("matrix/M1", horizon=1))
    config = dataclasses.replace(MCTS.default_config, **{"simulations": (20, 50), **settings})
    (phase,) = MCTS.build(config, env)
    algorithm = phase.algorithm
    state = algorithm.init(jax.random.key(0), context(config, env))

    def play(key):
        return evaluate_policy(
            algorithm, env, algorithm.policy(state), context(config, env), key, episodes=32, max_steps=1
        )

    found = jax.jit(play)(jax.random.key(1)).metrics
    assert found["search-20/return"] <= 8.0 and low <= found["return"] <= high


def test_a_run_reports_returns_by_simulations(tmp_path):
    """No environment step is taken; recorded episodes do not show what the search needs."""
    config = dataclasses.replace(MCTS.default_config, simulations=(9, 18), search="gumbel", rollout_steps=1)
    options = TrainOptions(total_steps=1, evaluations=1, eval_episodes=4, absolute_episodes=0)
    run_dir = run(Experiment("mcts", "matrix/M1", config, {"horizon": 1}, {}, options), run_dir=tmp_path / "run")
    (found,) = metrics(run_dir, "eval")
    assert {"return", "search-9/return"} <= found.keys() and found["return"] == 8.0
    (trained,) = restore_policies(run_dir)
    with pytest.raises(ValueError, match="plans from the environment's state"):
        make_act(trained, 0)
    assert trained.env_steps == 0
