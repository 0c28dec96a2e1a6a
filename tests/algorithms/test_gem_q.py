"""GEM for discrete actions: what is remembered against tables of all stops, losses in plain NumPy, masks, copies, ε."""

import dataclasses
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from off_policy_tools import QUICK, compiled, doubles, layers, mlp, stored_transitions
from toy_envs import Continuous, Noisy, context

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms.core import epsilon
from jaxmarl_suite.algorithms.off_policy import gem_q
from jaxmarl_suite.algorithms.off_policy._parts import Batch, Done, NoActor, Shown
from jaxmarl_suite.replay import Block, StoreLayout, add_block, new_store

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ops"))

from episodic_oracle import brute_force

ENV = Noisy(1)
ACTIONS = ENV.spec.num_actions
SMALL = {
    "num_envs": 2,
    "rollout_length": 5,
    "gradient_steps": 3,
    "capacity": 20,
    "batch_size": 4,
    "warmup_steps": 0,
    "hidden": (4, 3),
    "learning_rate": 0.01,
    "gamma": 0.9,
    "target_period": 6,
}
PARTS = {"gem-q": gem_q.parts, "gem-meta": gem_q.meta_parts}


def parts_of(name, **changes):
    """`(config, method)`."""
    config = algorithms.get(name).config(**(SMALL | changes))
    return config, PARTS[name](config, ENV)[1]


def random_params(method, seed):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(method.init, jax.random.key(0))
    return jax.tree.map(lambda s: jnp.asarray(0.7 * rng.normal(size=s.shape), s.dtype), shapes)


def random_masks(rng, *shape):
    """[*shape, 1, A] with at least one legal action each; some with one only."""
    mask = rng.random((*shape, 1, ACTIONS)) < 0.5
    np.put_along_axis(mask, rng.integers(ACTIONS, size=(*shape, 1, 1)), True, -1)
    return mask


def q_values(params, obs):
    """[C, B, A] from observations [B, D]."""
    num = len(jax.tree.leaves(params)[0])
    return np.stack([mlp(layers(jax.tree.map(lambda p, c=c: p[c], params)), obs) for c in range(num)])


def best_legal(q, mask):
    """[...] the largest of [..., A] over legal actions, by a loop."""
    flat, legal = q.reshape(-1, q.shape[-1]), np.broadcast_to(mask, q.shape).reshape(-1, q.shape[-1])
    return np.array([max(row[a] for a in np.flatnonzero(ok)) for row, ok in zip(flat, legal)]).reshape(q.shape[:-1])


# What is remembered


def random_play(rng, length):
    """`(columns [2, length, ...], blocks of 5 steps)`: two environments with both kinds of ends."""
    played = {
        "reward": rng.normal(size=(2, length)).astype(np.float32),
        "terminated": rng.random((2, length)) < 0.15,
        "truncated": rng.random((2, length)) < 0.15,
        "next_obs": rng.normal(size=(2, length, 1, 2)).astype(np.float32),
        "next_mask": random_masks(rng, 2, length),
    }
    starts = Shown(rng.normal(size=(2, length, 1, 2)).astype(np.float32), np.zeros((2, length, 0), np.float32),
                   random_masks(rng, 2, length))  # fmt: skip
    final = Shown(played["next_obs"], starts.state, played["next_mask"])
    ended = played["terminated"] | played["truncated"]

    def before(start, after):
        is_new = np.concatenate([np.ones((2, 1), bool), ended[:, :-1]], 1).reshape(2, length, *[1] * (start.ndim - 2))
        return np.where(is_new, start, np.concatenate([start[:, :1], after[:, :-1]], 1))

    whole = Block(
        steps=Done(np.zeros((2, length, 1), np.int32), played["reward"]),
        observed=jax.tree.map(before, starts, final),
        observed_after=final,  # of every step; the last one's counts
        final=final,
        terminated=played["terminated"],
        truncated=played["truncated"],
        start=(),
    )
    cut = [jax.tree.map(lambda x, i=i: jnp.asarray(x[:, i : i + 5]), whole) for i in range(0, length, 5)]
    last = [dataclasses.replace(b, observed_after=jax.tree.map(lambda x: x[:, -1], b.observed_after)) for b in cut]
    return played, last


