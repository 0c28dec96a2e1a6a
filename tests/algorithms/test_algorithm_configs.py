"""Settings, pairings and names that cannot work are refused with a message that says why."""

import dataclasses
import importlib.metadata
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_envs import Continuous, Noisy

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms import AlgorithmSpec, Phase, hyperparameters, traced_fields
from jaxmarl_suite.algorithms.core import _registry
from jaxmarl_suite.algorithms.ppo._config import PPOConfig
from jaxmarl_suite.algorithms.ppo.tad_ppo import TADConfig


@pytest.mark.parametrize(
    "field", ["num_envs", "rollout_length", "epochs", "minibatches", "memory_size", "chunk_length"]
)
@pytest.mark.parametrize("value", [0, -3])
def test_sizes_must_be_positive(field, value):
    with pytest.raises(ValueError, match=f"{field} must be at least 1, got {value}"):
        PPOConfig(**{field: value})


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"hidden": (8, 0)}, r"hidden must hold positive widths, got \(8, 0\)"),
        ({"distribution": "beta"}, "distribution must be 'gaussian' or 'tanh-normal', got 'beta'"),
        ({"initial_std": 0.0}, "initial_std must lie between 0.01 and 5, got 0.0"),
        ({"value_loss": "l1"}, "value_loss must be 'mse' or 'huber', got 'l1'"),
        ({"minibatches": 3, "num_envs": 4, "rollout_length": 4}, "must divide the 16 steps of a rollout, got 3"),
        (
            {"recurrent": True, "minibatches": 3, "num_envs": 4, "rollout_length": 4, "chunk_length": 2},
            "must divide the 8 sequences of a rollout, got 3",
        ),
        ({"recurrent": True, "rollout_length": 6, "chunk_length": 4}, "must divide rollout_length, got 4 and 6"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(ValueError, match=message):
        PPOConfig(**settings)


def test_chunks_do_not_matter_without_memory():
    assert PPOConfig(rollout_length=6, chunk_length=4).sequence_length == 1


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"teacher_context": "global"}, "teacher_context must be 'state' or 'local', got 'global'"),
        ({"distill_fraction": 0.0}, "distill_fraction must lie between 0 and 1, got 0.0"),
        ({"distill_fraction": 1.0}, "distill_fraction must lie between 0 and 1, got 1.0"),
        ({"num_envs": 0}, "num_envs must be at least 1"),
        ({"teacher_rounds": 1.1}, "teacher_rounds must lie between 0 and 1, got 1.1"),
        ({"distill_learning_rate": -1.0}, "distill_learning_rate must be finite and not negative, got -1.0"),
    ],
)
def test_tad_settings_that_cannot_work(settings, message):
    with pytest.raises(ValueError, match=message):
        TADConfig(**settings)


def test_happo_refuses_shared_parameters():
    with pytest.raises(ValueError, match="share_parameters must be False, got True"):
        algorithms.get("happo").build(PPOConfig(share_parameters=True), Noisy())
    assert algorithms.get("happo").defaults.share_parameters is False


@pytest.mark.parametrize("name", ["ippo", "mappo", "happo", "tad-ppo"])
def test_both_kinds_of_actions_are_taken_and_their_distributions_not_mixed_up(name):
    spec = algorithms.get(name)
    config = spec.default_config
    squashed = dataclasses.replace(config, distribution="tanh-normal")
    assert spec.build(config, Noisy()) and spec.build(config, Continuous()) and spec.build(squashed, Continuous())
    with pytest.raises(ValueError, match="'tanh-normal' is for continuous actions, but 'test/noisy' has discrete ones"):
        spec.build(squashed, Noisy())

    class Unbounded(Continuous):
        @property
        def spec(self):
            return super().spec.replace(action_bounds=(-float("inf"), float("inf")))

    assert spec.build(config, Unbounded())
    with pytest.raises(ValueError, match=r"needs finite bounds, but 'test/continuous' has action_bounds \(-inf, inf\)"):
        spec.build(squashed, Unbounded())


def test_a_method_for_discrete_actions_refuses_others_by_name():
    spec = AlgorithmSpec("only-discrete", PPOConfig, lambda config, env: ())
    with pytest.raises(
        ValueError, match="only-discrete supports discrete actions, but 'test/continuous' has continuous"
    ):
        spec.build(PPOConfig(), Continuous())


