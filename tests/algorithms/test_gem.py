"""GEM: what is remembered against tables of all stops, the loss in plain NumPy, targets that jump and then stand still."""

import dataclasses
import itertools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from line_env import Line
from off_policy_tools import (
    QUICK,
    Learner,
    actor_output,
    critic_values,
    doubles,
    history,
    random_batch,
    store_of,
)
from toy_envs import context

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms.off_policy import gem

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ops"))

from episodic_oracle import brute_force

SMALL = {
    "num_envs": 2,
    "rollout_length": 5,
    "gradient_steps": 3,
    "capacity": 20,
    "batch_size": 3,
    "warmup_steps": 0,
    "hidden": (4, 3),
    "learning_rate": 0.01,
    "num_critics": 4,
    "critic_groups": 2,
    "climb": "mean",
    "gamma": 0.9,
    "target_rate": 0.2,
}


def parts_of(**changes):
    config = gem.GEMConfig(**(SMALL | changes))
    return config, *gem.parts(config, Line())


def random_params(method, seed):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(method.init, jax.random.key(0))
    return jax.tree.map(lambda s: jnp.asarray(0.7 * rng.normal(size=s.shape), s.dtype), shapes)


CASES = [
    {},
    {"critic_groups": 1},
    {"floor": False, "zero_tail": True},
    {"max_steps": 2},
    {"average": True, "beta": 0.7},
]


@pytest.mark.parametrize("changes", CASES, ids=str)
def test_what_is_remembered_is_the_best_along_the_ring(changes):
    """All stored steps of two rings that have wrapped; target networks jump first."""
    config, _, method = parts_of(target_noise=0.0, **changes)
    params, old = random_params(method, 1), method.targets(random_params(method, 2))
    rng, capacity = np.random.default_rng(3), config.capacity // config.num_envs
    played = [history(rng, 15) for _ in range(2)]
    layout, store = store_of(played, 5, capacity // 5)
    ctx = context(config, Line(), clock=2)
    prepare = jax.jit(method.prepare, static_argnums=2, compiler_options=QUICK)
    targets, remembered = prepare(params, old, layout, store, jax.random.key(0), ctx)

    share = 1 - (1 - 0.2) ** 3
    expected = jax.tree.map(lambda o, n: o + share * (n - o), doubles(old), doubles(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), targets, expected)
    for env in range(2):
        kept = played[env][-capacity:]
        x = np.array([row["next_obs"] for row in kept])[:, None]
        value = critic_values(expected["critic"], x, np.tanh(actor_output(expected["actor"], x[:, None], True)))
        bootstrap = value.reshape(config.critic_groups, -1, capacity).min(1).T
        columns = (np.array([row[name] for row in kept]) for name in ("reward", "terminated", "truncated"))
        reward, terminated, truncated = columns
        own = {"max_steps": 2} if "max_steps" in changes else {"beta": 0.7} if "average" in changes else {}
        own |= {name: changes[name] for name in ("floor", "zero_tail") if name in changes}
        valid = np.ones(capacity, bool)
        wanted = brute_force(reward, bootstrap, terminated, truncated, valid, gamma=0.9, **own)
        found = np.roll(np.asarray(remembered[env]), -int(store.head.next_slot), axis=0)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_overshooting_costs_more():
    config, _, method = parts_of(kappa=0.1)
    params, batch = random_params(method, 0), random_batch(1, 8, np.random.default_rng(1))
    remembered = jnp.asarray(np.random.default_rng(2).normal(size=(8, 2)), jnp.float32)
    batch = dataclasses.replace(batch, prepared=remembered)
    ctx = context(config, Line())
    loss, _ = method.critic_loss(params["critic"], params["actor"], {}, batch, jax.random.key(0), ctx)
    b = doubles(batch)
    values = critic_values(doubles(params)["critic"], b.obs.reshape(8, -1), b.action)
    error = values - b.prepared.T[[0, 0, 1, 1]]  # critics 0 and 1 learn what estimator 1 chose, 2 and 3 the other's
    np.testing.assert_allclose(loss, np.sum(np.mean(np.where(error > 0, 1.0, 0.1) * error**2, -1)), rtol=1e-5)


def test_target_networks_jump_before_a_block_and_stand_still_in_it():
    learner = Learner.__new__(Learner)
    learner.config, learner.team, learner.method = parts_of()
    learner.env = Line()
    (phase,) = algorithms.get("gem").build(learner.config, learner.env)
    learner._compile(phase.algorithm)
    states, metrics = learner.course(3)
    share = 1 - (1 - 0.2) ** 3
    for before, after in itertools.pairwise(states):
        expected = jax.tree.map(lambda o, n: o + share * (n - o), before.learners.targets, before.learners.params)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after.learners.targets, expected
        )
    assert all(np.isfinite(found.learner["memory_mean"].total) for found in metrics), (
        "no target was left out of the refresh"
    )


def test_a_target_that_was_not_refreshed_is_noticed():
    """Targets outside of what is stored are NaN, and a loss on one is."""
    config, _, method = parts_of()
    params, batch = random_params(method, 0), random_batch(1, 8, np.random.default_rng(1))
    batch = dataclasses.replace(batch, prepared=jnp.zeros((8, 2)).at[3, 1].set(jnp.nan))
    loss, _ = method.critic_loss(
        params["critic"], params["actor"], {}, batch, jax.random.key(0), context(config, Line())
    )
    assert np.isnan(loss)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_steps": -1}, "max_steps must be at least 0, got -1"),
        ({"kappa": -0.1}, "kappa must be finite and not negative, got -0.1"),
        ({"num_critics": 6, "critic_groups": 3}, r"critic_groups must be 1 \(the plain maximum\) or 2 for GEM, got 3"),
        ({"average": True, "max_steps": 2}, "with average=True it must be 0, got 2"),
    ],
)
def test_settings_that_cannot_work(changes, message):
    with pytest.raises(ValueError, match=message):
        parts_of(**changes)


def test_the_registered_settings_are_those_of_td3_star():
    own, star = algorithms.get("gem").defaults, algorithms.get("td3-star").defaults
    shared = {name: value for name, value in vars(star).items() if name != "n_step"}
    assert {name: getattr(own, name) for name in shared} == shared and star.n_step == 1
    assert own.kappa == 0.25 and own.num_critics == 4 and own.critic_groups == 2
