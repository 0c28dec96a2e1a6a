"""A phase that goes on with the state of the one before: with its experience too. And what time it is in evaluations."""

import collections
import contextlib
import dataclasses
import functools

import jax.numpy as jnp
import pytest
import runner_toy
from runner_tools import UPDATES, assert_same_arrays, final_arrays, rows, tiny, toy

from jaxmarl_suite import algorithms, runner
from jaxmarl_suite.algorithms import AlgorithmSpec, _memory, _registry
from jaxmarl_suite.replay import refresh_targets
from jaxmarl_suite.runner import _wave


@contextlib.contextmanager
def registered(name, config, make):
    algorithms.register(AlgorithmSpec(name, config, make, actions=("discrete", "continuous")))
    try:
        yield
    finally:
        del _registry._registered[name]


def in_halves(name, config, env):
    """The one phase of algorithm `name` as two, of which the second begins with all that the first has."""
    (phase,) = algorithms.get(name).make(config, env)
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


@pytest.mark.parametrize("name", CHANGES)
def test_a_phase_that_inherits_experience_goes_on_as_one_phase_would(name, tmp_path, monkeypatch):
    """No second warm-up, epsilon falls on, delayed actors keep their turn, GEM refreshes the whole ring: bit by bit."""
    # No program of other tests, and none for them: they refresh in other chunks, and round otherwise.
    monkeypatch.setattr(_wave, "_compiled", collections.OrderedDict())
    # Chunks of one step of each environment: targets of what is not counted as stored would not be refreshed.
    monkeypatch.setattr(_memory, "refresh_targets", functools.partial(refresh_targets, chunk_size=8))
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


@pytest.mark.parametrize("lane_mode", ["map", "vmap"])
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

    last = {row["env_steps"]: row["update"] for row in evaluated if row["phase"] == "second"}
    best = [row for row in found.values() if row["kind"] == "absolute"]
    ours = {(e.lane, e.policy): e for e in evaluations}
    for row in best:
        clock = max(last.get(row["env_steps"], 0) - 1, 0)
        assert played(row["metrics"]) == played(ours[row["lane"], "best"].metrics) == clock % 3
        assert played(ours[row["lane"], "final"].metrics) == (max(last.values()) - 1) % 3
