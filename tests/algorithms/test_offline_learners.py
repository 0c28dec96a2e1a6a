"""Offline learners: their losses against plain NumPy, their batches, and how many steps they take."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dataset_tools import about_of, random_data
from line_env import Line
from off_policy_tools import QUICK, actor_output, compiled, count_of, critic_values, doubles, layers, mlp, random_batch
from toy_envs import context

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms.off_policy import OffPolicy, bc, implicit_q, td3_bc
from jaxmarl_suite.algorithms.off_policy._offline import draw_batch, stored_steps
from jaxmarl_suite.replay import REWARD, Dataset, without_rewards

MODULES = {"bc": bc, "td3-bc": td3_bc, "implicit-q": implicit_q}
SMALL = {"gradient_steps": 4, "total_gradient_steps": 10, "batch_size": 3, "hidden": (4, 3), "learning_rate": 0.01}


def parts_of(name, n_agents=1, **changes):
    config = algorithms.get(name).config(**(SMALL | changes))
    return config, *MODULES[name].parts(config, Line(n_agents))


def prepared(name, n_agents=1, **changes):
    """`(config, team, method, params, batch, ctx)`."""
    config, team, method = parts_of(name, n_agents, **changes)
    batch = random_batch(n_agents, 5, np.random.default_rng(0))
    params = compiled(method.init)(jax.random.key(1))
    method = method._replace(actor_loss=jax.jit(method.actor_loss), critic_loss=jax.jit(method.critic_loss))
    return config, team, method, params, batch, context(config, Line(n_agents))


def one_state(batch, prefix=""):
    """What critics see: the state of a team, a single agent's observation."""
    obs, state = (getattr(batch, prefix + name) for name in ("obs", "state"))
    return np.asarray(state if obs.shape[1] > 1 else obs[:, 0], np.float64)


@pytest.mark.parametrize("n_agents, shared", [(1, True), (2, True), (2, False)])
def test_bc_regresses_on_actions(n_agents, shared):
    _, _, method, params, batch, ctx = prepared("bc", n_agents, share_parameters=shared)
    own = np.tanh(actor_output(doubles(params["actor"]), doubles(batch.obs), shared or n_agents == 1))
    loss, _ = method.actor_loss(params["actor"], params["critic"], batch, jax.random.key(0), ctx)
    np.testing.assert_allclose(loss, np.mean((own - doubles(batch.action)) ** 2), rtol=1e-5)


@pytest.mark.parametrize("n_agents, others", [(1, "policy"), (2, "policy"), (2, "replay")])
def test_the_actor_of_td3_bc(n_agents, others):
    """λ is one number without gradient, of the mean size of the values; imitation is averaged over entries."""
    config, _, method, params, batch, ctx = prepared("td3-bc", n_agents, others=others, alpha=1.7)
    actor, critic = doubles(params["actor"]), doubles(params["critic"])

    def by_hand(actor):
        own, stored = np.tanh(actor_output(actor, doubles(batch.obs), True)), doubles(batch.action)
        joint = [own]
        if others == "replay":
            joint = [np.where((np.arange(n_agents) == m)[:, None], own, stored) for m in range(n_agents)]
        first = jax.tree.map(lambda x: x[:1], critic)
        values = np.stack([critic_values(first, one_state(batch), a)[0] for a in joint])
        return values, np.mean((own - stored) ** 2)

    values, cloning = by_hand(actor)
    scale = config.alpha / np.abs(values).mean()
    loss, metrics = method.actor_loss(params["actor"], params["critic"], batch, jax.random.key(0), ctx)
    np.testing.assert_allclose(metrics["bc_loss"], cloning, rtol=1e-5)
    np.testing.assert_allclose(loss, cloning - scale * values.mean(-1).sum(), rtol=1e-5)
    # The gradient along a random direction, with λ fixed.
    rng = np.random.default_rng(1)
    direction = jax.tree.map(lambda x: rng.normal(size=x.shape), actor)
    at = [by_hand(jax.tree.map(lambda x, d, h=h: x + h * d, actor, direction)) for h in (1e-6, -1e-6)]
    slope = [c - scale * v.mean(-1).sum() for v, c in at]
    slope_of = compiled(jax.grad(lambda p: method.actor_loss(p, params["critic"], batch, jax.random.key(0), ctx)[0]))
    grads = slope_of(params["actor"])
    along = sum(np.sum(g * d) for g, d in zip(jax.tree.leaves(doubles(grads)), jax.tree.leaves(direction)))
    np.testing.assert_allclose(along, (slope[0] - slope[1]) / 2e-6, rtol=1e-3)


