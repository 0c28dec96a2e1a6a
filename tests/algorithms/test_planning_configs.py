"""What the planning methods refuse, warn of, and read."""

import dataclasses
import warnings

import jax
import jaxmarl_envs
import numpy as np
import pytest
from toy_envs import Continuous, Noisy, context

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms.planning import MAZeroConfig, agents_apart, team_as_one

NAMES = ("mazero", "muzero-joint", "mcts")
LEARNERS = NAMES[:2]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("mazero", {"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ("mazero", {"num_simulations": 4}, "num_simulations must be at least num_samples, .* got 4 and 5"),
        ("mazero", {"backup": "max"}, "backup must be 'optimistic' or 'mean', got 'max'"),
        ("mazero", {"policy_loss": "bc"}, "policy_loss must be 'awpo' or 'awpo-prior' or 'cloning', got 'bc'"),
        ("mazero", {"drop_lowest": 1.5}, "drop_lowest must lie between 0 and 1, got 1.5"),
        ("mazero", {"advantage_temperature": 0.0}, "advantage_temperature must be finite and positive, got 0.0"),
        ("mazero", {"dropout": 1.0}, "dropout must be below 1, got 1.0"),
        ("mazero", {"num_heads": 7}, "num_heads must divide width 128, got 7"),
        ("mcts", {"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ("mcts", {"simulations": (5, 50)}, r"simulations must be at least num_samples, .* got \(5, 50\) and 10"),
        ("mcts", {"simulations": (20, 20)}, r"simulations must be different numbers, at least one, got \(20, 20\)"),
        ("mcts", {"search": "all"}, "search must be 'sampled' or 'gumbel' or 'muzero', got 'all'"),
        ("muzero-joint", {"gumbel_scale": -1.0}, "gumbel_scale must be finite and not negative, got -1.0"),
        *(
            (name, settings, message)
            for name in LEARNERS
            for settings, message in (
                ({"bin_low": 12.0}, "bin_low must be below bin_high, got 12.0 and 12.0"),
                ({"num_bins": 1}, "num_bins must be at least 2, got 1"),
                ({"reanalysis_parts": 3}, "reanalysis_parts must divide batch_size 32, got 3"),
                ({"hidden": (8, 0)}, r"hidden must hold positive widths, got \(8, 0\)"),
                ({"capacity": 1001}, "capacity must be a multiple of num_envs, .* got 1001 and 8"),
                ({"capacity": 56}, r"capacity must hold the steps of one update .*, 64 steps, got 56"),
                ({"capacity": 64}, r"capacity must hold a stretch of each environment .*, 80 steps, got 64"),
                ({"capacity": 80, "batch_size": 96}, r"capacity must hold a batch .*, 96 steps, got 80"),
            )
        ),
    ],
)  # fmt: skip
def test_settings_that_cannot_work(name, settings, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(algorithms.get(name).default_config, **settings)


@pytest.mark.parametrize("name", NAMES)
def test_continuous_actions_are_refused(name):
    spec = algorithms.get(name)
    with pytest.raises(
        ValueError, match=f"{name} supports discrete actions, but 'test/continuous' has continuous ones"
    ):
        spec.build(spec.default_config, Continuous())


def test_more_joint_actions_than_can_be_listed_are_refused_with_what_takes_them():
    many = Noisy(8)  # 3 actions each
    joint, mcts = algorithms.get("muzero-joint"), algorithms.get("mcts")
    found = r"at most 4,096, but 'test/noisy' has 6,561 \(3 actions of 8 agents\)"
    with pytest.raises(ValueError, match=f"muzero-joint enumerates joint actions, {found}; mazero samples them"):
        joint.build(joint.default_config, many)
    for search in ("gumbel", "muzero"):
        with pytest.raises(ValueError, match=f"mcts with search '{search}' .*{found}; search 'sampled' draws"):
            mcts.build(dataclasses.replace(mcts.default_config, search=search), many)
    assert mcts.build(mcts.default_config, many) and algorithms.get("mazero").build(MAZeroConfig(), many)


@pytest.mark.parametrize("name", LEARNERS)
def test_bins_that_cannot_hold_the_optimum_are_warned_of_with_the_number_needed(name):
    spec, env = algorithms.get(name), jaxmarl_envs.make("matrix/M1", horizon=10)
    assert env.spec.optimum == 80.0
    narrow = dataclasses.replace(spec.default_config, bin_low=-5.0, bin_high=5.0, num_bins=11)
    with pytest.warns(UserWarning, match=r"matrix/M1: returns from 0 to 80 do not fit .*num_bins of 10"):
        spec.build(narrow, env)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spec.build(spec.default_config, env)
    low, high = spec.default_config.bins.bounds
    assert low < -120 and high > 100, "M1 to M4 over ten steps"


def test_a_team_as_one_agent():
    spec = Noisy(2).spec
    view = team_as_one("test", spec)
    assert (view.n_agents, view.num_actions, view.obs_size) == (1, 9, 4)
    obs = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert view.encode(obs).tolist() == [[[0, 1, 2, 3]], [[4, 5, 6, 7]]]
    actions = view.to_env(np.arange(9)[:, None])
    assert actions.tolist() == [[i, j] for i in range(3) for j in range(3)]
    mask = np.array([[[True, False, True], [False, True, True]]])
    legal = np.asarray(view.legal(mask))
    assert legal.shape == (1, 1, 9)
    assert legal[0, 0].tolist() == [mask[0, 0, i] and mask[0, 1, j] for i in range(3) for j in range(3)]


def test_agents_are_told_who_they_are():
    spec = Noisy(2).spec
    obs = np.ones((4, 2, 2), np.float32)
    told, alike = (agents_apart(spec, agent_id=choice) for choice in (True, False))
    assert told.obs_size == 4 and alike.obs_size == 2
    assert told.encode(obs)[3].tolist() == [[1, 1, 1, 0], [1, 1, 0, 1]]
    assert alike.encode(obs)[3].tolist() == [[1, 1], [1, 1]]


class Watched:
    """A config whose fields are noted when they are read."""

    def __init__(self, config, seen):
        self._config, self._seen = config, seen

    def __getattr__(self, name):
        self._seen.add(name)
        return getattr(self._config, name)


SMALL = {"capacity": 96, "num_simulations": 5, "width": 8, "hidden": (), "head_hidden": (), "warmup_steps": 1}
SETTINGS = {"mazero": [{"cool_down": True}], "mcts": [{}, {"search": "gumbel", "rollout_steps": 1}]}
BEHIND_PROPERTIES = {"bin_low", "bin_high"}


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_a_config_is_read(name):
    """By the update or in acting, in one setting or another."""
    spec, env, seen = algorithms.get(name), Noisy(), set()
    small = {k: v for k, v in SMALL.items() if hasattr(spec.default_config, k)}
    for changes in SETTINGS.get(name, [{}]):
        config = dataclasses.replace(spec.default_config, **small, **changes)
        (phase,) = spec.build(Watched(config, seen), env)
        algorithm = phase.algorithm

        def run(key, algorithm=algorithm, config=config):
            ctx = dataclasses.replace(context(config, env), hp=Watched(config, seen))
            state, _ = algorithm.update(algorithm.init(key, ctx), ctx)
            shown = env.reset(key, ())
            shown = jax.tree.map(lambda x: x[None], shown if algorithm.sees_state else shown[1])
            return algorithm.act(algorithm.policy(state), algorithm.init_carry(1), shown, key, ctx)

        jax.eval_shape(run, jax.random.key(0))
    seen |= BEHIND_PROPERTIES & {field.name for field in dataclasses.fields(spec.config)}
    assert seen >= {field.name for field in dataclasses.fields(spec.config)}