def test_traced_and_static_fields():
    traced = set(traced_fields(TADConfig))
    assert {"learning_rate", "gamma", "clip", "entropy", "distill_learning_rate", "teacher_rounds"} <= traced
    assert not {"distill_fraction", "num_envs", "initial_std", "hidden", "recurrent", "value_loss"} & traced

    @hyperparameters
    class Own:
        rate: float = 0.1
        share: float = dataclasses.field(default=0.5, metadata={"static": True})
        size: int = 3

    assert traced_fields(Own) == ("rate",)


def test_phases_of_tad_share_the_steps():
    teach, distill = algorithms.get("tad-ppo").build(TADConfig(num_envs=2, distill_fraction=0.25), Noisy())
    assert (teach.name, distill.name) == ("teach", "distill")
    assert (teach.fraction, distill.fraction) == (0.75, 0.25)
    assert teach.begin is None and distill.begin is not None
    assert teach.algorithm.env_steps_per_update == distill.algorithm.env_steps_per_update == 32


BUILT_IN = ["ippo", "mappo", "happo", "tad-ppo", "iql", "vdn", "qmix", "qtran", "cw-qmix", "ow-qmix", "qplex"]
BUILT_IN += ["td3", "td3-star", "matd3", "sac", "masac", "bc", "td3-bc", "implicit-q", "uber"]
BUILT_IN += ["gem", "gem-q", "gem-meta", "mazero", "muzero-joint", "mcts"]
BUILT_IN += ["dima", "mbppo-mlp", "mbppo-transformer"]


def test_built_in_names():
    assert algorithms.names() == BUILT_IN
    assert all(algorithms.get(name).name == name for name in algorithms.names())


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_number_may_be_nan_or_infinite(name):
    """Of any method: 1e39 is infinite in float32. Traced values are not looked at."""
    config = algorithms.get(name).default_config
    floats = [field for field, kind in algorithms.field_types(config).items() if kind is float]
    for field, value in itertools.product(floats, [float("nan"), float("inf"), -float("inf"), np.float32("nan"), 1e39]):
        with pytest.raises(ValueError) as error:
            dataclasses.replace(config, **{field: value})
        assert re.fullmatch(rf"{field} must .*(finite|lie between).*, got {re.escape(str(value))}", str(error.value))
    nans = jax.eval_shape(lambda c: jax.tree.map(lambda x: x * jnp.nan, c), config)
    assert len(jax.tree.leaves(nans)) == len(traced_fields(config))


@pytest.mark.parametrize("wrong, meant", [("mapo", "mappo"), ("tadppo", "tad-ppo"), ("HAPPO!", None)])
def test_unknown_names(wrong, meant):
    with pytest.raises(ValueError, match=f"unknown algorithm '{wrong}'") as error:
        algorithms.get(wrong)
    assert f"there are: {', '.join(BUILT_IN)}" in str(error.value)
    assert (f"did you mean '{meant}'?" in str(error.value)) == (meant is not None)


def make_spec(name):
    return AlgorithmSpec(name, PPOConfig, lambda config, env: (Phase("only", None),))


def test_registering(monkeypatch):
    monkeypatch.setattr(_registry, "_registered", {})
    spec = algorithms.register(make_spec("test-own"))
    assert algorithms.get("test-own") is spec
    assert "test-own" in algorithms.names()
    for name in ("test-own", "mappo"):
        with pytest.raises(ValueError, match=f"algorithm '{name}' is registered already"):
            algorithms.register(make_spec(name))


def test_algorithms_of_installed_packages(monkeypatch):
    point = importlib.metadata.EntryPoint("test-plugin", "test_algorithm_configs:PLUGIN", _registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [point] if group == _registry.ENTRY_POINT_GROUP else []
    )
    assert algorithms.names() == [*BUILT_IN, "test-plugin"]
    assert algorithms.get("test-plugin").name == "test-plugin"
    with pytest.raises(ValueError, match="registered already"):
        algorithms.register(make_spec("test-plugin"))


PLUGIN = make_spec("test-plugin")


@pytest.mark.parametrize("name", ["ippo", "mappo", "happo", "tad-ppo"])
def test_values_are_clipped_in_normalized_units_only(name):
    with pytest.raises(ValueError, match=r"normalize_values.*clip_value=False"):
        algorithms.get(name).config(normalize_values=False)
    assert not algorithms.get(name).config(normalize_values=False, clip_value=False).clip_value