CASES = [
    ("gem-q", 4, {}),
    ("gem-q", 5, {"own": "selector", "critic_groups": 1}),
    ("gem-meta", 5, {"own": "selector"}),
    ("gem-meta", 4, {"target_period": 0, "target_rate": 0.2}),
]


@pytest.mark.parametrize("name, clock, changes", CASES, ids=str)
def test_what_is_remembered_is_the_best_along_the_ring(name, clock, changes):
    """All stored steps of two rings that have wrapped; before, target networks are copied or not, or jump."""
    config, method = parts_of(name, **changes)
    params, old = random_params(method, 1), method.targets(random_params(method, 2))
    rng, capacity, length = np.random.default_rng(3), config.capacity // config.num_envs, 15
    played, blocks = random_play(rng, length)
    layout = StoreLayout(2, capacity // 5, 5)
    store = new_store(layout, blocks[0])
    for block in blocks:
        store = add_block(layout, store, block)
    ctx = context(config, ENV, clock=clock)
    prepare = jax.jit(method.prepare, static_argnums=2, compiler_options=QUICK)
    targets, remembered = prepare(params, old, layout, store, jax.random.key(0), ctx)

    online = doubles(params["critic"]["sub"] if name == "gem-meta" else params["critic"])
    share = float(clock == 4) if config.target_period else 1 - (1 - 0.2) ** 3
    expected = jax.tree.map(lambda o, n: o + share * (n - o), doubles(old["critic"]), online)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), targets["critic"], expected)
    for env in range(2):
        kept = {name: x[env, -capacity:] for name, x in played.items()}
        groups = q_values(expected, kept["next_obs"][:, 0]).reshape(config.critic_groups, -1, capacity, ACTIONS).min(1)
        wanted = brute_force(
            kept["reward"], best_legal(groups, kept["next_mask"][None, :, 0]).T, kept["terminated"], kept["truncated"],
            np.ones(capacity, bool), gamma=0.9, own=config.own,
        )  # fmt: skip
        found = np.roll(np.asarray(remembered[env]), -int(store.head.next_slot), axis=0)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


# Losses


def random_batch(rng, size, groups):
    mask = random_masks(rng, size)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return Batch(
        obs=normal(size, 1, 2),
        state=jnp.zeros((size, 0)),
        action=jnp.asarray(rng.integers(ACTIONS, size=(size, 1)), jnp.int32),
        reward=normal(size),
        discount=jnp.asarray(rng.choice([0.0, 0.9], size), jnp.float32),
        next_obs=normal(size, 1, 2),
        next_state=jnp.zeros((size, 0)),
        next_mask=jnp.asarray(mask),
        prepared=normal(size, groups),
    )


def loss_of(error, kind, delta=1.0):
    if kind == "mse":
        return error**2
    size = np.abs(error)
    return np.where(size <= delta, 0.5 * error**2, delta * (size - 0.5 * delta))


