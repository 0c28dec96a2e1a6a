"""Broken environments and algorithms of somebody else's: one line that names them, with file and line, before training."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jaxmarl_envs import EnvSpec, Family, register, restart, transition
from jaxmarl_envs.core import _registry

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms import Algorithm, AlgorithmSpec, Phase, hyperparameters
from jaxmarl_suite.cli import main
from jaxmarl_suite.runner import TracingError, TrainOptions, choose_wave, train
from jaxmarl_suite.runner._experiment import Experiment

FILE = Path(__file__).name
GENERATOR, ORDER = np.random.default_rng(0), np.arange(10_000)
CHECK = 'run "jaxmarl-suite envs --check own/'


@dataclasses.dataclass(frozen=True)
class Own:
    """An environment with one fault at most."""

    fault: str
    default_params: Any = None

    @property
    def spec(self) -> EnvSpec:
        if self.fault == "spec":
            raise KeyError("mass")
        return EnvSpec(f"own/{self.fault}", 2, (3,), num_actions=2, episode_limit=3)

    def reset(self, key, params):
        if self.fault == "reset":
            raise KeyError("mass")
        if self.fault == "generator":
            GENERATOR.shuffle(ORDER)
            return jnp.float32(ORDER[0]), restart(self.spec, obs=jnp.zeros((2, 3)))
        start = np.random.rand() if self.fault == "host randomness" else 0.0
        return jnp.float32(start), restart(self.spec, obs=jnp.zeros((2, 4 if self.fault == "obs" else 3)))

    def step(self, key, state, action, params):
        if self.fault == "bool" and action[0] > 0:
            state = state + 1
        metrics = {"kills": jnp.zeros(())} if self.fault == "metrics" else dict.fromkeys(self.spec.metrics, 0.0)
        is_over = state > (3 if self.fault != "limit" else 9)
        timestep = transition(self.spec, obs=jnp.zeros((2, 3)), reward=0.0, terminated=is_over, metrics=metrics)
        if self.fault == "limit":
            state = state + 1
        if self.fault == "mask":  # in some steps only, and of one agent
            is_legal = jnp.ones((2, 2), bool).at[1].set(state < 0.5)
            state, timestep = state + 0.6, timestep.replace(action_mask=is_legal)
        if self.fault == "reward":
            timestep = timestep.replace(reward=jnp.zeros(2, jnp.int32))
        return (jnp.int32(0) if self.fault == "state" else state), timestep


class Empty:
    """No environment at all."""


@hyperparameters
class Config:
    """Which function fails."""

    fault: str = ""


def make(config: Config, env: Any) -> tuple[Phase, ...]:
    if config.fault == "make":
        raise KeyError("mass")
    if config.fault == "refuses":
        raise ValueError("own-method refuses it")

    def init(key, ctx):
        return jnp.zeros(()) if config.fault != "init" else jnp.zeros(3) + jnp.zeros(4)

    def update(state, ctx):
        return (state if config.fault != "update" else jnp.zeros(3) + jnp.zeros(4)), {}

    def act(policy, carry, timestep, key, ctx):
        return (jnp.zeros(timestep.reward.shape, jnp.int32) if config.fault != "act" else policy[0]), carry

    return (Phase("learn", Algorithm(init, update, lambda state: state, lambda n: (), act, 64)),)


@pytest.fixture(autouse=True)
def own() -> Iterator[None]:
    """Registers both for a test."""
    register(Family("own", lambda variant: Empty() if variant == "empty" else Own(variant), ("sound",)))
    algorithms.register(AlgorithmSpec("own-method", Config, make))
    yield
    del _registry._registered["own"]
    del algorithms.core._registry._registered["own-method"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("obs", "reset: obs is float32[2, 4], expected float32[2, 3] (and 1 more); for"),
        ("reward", "step: reward is int32[2], expected float32[2]; for"),
        ("state", "state: step returns int32[], expected float32[] as from reset; for"),
        ("metrics", "step: metrics has keys ['kills'], expected spec.metrics []; for"),
        ("host randomness", "reset draws from the random state of Python or NumPy: the number is fixed when"),
        ("generator", "reset is not pure: two traces differ"),
        ("reset", "reset raised KeyError: 'mass' ("),
        ("bool", "step raised TracerBoolConversionError: Attempted boolean conversion"),
        ("empty", "spec is missing (and 3 more); for"),
        ("spec", "spec raised KeyError: 'mass' when read"),
    ],
)
def test_a_broken_environment_ends_in_one_line_before_training(
    fault: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(*_: Any) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr("jaxmarl_suite.runner._compile.compile_group", compiled)
    with pytest.raises(ValueError, match="breaks the protocol") as caught:
        train("own-method", f"own/{fault}", run_dir=tmp_path / "run")
    text = str(caught.value)
    assert text.startswith(f"environment 'own/{fault}' breaks the protocol: ") and message in text
    assert text.endswith(f'{CHECK}{fault}"') and "\n" not in text
    assert fault not in ("reset", "bool") or (f"{FILE}:" in text and ", in " in text)
    assert not (tmp_path / "run").exists()


def test_agents_without_a_legal_action_are_noticed_in_evaluations(tmp_path: Path) -> None:
    options = TrainOptions(total_steps=128, evaluations=1, eval_episodes=2, absolute_episodes=0, eval_max_steps=9)
    with pytest.raises(
        RuntimeError, match=r"agents of 'own/mask' had no legal action in 100% of the evaluation episodes"
    ):
        train("own-method", "own/mask", options=options, run_dir=tmp_path / "run")


def test_episodes_beyond_the_limit_of_the_spec_are_noticed_in_evaluations(tmp_path: Path) -> None:
    options = TrainOptions(total_steps=128, evaluations=1, eval_episodes=2, absolute_episodes=0)
    text = r"100% of the evaluation episodes of 'own/limit' had not ended after spec.episode_limit=3 steps"
    with pytest.raises(RuntimeError, match=text):
        train("own-method", "own/limit", options=options, run_dir=tmp_path / "run")


@pytest.mark.parametrize("fault", ["make", "init", "update", "act"])
def test_an_exception_in_an_algorithm_names_it_with_file_and_line(fault: str, tmp_path: Path) -> None:
    options = TrainOptions(total_steps=128, evaluations=1, eval_episodes=1, absolute_episodes=0)
    with pytest.raises(TracingError) as caught:
        train("own-method", "own/sound", config={"fault": fault}, options=options, run_dir=tmp_path / "run")
    text = str(caught.value)
    assert text.startswith("own-method on own/sound raised ") and f"{FILE}:" in text and f", in {fault});" in text
    assert f'{CHECK}sound"' in text and "\n" not in text and caught.value.__cause__ is not None
    assert not (tmp_path / "run").exists()


def test_what_an_algorithm_refuses_is_its_own_word(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^own-method refuses it$"):
        train("own-method", "own/sound", config={"fault": "refuses"}, run_dir=tmp_path / "run")


def test_our_own_refusals_are_no_exceptions_of_others() -> None:
    options = TrainOptions(total_steps=128, memory_gib=1e-9)
    (group,) = Experiment("own-method", "own/sound", options=options).groups()
    with pytest.raises(ValueError, match=r"one lane needs .* raise memory_gib"):
        choose_wave(group, options)


def test_the_command_line_says_it_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = ["plan", "own-method", "--total-steps", "128", "--quiet", "--env"]
    assert main([*line, "own/bool"]) == 2
    assert capsys.readouterr().err.startswith("error: environment 'own/bool' breaks the protocol: step raised ")
    assert main([*line, "own/sound", "--fault", "update"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: own-method on own/sound raised TypeError") and error.count("\n") == 1
