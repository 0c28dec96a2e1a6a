"""What the environment reports and what the learner computes stay apart, whatever their names."""

import dataclasses
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jaxmarl_envs import EnvSpec, EpisodeStatistics, Family, register, restart
from jaxmarl_envs.core import _registry as environments
from jaxmarl_envs.core._environment import Wrapper
from runner_tools import metrics, tiny, toy
from runner_toy import Countdown, CountdownParams, make_env, make_without_floats

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms import AlgorithmSpec, Average, Metrics, episode_metrics
from jaxmarl_suite.analysis import load_run
from jaxmarl_suite.runner import evaluate, run
from jaxmarl_suite.runner._totals import row_metrics


@dataclasses.dataclass(frozen=True)
class Reporting(Wrapper):
    """Adds metrics of these names; each is 7 after a step."""

    names: tuple[str, ...] = ()

    @cached_property
    def spec(self) -> EnvSpec:
        """With the names."""
        return self.env.spec.replace(metrics=(*self.env.spec.metrics, *self.names))

    def inner_state(self, state: Any) -> Any:
        """It has none of its own."""
        return state

    def reset(self, key: jax.Array, params: Any) -> Any:
        """A fresh episode."""
        state, timestep = self.env.reset(key, params)
        return state, self._show(timestep, 0.0)

    def step(self, key: jax.Array, state: Any, action: jax.Array, params: Any) -> Any:
        """One step on."""
        state, timestep = self.env.step(key, state, action, params)
        return state, self._show(timestep, 7.0)

    def _show(self, timestep: Any, value: float) -> Any:
        return timestep.replace(metrics={**timestep.metrics, **{name: jnp.float32(value) for name in self.names}})


def shapes(phases: tuple[Any, ...], env: Any, config: Any, stored: tuple[Any, ...]) -> list[Metrics]:
    """What the updates of all phases report, as shapes; `stored` is the data of each."""
    key, handed, found = jax.random.key(0), None, []
    for phase, data in zip(phases, stored, strict=True):
        ctx = algorithms.Context(config, env.default_params, jnp.int32(0), jnp.int32(1), data=data)
        ctx = jax.tree.map(jnp.asarray, ctx)
        begin = phase.algorithm.init if phase.begin is None else phase.begin
        state = jax.eval_shape(begin, *(() if phase.begin is None else (handed,)), key, ctx)
        handed = state if phase.artifact is None else jax.eval_shape(phase.artifact, state)
        found.append(jax.eval_shape(phase.algorithm.update, state, ctx)[1])
    return found


# One method of each core by default. The updates of mcts play nothing.
STANDING = ("mappo", "tad-ppo", "qplex", "gem", "td3", "td3-bc")


@pytest.mark.parametrize(
    "name",
    [n if n in STANDING else pytest.param(n, marks=pytest.mark.slow) for n in algorithms.names() if n != "mcts"],
)
def test_an_environment_may_report_what_the_learner_reports(name: str) -> None:
    """Every method, in an environment whose metrics have the names of the method's own."""
    experiment = tiny(name)
    spec = algorithms.get(name)
    (group,) = experiment.groups()
    known = shapes(group.phases, group.env, experiment.config, group.data)
    names = tuple(sorted({name for found in known for name in found.learner} - {"return", "length"}))
    assert names
    env = EpisodeStatistics(Reporting(group.env.env, names))
    phases = spec.build(experiment.config, env, has_data=experiment.options.data is not None)
    after = shapes(phases, env, experiment.config, group.data)
    for phase, found, before in zip(phases, after, known, strict=True):
        assert found.learner.keys() == before.learner.keys()
        if phase.algorithm.env_steps_per_update:
            assert {"return", "length", *names} <= found.episodes.keys()
        else:
            assert not found.episodes
        assert all(isinstance(value, Average) for value in found.episodes.values())
        shown = row_metrics(found)
        assert len(shown) == len(found.episodes) + len(found.learner)
        assert {f"learner/{name}" for name in found.learner} | found.episodes.keys() == shown.keys()