@pytest.mark.parametrize(
    "name, changes",
    [("gem-q", {"kappa": 0.3}), ("gem-q", {"loss": "huber", "huber_delta": 0.4}), ("gem-meta", {"kappa": 0.3}),
     ("gem-meta", {"double_q": True, "loss": "mse"})],
    ids=str,
)  # fmt: skip
def test_losses_are_their_formulas(name, changes):
    config, method = parts_of(name, **changes)
    params, targets = random_params(method, 1), method.targets(random_params(method, 2))
    rng, size = np.random.default_rng(4), 12
    batch = random_batch(rng, size, 2)
    found, metrics = compiled(method.critic_loss)(
        params["critic"], (), targets, batch, jax.random.key(0), context(config, ENV)
    )
    b, p, old = doubles(batch), doubles(params["critic"]), doubles(targets["critic"])
    rows, action = np.arange(size), np.asarray(batch.action[:, 0])
    learning = p["meta"] if name == "gem-meta" else p
    values = q_values(learning, b.obs[:, 0])[:, rows, action]
    target = b.prepared.T if name == "gem-meta" else b.prepared.T[[0, 0, 1, 1]]
    error = values - target
    weight = np.where(error > 0, 1.0, config.kappa)
    expected = np.sum(np.mean(weight * loss_of(error, config.loss, config.huber_delta), -1))
    if name == "gem-meta":
        after = q_values(old, b.next_obs[:, 0])
        judge = q_values(p["sub"], b.next_obs[:, 0]) if config.double_q else after
        legal = np.where(np.asarray(batch.next_mask)[None, :, 0], judge, -np.inf)
        after = np.take_along_axis(after, legal.argmax(-1)[..., None], -1)[..., 0]
        error = q_values(p["sub"], b.obs[:, 0])[:, rows, action] - (b.reward + b.discount * after)
        sub_loss = np.sum(np.mean(loss_of(error, config.loss), -1))
        np.testing.assert_allclose(metrics["sub_loss"], sub_loss, rtol=1e-5)
        expected += sub_loss
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_target_that_was_not_refreshed_is_noticed():
    config, method = parts_of("gem-meta")
    params, batch = random_params(method, 0), random_batch(np.random.default_rng(1), 4, 2)
    batch = dataclasses.replace(batch, prepared=batch.prepared.at[3, 1].set(jnp.nan))
    loss, _ = method.critic_loss(
        params["critic"], (), method.targets(params), batch, jax.random.key(0), context(config, ENV)
    )
    assert np.isnan(loss)


# Play


@pytest.mark.parametrize("name", ["gem-q", "gem-meta"])
def test_greedy_play_takes_the_best_legal_action(name):
    _, method = parts_of(name)
    params, rng = random_params(method, 5), np.random.default_rng(6)
    obs, mask = rng.normal(size=(50, 2)), random_masks(rng, 50)
    q = q_values(doubles(method.policy(params)), obs)
    q = q.mean(0) if name == "gem-meta" else q.reshape(2, 2, 50, ACTIONS).min(1).mean(0)
    found = compiled(method.greedy)(method.policy(params), jnp.asarray(obs[:, None], jnp.float32), jnp.asarray(mask))
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found[:, 0], np.where(mask[:, 0], q, -np.inf).argmax(-1))


def test_exploration_is_as_often_as_epsilon_says_and_legal():
    config, method = parts_of("gem-q", epsilon_start=0.8, epsilon_end=0.2, epsilon_steps=100.0)
    policy, size = method.policy(random_params(method, 5)), 20_000
    obs = jnp.zeros((size, 1, 2))
    mask = jnp.broadcast_to(jnp.asarray([True, False, True]), (size, 1, ACTIONS))
    best, explore = int(compiled(method.greedy)(policy, obs, mask)[0, 0]), compiled(method.explore)
    other = 2 - best
    for clock, wanted in ((0, 0.8), (5, 0.5), (10, 0.2), (50, 0.2)):  # ten steps per update
        ctx = context(config, ENV, clock=clock)
        np.testing.assert_allclose(epsilon(ctx, config.num_envs * config.rollout_length), wanted, rtol=1e-6)
        action = np.asarray(explore(policy, obs, mask, jax.random.key(clock), ctx))[:, 0]
        share = wanted / 2  # of random actions, half are the best one
        assert abs((action == other).mean() - share) < 3.3 * np.sqrt(share * (1 - share) / size)
        assert not (action == 1).any()


# The core


@pytest.fixture(scope="module", params=["gem-q", "gem-meta"])
def course(request):
    """`(config, method, states before and after each of five updates, metrics)`; the first update waits."""
    config, method = parts_of(request.param, warmup_steps=20, epsilon_steps=40.0)
    (phase,) = algorithms.get(request.param).build(config, ENV)
    update = compiled(phase.algorithm.update)
    states, metrics = [compiled(phase.algorithm.init)(jax.random.key(0), context(config, ENV))], []
    for clock in range(6):
        state, found = update(states[-1], context(config, ENV, clock=clock))
        states.append(state)
        metrics.append(jax.device_get(found))
    return config, method, states, metrics