def state_values(params, state):
    """[K, B]."""
    num = len(jax.tree.leaves(params)[0])
    return np.stack([mlp(layers(jax.tree.map(lambda p, c=c: p[c], params)), state)[:, 0] for c in range(num)])


@pytest.mark.parametrize("n_agents, groups", [(1, 1), pytest.param(2, 2, marks=pytest.mark.slow)])
def test_the_losses_of_implicit_q(n_agents, groups):
    _, _, method, params, batch, ctx = prepared("implicit-q", n_agents, critic_groups=groups, expectile=0.8)
    targets = jax.tree.map(lambda x: x * 1.3, method.targets(params))
    loss, metrics = method.critic_loss(params["critic"], params["actor"], targets, batch, jax.random.key(0), ctx)
    state, action = one_state(batch), doubles(batch.action)
    q, target = (critic_values(doubles(p), state, action) for p in (params["critic"]["q"], targets["q"]))
    least = target.reshape(groups, -1, 5).min(1)
    v = state_values(doubles(params["critic"]["v"]), state)
    after = state_values(doubles(params["critic"]["v"]), one_state(batch, "next_"))
    error = least - v
    value_loss = (np.where(error < 0, 0.2, 0.8) * error**2).mean(-1).sum()
    y = doubles(batch.reward) + doubles(batch.discount) * after
    q_loss = ((q - np.repeat(y, 2 // groups, axis=0)) ** 2).mean(-1).sum()
    np.testing.assert_allclose(metrics["value_loss"], value_loss, rtol=1e-5)
    np.testing.assert_allclose(loss, value_loss + q_loss, rtol=1e-5)
    # The value's gradient comes from its expectile only: Q's error does not reach it.
    slope_of = compiled(
        jax.grad(lambda c: method.critic_loss(c, params["actor"], targets, batch, jax.random.key(0), ctx)[0])
    )
    grads = slope_of(params["critic"])
    bias = max(grads["v"]["params"])
    slope = -2 * (np.where(error < 0, 0.2, 0.8) * error).mean(-1)
    np.testing.assert_allclose(grads["v"]["params"][bias]["bias"][:, 0], slope, rtol=1e-4)


def test_the_actor_of_implicit_q():
    _, _, method, params, batch, ctx = prepared("implicit-q", 2, inverse_temperature=4.0, most_weight=0.15)
    params["actor"]["log_std"] = jnp.asarray([[-0.5], [9.0]], jnp.float32)  # bounded by 2
    state, action = one_state(batch), doubles(batch.action)
    advantage = critic_values(doubles(params["critic"]["q"]), state, action).min(0)
    advantage = advantage - state_values(doubles(params["critic"]["v"]), state)[0]
    weight = np.minimum(np.exp(4.0 * advantage), 0.15)
    assert (weight < 0.15).any() and (weight == 0.15).any()
    mean, log_std = (
        np.tanh(actor_output(doubles(params["actor"]["policy"]), doubles(batch.obs), True)),
        np.array([[-0.5], [2.0]]),
    )
    density = -0.5 * ((action - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi)
    loss, metrics = method.actor_loss(params["actor"], params["critic"], batch, jax.random.key(0), ctx)
    np.testing.assert_allclose(loss, -np.mean(weight * density.sum((-2, -1))), rtol=1e-5)
    np.testing.assert_allclose(metrics["weight"], weight.mean(), rtol=1e-5)


def dataset_of(env, **changes):
    items = random_data(env.spec, 3, 8).items | changes
    return Dataset(Path("data"), items, about_of(env.spec, len(items["episode"])))


def test_batches_bootstrap_after_timeouts_and_normalize_actions():
    env = Line(2)
    _, team, _ = parts_of("td3-bc", 2)
    dataset = dataset_of(env)
    steps, items = stored_steps(team, dataset), dataset.items
    np.testing.assert_allclose(steps.action, (items["action"] + 1.0) / 2.0 - 1.0, atol=1e-6)
    np.testing.assert_allclose(steps.reward, items[REWARD].mean(-1), atol=1e-6)
    index = jnp.arange(24)
    batch = draw_batch(steps, index, jnp.float32(0.9))
    assert items["terminated"].any() and items["truncated"].any()
    np.testing.assert_allclose(batch.discount, np.where(items["terminated"], 0.0, 0.9), atol=1e-6)
    for name in ("obs", "state", "next_obs", "next_state"):
        np.testing.assert_array_equal(getattr(batch, name), items[name])
    closed = stored_steps(team, without_rewards(dataset), rewards=False)
    assert closed.reward.shape == (0,) and not np.asarray(draw_batch(closed, index, jnp.float32(0.9)).reward).any()
    with pytest.raises(ValueError, match="is not open to it"):
        stored_steps(team, without_rewards(dataset))


@pytest.mark.parametrize("name, actor_steps", [("bc", 8), ("td3-bc", 4), ("implicit-q", 8)])
def test_updates_take_their_steps_from_the_data(name, actor_steps):
    """Two updates of four steps; actors of TD3 move at every second one. Metrics are finite, and nothing is played."""
    env = Line()
    config = algorithms.get(name).config(**SMALL)
    (phase,) = algorithms.get(name).build(config, env, has_data=True)
    assert phase.updates == 3 and phase.algorithm.env_steps_per_update == 0  # 10 steps in updates of 4
    data = phase.data(dataset_of(env))
    update = jax.jit(phase.algorithm.update, compiler_options=QUICK)
    state = first = compiled(phase.algorithm.init)(jax.random.key(0), context(config, env))
    for clock in range(2):
        state, metrics = update(state, context(config, env, clock=clock, data=data))
        found = {k: float(v.total / v.weight if hasattr(v, "weight") else v) for k, v in metrics.learner.items()}
        assert not metrics.episodes and np.isfinite(list(found.values())).all()
    assert (count_of(state.learners.actor), count_of(state.learners.critic)) == (actor_steps, 8)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), first.learners.actor.params, state.learners.actor.params)
    assert any(jax.tree.leaves(moved))


@pytest.mark.parametrize("name, n_agents", [("bc", 2), ("td3-bc", 2), ("implicit-q", 1)])
def test_policies_act_within_bounds(name, n_agents):
    env = Line(n_agents)
    config = algorithms.get(name).config(**SMALL)
    (phase,) = algorithms.get(name).build(config, env, has_data=True)
    ctx = context(config, env)
    policy = phase.algorithm.policy(compiled(phase.algorithm.init)(jax.random.key(0), ctx))
    timestep = jax.vmap(env.reset, (0, None))(jax.random.split(jax.random.key(1), 6), ())[1]
    action, _ = phase.algorithm.act(policy, phase.algorithm.init_carry(6), timestep, jax.random.key(2), ctx)
    assert action.shape == (6, n_agents, 1) and (action >= -1).all() and (action <= 3).all()


@pytest.mark.slow  # as with intents in test_uber.py
def test_heads_learn_alone_in_one_program():
    """As a library: each head sees the same batch with a reward of its own, and changing one leaves the others bitwise."""
    config, team, method = parts_of("td3-bc", policy_delay=1)
    learner, ctx = OffPolicy(team, method), context(config, Line())
    batch = random_batch(1, 16, np.random.default_rng(0))
    rewards = jax.random.normal(jax.random.key(1), (4, 16), jnp.float32)
    learners = compiled(jax.vmap(learner.init, (0, None)))(jax.random.split(jax.random.key(2), 4), ctx)
    keys = jax.random.split(jax.random.key(3), 4)

    @jax.jit
    def learn(rewards):
        def one(learners, reward, key):
            return learner.learn(learners, dataclasses.replace(batch, reward=reward), key, ctx)[0]

        return jax.vmap(one)(learners, rewards, keys)

    before, after = learn(rewards), learn(rewards.at[2].add(5.0))
    for x, y in zip(jax.tree.leaves(before), jax.tree.leaves(after)):
        np.testing.assert_array_equal(np.delete(x, 2, axis=0), np.delete(y, 2, axis=0))
    assert (
        before.critic.params["params"]["Dense_0"]["kernel"][2] != after.critic.params["params"]["Dense_0"]["kernel"][2]
    ).any()
