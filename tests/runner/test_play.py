"""Evaluation plays whole episodes and no step more, for any number of policies, and says what acting may read."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxmarl_envs import EnvSpec, EpisodeStatistics, Family, register
from jaxmarl_envs.core import _registry as environments
from jaxmarl_envs.core._environment import Wrapper
from runner_tools import metrics, rows, toy
from runner_toy import Countdown, CountdownParams, make_env

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms import ActContext, AlgorithmSpec, Stacked
from jaxmarl_suite.algorithms.core import _registry as registered
from jaxmarl_suite.analysis import load_run, summarize
from jaxmarl_suite.cli import main
from jaxmarl_suite.runner import evaluate, make_act, restore_policies, run
from jaxmarl_suite.runner._play import evaluate_policy, play, play_policy

pytestmark = pytest.mark.usefixtures("toys")


@contextlib.contextmanager
def variant_of_toy(name: str, **changes: Any) -> Iterator[None]:
    """The toy algorithm under another name, with parts of its `Algorithm` replaced."""
    spec = algorithms.get("toy")

    def make(config: Any, env: Any) -> Any:
        return tuple(p._replace(algorithm=p.algorithm._replace(**changes)) for p in spec.make(config, env))

    algorithms.register(AlgorithmSpec(name, spec.config, make))
    try:
        yield
    finally:
        del registered._registered[name]


def scanned(env: Any, act: Any, carry: Any, params: Any, key: jax.Array, *, episodes: int, steps: int) -> Any:
    """`play` with a scan over all steps that episodes could last."""
    reset_key, run_key = jax.random.split(key)
    state, timestep = jax.vmap(env.reset, (0, None))(jax.random.split(reset_key, episodes), params)

    def step(carried: Any, key: jax.Array) -> Any:
        state, timestep, carry, done = carried
        act_key, step_key = jax.random.split(key)
        action, carry = act(carry, timestep, act_key)
        after = jax.vmap(env.step, (0, 0, 0, None))(jax.random.split(step_key, episodes), state, action, params)
        state, timestep = jax.tree.map(
            lambda old, new: jnp.where(done.reshape(done.shape + (1,) * (old.ndim - 1)), old, new),
            (state, timestep),
            after,
        )
        return (state, timestep, carry, done | timestep.done), None

    start = (state, timestep, carry, jnp.zeros((episodes,), bool))
    (_, timestep, _, done), _ = jax.lax.scan(step, start, jax.random.split(run_key, steps))
    return timestep.metrics, done


@pytest.mark.parametrize("mapped", [jax.lax.map, lambda fn, x: jax.vmap(fn)(x)], ids=["map", "vmap"])
@pytest.mark.parametrize("limited", [True, False])
def test_an_evaluation_ends_with_its_episodes(mapped: Any, limited: bool) -> None:
    """Episodes of at most 4 steps where 6, or 1,000, are allowed: the metrics of each are those of all steps, bit by bit."""
    env = EpisodeStatistics(Countdown(limited=limited))
    params = CountdownParams(jnp.float32(0.3))

    def act(carry: Any, timestep: Any, key: jax.Array) -> Any:
        noise = jax.random.randint(key, timestep.obs.shape[:2], 0, 3)
        return (noise + carry[:, None]) % 3, carry + 1

    start = jnp.zeros(8, jnp.int32)
    sizes = {"episodes": 8, "max_steps": 1000}
    keys = jax.random.split(jax.random.key(3), 5)
    found, done, steps, stuck = jax.jit(
        lambda keys: mapped(lambda key: play(env, act, start, params, key, **sizes), keys)
    )(keys)
    limit = 6 if limited else 1000
    expected, ended = jax.jit(jax.vmap(lambda key: scanned(env, act, start, params, key, episodes=8, steps=limit)))(
        keys
    )
    assert done.all() and ended.all() and not stuck.any()
    lengths = np.asarray(found["length"])
    assert len(np.unique(lengths)) == 4
    np.testing.assert_array_equal(steps, lengths.max(axis=1))  # of 6, or of 1,000
    for name, value in expected.items():
        shown = {"episode_return": "return", "episode_length": "length"}.get(name, name)
        np.testing.assert_array_equal(found[shown], value)


def test_nothing_is_cut_where_all_episodes_end() -> None:
    """Exactly: compiled, 1 minus the mean of five ones is not 0."""
    env, params = EpisodeStatistics(Countdown(limited=True)), CountdownParams(jnp.float32(0.3))

    def act(carry: Any, timestep: Any, key: jax.Array) -> Any:
        return jnp.ones(timestep.obs.shape[:2], jnp.int32), carry

    played = jax.jit(lambda key: play_policy(env, act, (), params, key, episodes=5, max_steps=9))(jax.random.key(0))
    assert played.cut == {"return": 0.0}


def act_with(member: Any, carry: Any, timestep: Any, key: jax.Array, ctx: ActContext) -> Any:
    """A member of a library plays its own action, and remembers how often it did."""
    return jnp.broadcast_to(member["action"], timestep.obs.shape[:2]), carry + 1


def library(size: int) -> Stacked:
    """Policies that play 0, 1, 2, ..."""
    return Stacked(act_with, lambda policy: {"action": jnp.arange(size)}, lambda n: jnp.zeros((n,), jnp.int32))


@pytest.mark.parametrize(
    "lane_mode", [*(pytest.param(mode, marks=pytest.mark.slow) for mode in ("map", "envs")), "vmap"]
)
def test_a_library_is_evaluated_by_member(lane_mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lazy = algorithms.get("toy").make(algorithms.get("toy").config(), Countdown())[0].algorithm.extra_acts["lazy"]
    with variant_of_toy("librarian", extra_acts={"lazy": lazy, "library": library(3)}):
        experiment = dataclasses.replace(toy(seeds=2, evaluations=1, lane_mode=lane_mode), algorithm="librarian")
        run_dir = run(experiment, run_dir=tmp_path / "run")
        found = evaluate(run_dir, episodes=8)
        if lane_mode == "map":
            assert main(["eval", str(run_dir), "--episodes", "8"]) == 0
            assert "library-2" in capsys.readouterr().out
    for metric in (*metrics(run_dir, "eval"), *metrics(run_dir, "absolute", 1), *(one.metrics for one in found)):
        assert {name.partition("/")[0] for name in metric if "/" in name} == {
            "lazy",
            *(f"library-{i}" for i in range(3)),
        }
        for member in range(3):
            assert metric[f"library-{member}/return"] == 2 * member * metric["length"], "the same episodes for all"
            assert metric[f"library-{member}/length"] == metric["length"]
    assert {row.policy for row in summarize(load_run(run_dir))} == {"", "lazy", "library-0", "library-1", "library-2"}


def test_a_library_of_many_is_no_longer_program() -> None:
    (group,) = toy().groups()
    (phase,) = group.phases
    lane = group.lanes[0]
    zero = jnp.int32(0)
    ctx = ActContext(lane.config, lane.env_params, zero, zero + 1, zero)
    policy = {"updates": jnp.float32(0), "weights": jnp.zeros(3)}

    def size(members: int, *, is_batched: bool) -> int:
        algorithm = phase.algorithm._replace(extra_acts={"library": library(members)})

        def fn(policy: Any, ctx: Any, key: jax.Array) -> Any:
            return evaluate_policy(
                algorithm, group.env, policy, ctx, key, episodes=2, max_steps=9, is_batched=is_batched
            )

        shown = jax.jit(fn).trace(policy, ctx, jax.random.key(0))
        assert jax.eval_shape(fn, policy, ctx, jax.random.key(0)).metrics["library/return"].shape == (members,)
        return str(shown.jaxpr).count("\n")

    for is_batched in (False, True):
        assert size(2, is_batched=is_batched) == size(50, is_batched=is_batched)


def test_a_policy_with_the_name_of_a_member_is_refused() -> None:
    with (
        variant_of_toy("librarian", extra_acts={"a": library(3), "a-1": act_with}),
        pytest.raises(
            ValueError, match="a policy 'a-1' in extra_acts, which is the name of a member of 'a'; rename it"
        ),
    ):
        dataclasses.replace(toy(), algorithm="librarian").groups()


def act_by_clock(policy: Any, carry: Any, timestep: Any, key: jax.Array, ctx: ActContext) -> Any:
    """Plays what it is told of training: the longer the phase, the higher."""
    assert not hasattr(ctx, "data"), "what only updates read"
    action = 10_000 * ctx.horizon + 100 * ctx.clock + ctx.played_before
    return jnp.broadcast_to(action, timestep.obs.shape[:2]), carry


def test_acting_is_told_of_the_update_that_made_its_policy(tmp_path: Path) -> None:
    """The best policy is of the first phase, of eight updates, and is measured in the second, of two."""
    with variant_of_toy("clockwork", act=act_by_clock, extra_acts={}):
        experiment = toy(changes={"two_phases": True}, grid={"env.longest": [1]}, seeds=2)
        run_dir = run(dataclasses.replace(experiment, algorithm="clockwork"), run_dir=tmp_path / "run")
        found = {(one.lane, one.policy): one.metrics["return"] / 2 for one in evaluate(run_dir)}
        (trained,) = restore_policies(run_dir)
        played = make_act(trained, 1, "best")(
            jax.random.key(0), trained.group.env.reset(jax.random.key(0), trained.lanes[1].env_params)[1]
        )
    first, second = [80_000 + 100 * clock for clock in (2, 5)], [20_000 + 100 * clock + 32 for clock in (0, 1)]
    for lane in range(2):
        assert [row["return"] / 2 for row in metrics(run_dir, "eval", lane)] == [*first, *second]
        (absolute,) = rows(run_dir, "absolute", lane).values()
        assert absolute["env_steps"] == 24 and absolute["metrics"]["return"] / 2 == first[1]
        assert found[lane, "best"] == first[1] and found[lane, "final"] == second[1]
    assert played.tolist() == [first[1]] * 2


@dataclasses.dataclass(frozen=True)
class Measured(Wrapper):
    """Reports quantiles of the return and of what is left."""

    @property
    def spec(self) -> EnvSpec:
        """With quantiles."""
        return self.env.spec.replace(quantiles=(("return", (0.1, 0.5)), ("left", (0.999,))))


def test_quantiles_are_over_all_episodes(tmp_path: Path) -> None:
    """The median return of 4 batches of 2 episodes is not the mean of four medians."""
    register(Family("measured", lambda variant, **options: Measured(make_env(variant, **options)), ("countdown",)))
    try:
        experiment = toy(eval_episodes=2, absolute_episodes=8, seeds=2, grid={"env.longest": [6]})
        run_dir = run(dataclasses.replace(experiment, env="measured/countdown"), run_dir=tmp_path / "run")
        (final, *_) = evaluate(run_dir, episodes=9)
    finally:
        del environments._registered["measured"]
    names = {"left", "return", "length"}
    quantiles = {"return_p10", "return_p50", "left_p99.9"}
    assert final.episodes == 10
    trained = {name for row in metrics(run_dir, "train") for name in row if "/" not in name}
    assert trained == names, "what both kinds of rows have has the same names"
    for row in (*metrics(run_dir, "eval"), *metrics(run_dir, "absolute"), final.metrics):
        assert row.keys() == {*names, *quantiles, *(f"lazy/{name}" for name in {*names, *quantiles})}
        assert row["left_p99.9"] == 0.0 and row["lazy/return_p50"] == 0.0
    for row in metrics(run_dir, "eval"):
        assert row["return_p50"] == pytest.approx(row["return"]), "of two episodes"
        assert row["return_p10"] <= row["return_p50"]
    # All returns are even numbers, so the median of eight is a whole number; a mean of four such medians need not be.
    for lane in range(2):
        (absolute,) = metrics(run_dir, "absolute", lane)
        assert absolute["return_p50"] == int(absolute["return_p50"]) != pytest.approx(absolute["return"])
        assert 2 <= absolute["return_p10"] < absolute["return_p50"]
    (summary, _) = json.loads((run_dir / "summary.json").read_text())["lanes"]
    assert summary["absolute"]["metrics"]["return_p50"] == metrics(run_dir, "absolute")[0]["return_p50"]
