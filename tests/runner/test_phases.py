"""A phase that goes on with the state of the one before: with its experience too. And what time it is in evaluations."""

import collections
import contextlib
import dataclasses
import functools

import jax.numpy as jnp
import pytest
import runner_toy
from runner_tools import UPDATE_STEPS, UPDATES, assert_same_arrays, final_arrays, rows, tiny, toy

from jaxmarl_suite import algorithms, runner
from jaxmarl_suite.algorithms import AlgorithmSpec
from jaxmarl_suite.algorithms.core import _registry
from jaxmarl_suite.algorithms.off_policy import _memory
from jaxmarl_suite.replay import targets_of_store
from jaxmarl_suite.runner import _compile


@contextlib.contextmanager
def registered(name, config, make):
    algorithms.register(AlgorithmSpec(name, config, make, actions=("discrete", "continuous")))
    try:
        yield
    finally:
        del _registry._registered[name]


def in_halves(name, config, env):
    """The one phase of algorithm `name` as two, of which the second begins with all that the first has."""
    (phase,) = algorithms.get(name).build(config, env)
    return (
        phase._replace(name="first", fraction=0.5),
        phase._replace(name="second", fraction=0.5, begin=lambda previous, key, ctx: previous),
    )


CHANGES = {
    "td3": {"policy_delay": 4, "gradient_steps": 1},
    "gem": {},
    "gem-q": {"target_period": 3, "epsilon_steps": 300.0},
    "vdn": {"epsilon_steps": 300.0},
}


# By default a method for continuous actions with delayed actors, and one with epsilon and targets of the whole ring.
@pytest.mark.parametrize(
    "name", ["td3", "gem-q", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gem", "vdn"))]
)
def test_a_phase_that_inherits_experience_goes_on_as_one_phase_would(name, tmp_path, monkeypatch):
    """No second warm-up, epsilon falls on, delayed actors keep their turn, GEM refreshes the whole ring: bit by bit."""
    # No program of other tests, and none for them: they refresh in other chunks, and round otherwise.
    monkeypatch.setattr(_compile, "_compiled", collections.OrderedDict())
    # Chunks of one step of each environment: targets of what is not counted as stored would not be refreshed.
    monkeypatch.setattr(_memory, "targets_of_store", functools.partial(targets_of_store, chunk_size=8))
    whole = tiny(name, changes=CHANGES[name])
    found = {}
    with registered("in-halves", type(whole.config), functools.partial(in_halves, name)):
        halves = dataclasses.replace(whole, algorithm="in-halves")
        for kind, experiment in (("whole", whole), ("halves", halves)):
            found[kind] = runner.run(experiment, run_dir=tmp_path / kind)
    shown = [
        [(row["kind"], row["env_steps"], row["metrics"]) for row in rows(run_dir).values()]
        for run_dir in found.values()
    ]
    assert shown[0] == shown[1]
    assert {row["phase"] for row in rows(found["halves"]).values()} == {"first", "second"}
    assert_same_arrays(*(final_arrays(run_dir) for run_dir in found.values()))
    loss = [row["metrics"]["learner/loss" if name == "vdn" else "learner/critic_loss"] for row in
            rows(found["halves"], "train").values()]  # fmt: skip
    assert loss[0] is None and None not in loss[UPDATES // 2 :]


def make_punctual(config, env):
    """The toy with two phases, whose agents play the clock modulo 3."""

    def act(policy, carry, timestep, key, ctx):
        return jnp.broadcast_to(ctx.clock % 3, timestep.obs.shape[:2]), carry

    phases = runner_toy.make(config, env)
    return tuple(phase._replace(algorithm=phase.algorithm._replace(act=act)) for phase in phases)


@pytest.mark.parametrize("lane_mode", [pytest.param("map", marks=pytest.mark.slow), "vmap"])
def test_evaluations_see_the_clock_of_the_update_that_made_the_policy(lane_mode, toys, tmp_path):
    """Also those of best policies, which differ between lanes, and of a finished run's."""
    two_phases = toy(evaluations=UPDATES, seeds=4, lane_mode=lane_mode, changes={"two_phases": True})

    def played(metrics):
        return round(metrics["return"] / metrics["length"] / 2)

    with registered("punctual", runner_toy.ToyConfig, make_punctual):
        experiment = dataclasses.replace(two_phases, algorithm="punctual")
        run_dir = runner.run(experiment, run_dir=tmp_path / "run")
        evaluations = runner.evaluate(run_dir, episodes=8)
    found = rows(run_dir)
    evaluated = [row for row in found.values() if row["kind"] == "eval"]
    assert {row["phase"] for row in evaluated} == {"first", "second"}
    assert all(played(row["metrics"]) == (row["update"] - 1) % 3 for row in evaluated)

    made = {row["env_steps"]: row["update"] for row in evaluated}  # in the phase that made the policy
    best = [row for row in found.values() if row["kind"] == "absolute"]
    ours = {(e.lane, e.policy): e for e in evaluations}
    for row in best:
        clock = made[row["env_steps"]] - 1
        assert played(row["metrics"]) == played(ours[row["lane"], "best"].metrics) == clock % 3
        assert played(ours[row["lane"], "final"].metrics) == (made[max(made)] - 1) % 3


def handing_over(name, played_before, config, env):
    """The one phase of algorithm `name` as two, of which the second gets the first one's replay and nothing else."""
    (phase,) = algorithms.get(name).build(config, env)

    def begin(replay, key, ctx):
        return dataclasses.replace(phase.algorithm.init(key, ctx), replay=replay)

    return (
        phase._replace(name="first", fraction=0.5, artifact=lambda state: state.replay),
        phase._replace(name="second", fraction=0.5, begin=begin, played_before=played_before),
    )


@pytest.mark.parametrize("name", [pytest.param("td3", marks=pytest.mark.slow), "vdn"])
def test_a_phase_says_what_the_store_that_it_is_handed_was_played_in(name, tmp_path):
    """Then it neither warms up nor explores anew, also where another run left the store. Unsaid, it begins from nothing."""
    loss = "learner/loss" if name == "vdn" else "learner/critic_loss"
    found = {}
    for said in (UPDATES // 2 * UPDATE_STEPS, None):
        whole = tiny(name, changes={"epsilon_steps": 300.0} if name == "vdn" else {})
        with registered("handing-over", type(whole.config), functools.partial(handing_over, name, said)):
            both = dataclasses.replace(whole, algorithm="handing-over")
            source = runner.run(both, run_dir=tmp_path / f"both-{said}")
            half = dataclasses.replace(
                whole.options, total_steps=UPDATES // 2 * UPDATE_STEPS, start_from=str(source), log_rows=UPDATES // 2
            )
            started = runner.run(dataclasses.replace(both, options=half), run_dir=tmp_path / f"started-{said}")
        second, alone = (
            [row["metrics"] for row in rows(path, "train").values() if row["phase"] == "second"]
            for path in (source, started)
        )
        assert second == alone and len(second) == UPDATES // 2
        found[said] = second
    said, unsaid = found.values()
    assert said[0][loss] is not None and unsaid[0][loss] is None and None not in [row[loss] for row in unsaid[2:]]
    if name == "vdn":
        assert said[0]["learner/epsilon"] < 0.5 and unsaid[0]["learner/epsilon"] == 1.0
