"""What Q-learning cannot do is refused, with a message that names the thing, what came, and what is accepted."""

import dataclasses

import pytest
from jaxmarl_envs import TimeLimit
from q_tools import NAMES, config_of
from toy_envs import Continuous, Noisy

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms import traced_fields

MIXING = ("qmix", "qtran", "cw-qmix", "ow-qmix", "qplex")


@pytest.mark.parametrize("name", MIXING)
def test_mixing_needs_a_team(name):
    with pytest.raises(ValueError) as error:
        algorithms.get(name).build(config_of(name), Noisy(n_agents=1))
    assert str(error.value) == (
        f"{name} mixes the utilities of at least 2 agents, but 'test/noisy' has 1; iql and vdn take one"
    )


@pytest.mark.parametrize("name", ["iql", "vdn"])
def test_one_agent_is_a_team_for_these(name):
    (phase,) = algorithms.get(name).build(config_of(name), Noisy(n_agents=1))
    assert phase.algorithm.env_steps_per_update == 8


@pytest.mark.parametrize("name", NAMES)
def test_continuous_actions_are_refused_by_name(name):
    with pytest.raises(ValueError, match=f"^{name} supports discrete actions, but 'test/continuous' has continuous"):
        algorithms.get(name).build(config_of(name), Continuous())


@pytest.mark.parametrize("name", NAMES)
def test_a_state_that_is_not_there_is_missed(name):
    config, without = config_of(name, context="state"), Noisy(has_state=False)
    with pytest.raises(
        ValueError, match=r"context 'state' needs a global state, which 'test/noisy' does not have; use"
    ):
        algorithms.get(name).build(config, without)
    algorithms.get(name).build(config, Noisy())
    for context in ("auto", "observations"):
        algorithms.get(name).build(dataclasses.replace(config, context=context), without)


@pytest.mark.parametrize(
    ("env", "limit"), [(Noisy(), "None"), (TimeLimit(Noisy(), limit=5), "5")], ids=["no limit", "limit 5"]
)
def test_whole_episodes_must_fit(env, limit):
    config = config_of("vdn", whole_episodes=True, rollout_length=4)
    with pytest.raises(ValueError) as error:
        algorithms.get("vdn").build(config, env)
    assert str(error.value) == (
        "whole_episodes needs a rollout_length of at least the episode limit of 'test/noisy', " + limit + ", got 4"
    )


def test_whole_episodes_that_fit():
    config = config_of("vdn", whole_episodes=True, rollout_length=4)
    algorithms.get("vdn").build(config, TimeLimit(Noisy(), limit=4))


SIZES = {
    "vdn": ["num_envs", "rollout_length", "capacity", "batch_size", "gradient_steps", "width"],
    "qmix": ["embed", "hyper_hidden"],
    "qplex": ["heads", "hyper_hidden", "depth"],
    "qtran": ["joint_hidden"],
    "cw-qmix": ["central_hidden", "embed"],
}


@pytest.mark.parametrize(("name", "field"), [(n, f) for n, fields in SIZES.items() for f in fields])
@pytest.mark.parametrize("value", [0, -3])
def test_sizes_must_be_positive(name, field, value):
    with pytest.raises(ValueError, match=f"^{field} must be at least 1, got {value}$"):
        config_of(name, **{field: value})


@pytest.mark.parametrize("field", ["target_period", "learning_starts"])
def test_counts_must_not_be_negative(field):
    with pytest.raises(ValueError, match=f"^{field} must be at least 0, got -1$"):
        config_of("vdn", **{field: -1})
    config_of("vdn", **{field: 0})


FRACTIONS = ["gamma", "target_rate", "epsilon_start", "epsilon_end", "importance_exponent", "priority_exponent"]


@pytest.mark.parametrize(
    ("name", "field"), [*(("vdn", f) for f in FRACTIONS), ("cw-qmix", "alpha"), ("ow-qmix", "alpha")]
)
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_fractions_lie_between_0_and_1(name, field, value):
    with pytest.raises(ValueError, match=f"^{field} must lie between 0 and 1, got {value}$"):
        config_of(name, **{field: value})
    config_of(name, **{field: 0}), config_of(name, **{field: 1.0})


@pytest.mark.parametrize(
    ("name", "field"),
    [
        *(("vdn", f) for f in ("learning_rate", "optimizer_eps", "max_grad_norm", "epsilon_steps")),
        ("qtran", "optimal_weight"),
        ("qtran", "other_weight"),
    ],
)
def test_amounts_are_not_negative(name, field):
    for value in (-0.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"^{field} must be finite and not negative, got {value}$"):
            config_of(name, **{field: value})


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("vdn", {"capacity": 3, "batch_size": 4, "num_envs": 1}, r"hold a batch \(batch_size 4\), got 3 sequences"),
        ("vdn", {"capacity": 3, "num_envs": 4}, r"the sequences of one update \(num_envs 4\), got 3 sequences"),
        ("vdn", {"optimizer": "sgd"}, "optimizer must be 'rmsprop' or 'adam', got 'sgd'"),
        ("vdn", {"context": "global"}, "context must be 'auto', 'state' or 'observations', got 'global'"),
    ],
)
def test_settings_that_cannot_work(name, changes, message):
    with pytest.raises(ValueError, match=message):
        config_of(name, **changes)


def test_qplex_transformations():
    config = config_of("qplex", transformation="attention")
    with pytest.raises(ValueError, match="transformation must be 'weighted-head' or 'qatten', got 'attention'"):
        algorithms.get("qplex").build(config, Noisy())


def test_what_may_differ_between_lanes():
    every = {"importance_exponent", "learning_rate", "optimizer_eps", "max_grad_norm", "gamma", "target_rate",
             "epsilon_start", "epsilon_end", "epsilon_steps"}  # fmt: skip
    own = {"qtran": {"optimal_weight", "other_weight"}, "cw-qmix": {"alpha"}, "ow-qmix": {"alpha"}}
    for name in NAMES:
        assert set(traced_fields(config_of(name))) == every | own.get(name, set())