def test_target_networks_are_copies_renewed_every_period(course):
    """Period of two blocks: before the blocks of updates 2 and 4 the targets become what the networks then are."""
    _, method, states, metrics = course
    equal = jax.tree_util.Partial(jax.tree.map, np.testing.assert_array_equal)
    equal(states[1].learners, states[0].learners)  # the warm-up: nothing is learned from ten steps
    for clock in range(1, 6):
        before, after = states[clock].learners, states[clock + 1].learners
        equal(after.targets, method.targets(before.params) if clock % 2 == 0 else before.targets)
        with pytest.raises(AssertionError):
            equal(after.targets, method.targets(after.params))
    assert [found.learner["critic_loss"].weight for found in metrics] == [0, 1, 1, 1, 1, 1]
    assert all(np.isfinite(found.learner["memory_mean"].total) for found in metrics), (
        "no target was left out of the refresh"
    )


def test_nothing_is_kept_for_an_actor_and_no_illegal_action_is_played(course):
    _, _, states, metrics = course
    assert states[0].learners.params["actor"] == NoActor()
    assert all(found.episodes["illegal"].total == 0 for found in metrics)
    assert any(found.episodes["illegal"].weight > 0 for found in metrics)
    stored = states[-1].replay.contents
    assert stored.steps.action.dtype == jnp.int32
    assert stored.observed.mask.shape[-1] == ACTIONS and stored.observed.state.shape[-1] == 0
    np.testing.assert_allclose(
        [found.learner["epsilon"].total for found in metrics], [0.0, 0.7625, 0.525, 0.2875, 0.05, 0.05], rtol=1e-5
    )
    assert not any("actor" in name for found in metrics for name in found.learner)


def test_what_a_step_led_to_is_stored_before_the_restart(course):
    """A stored step leads to the next one's observation, but where an episode was cut: there, to what it ended in."""
    config, _, states, _ = course
    layout = StoreLayout(2, config.capacity // 10, 5)
    stored = stored_transitions(layout, states[-1].replay)
    obs, then = stored.observed.obs[:, 1:], stored.next_observed.obs[:, :-1]
    cut = (stored.truncated & ~stored.terminated)[:, :-1]
    goes_on = ~(stored.truncated | stored.terminated)[:, :-1]
    np.testing.assert_array_equal(obs[goes_on], then[goes_on])
    assert (obs[cut] != then[cut]).any(-1).all() and cut.any()
    assert stored.terminated.any() and stored.truncated.any()


# Who may use what


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"own": "both"}, "own must be 'selector' or 'evaluator', got 'both'"),
        ({"loss": "l1"}, "loss must be 'mse' or 'huber', got 'l1'"),
        ({"target_period": -1}, "target_period must be at least 0, got -1"),
        ({"epsilon_end": 1.1}, "epsilon_end must lie between 0 and 1, got 1.1"),
        ({"epsilon_steps": -1.0}, "epsilon_steps must be finite and not negative, got -1.0"),
        ({"num_critics": 3}, r"critic_groups must divide the 3 critics \(num_critics\), got 2"),
    ],
)
@pytest.mark.parametrize("name", ["gem-q", "gem-meta"])
def test_settings_that_cannot_work(name, settings, message):
    with pytest.raises(ValueError, match=message):
        algorithms.get(name).config(**(SMALL | settings))


@pytest.mark.parametrize("name", ["gem-q", "gem-meta"])
def test_environments_that_are_refused(name):
    spec = algorithms.get(name)
    with pytest.raises(
        ValueError, match=f"{name} supports discrete actions, but 'test/continuous' has continuous ones"
    ):
        spec.build(spec.default_config, Continuous(1))
    with pytest.raises(ValueError, match=f"{name} is for a single agent, but 'test/noisy' has 2; use qmix"):
        spec.build(spec.default_config, Noisy(2))