@pytest.mark.usefixtures("toys")
def test_names_of_both_survive_in_rows_and_summary(tmp_path: Path) -> None:
    """`weight` is the toy's own number, and `env_steps` that of rows."""
    names = ("weight", "clock", "entropy", "env_steps")
    register(Family("reporting", lambda variant: Reporting(make_env(variant), names), ("countdown",)))
    try:
        experiment = dataclasses.replace(toy(), env="reporting/countdown")
        run_dir = run(experiment, run_dir=tmp_path / "run")
        (final, best) = evaluate(run_dir, episodes=4)
    finally:
        del environments._registered["reporting"]
    own = {"left", "return", "length", *names}
    for found in metrics(run_dir, "train"):
        assert found.keys() == own | {"learner/weight", "learner/reward", "learner/clock"}
        assert found["weight"] in (7.0, None) and found["learner/weight"] != 7.0
    assert [found["learner/clock"] for found in metrics(run_dir, "train")] == list(range(12))
    assert 7.0 in [found["clock"] for found in metrics(run_dir, "train")]
    for kind in ("eval", "absolute"):
        for found in metrics(run_dir, kind):
            assert found.keys() == own | {f"lazy/{name}" for name in own}
            assert {found[name] for name in names} == {7.0}
    assert final.metrics.keys() == best.metrics.keys() == own | {f"lazy/{name}" for name in own}
    (lane,) = json.loads((run_dir / "summary.json").read_text())["lanes"]
    assert lane["eval"]["env_steps"] == 48 and lane["eval"]["metrics"]["env_steps"] == 7.0
    assert load_run(run_dir).curve("weight", kind="eval").values.tolist() == [[7.0] * 4]


@pytest.mark.usefixtures("toys")
def test_a_plain_mapping_is_the_learners(tmp_path: Path) -> None:
    """An algorithm that knows nothing of `Metrics`: its `return` is not taken for the environment's."""

    def make(config: Any, env: Any) -> Any:
        (phase,) = make_without_floats(config, env)

        def update(state: Any, ctx: Any) -> Any:
            state, _ = phase.algorithm.update(state, ctx)
            return state, {"return": jnp.float32(-777.0), "loss/of/all": jnp.float32(1.0)}

        return (phase._replace(algorithm=phase.algorithm._replace(update=update)),)

    spec = AlgorithmSpec("toy-without-floats", algorithms.get("toy-without-floats").config, make)
    algorithms.register(dataclasses.replace(spec, name="plain"))
    try:
        experiment = dataclasses.replace(toy(), algorithm="plain", config=spec.config())
        run_dir = run(experiment, run_dir=tmp_path / "run")
    finally:
        del algorithms.core._registry._registered["plain"]
    assert {json.dumps(found, sort_keys=True) for found in metrics(run_dir, "train")} == {
        '{"learner/loss/of/all": 1.0, "learner/return": -777.0}'
    }
    assert all(found["return"] > 0 for found in metrics(run_dir, "eval"))


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize("name", ["learner", "a/b", ""])
def test_a_policy_with_the_name_of_another_source_is_refused(name: str) -> None:
    (group,) = toy().groups()
    spec = algorithms.get("toy")

    def make(config: Any, env: Any) -> Any:
        (phase,) = spec.make(config, env)
        acts = {name: phase.algorithm.act}
        return (phase._replace(algorithm=phase.algorithm._replace(extra_acts=acts)),)

    with pytest.raises(ValueError, match=f"toy has a policy {name!r} in extra_acts; accepted: any name without '/'"):
        dataclasses.replace(spec, make=make).build(spec.config(), group.env)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("return", "the environment has a metric 'return', a name that rows use for 'episode_return'"),
        ("length", "the environment has a metric 'length', a name that rows use for 'episode_length'"),
        ("learner/loss", "the environment's metric 'learner/loss' needs a name without '/'"),
    ],
)
def test_a_metric_with_the_name_of_another_source_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"metrics cannot be called '{name}'"):
        EpisodeStatistics(Reporting(Countdown(), (name,)))
    env = EpisodeStatistics(Countdown())
    timestep = jax.eval_shape(lambda key: env.reset(key, CountdownParams(jnp.zeros(()))), jax.random.key(0))[1]
    timestep = timestep.replace(metrics=timestep.metrics | {name: timestep.metrics["episode_return"]})
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(episode_metrics, timestep)


def test_metrics_are_those_of_counted_episodes_that_ended() -> None:
    """What stands in other steps does not enter, be it infinite."""
    spec = EnvSpec("a/b", 1, (1,), num_actions=2, metrics=("best",))
    one = restart(spec, obs=jnp.zeros((1, 1)), metrics={"best": jnp.float32(0)})
    steps = jax.tree.map(lambda x: jnp.broadcast_to(x, (2, 3, *x.shape)), one)
    steps = steps.replace(
        terminated=jnp.array([[False, True, False], [True, False, False]]),
        truncated=jnp.array([[False, False, False], [False, False, True]]),
        metrics={"best": jnp.array([[jnp.inf, 1.0, jnp.nan], [2.0, -jnp.inf, 9.0]])},
    )
    found = episode_metrics(steps)
    assert found.keys() == {"best"} and (float(found["best"].total), float(found["best"].weight)) == (12.0, 3.0)
    found = episode_metrics(steps, jnp.array([[True, True, True], [True, True, False]]))
    assert (float(found["best"].total), float(found["best"].weight)) == (3.0, 2.0)
