"""Learners learn from what they are given, wherever it was played; one loop plays in environments and in models."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxmarl_envs import EnvSpec, VectorEnv, restart, transition, uniform_index
from line_env import Line
from off_policy_tools import QUICK, count_of, parts_of, random_batch
from q_tools import config_of
from q_tools import parts_of as q_parts_of
from q_tools import random_batch as random_batch_of_sequences
from toy_envs import Noisy, context

from jaxmarl_suite.algorithms.core import rollout
from jaxmarl_suite.algorithms.off_policy import OffPolicy
from jaxmarl_suite.algorithms.ppo import PPOConfig, Trajectory, init_state, ippo, update_state
from jaxmarl_suite.algorithms.q_learning import QBatch, QLearning


@dataclasses.dataclass(frozen=True)
class Imagined:
    """What a learned model looks like to its users: parameters are weights of a network, and real states to start from."""

    n_agents: int = 2
    default_params: Any = dataclasses.field(default=(), compare=False)

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec("test/imagined", self.n_agents, obs_shape=(3,), num_actions=2, state_size=3)

    def _show(self, state: jax.Array) -> dict[str, jax.Array]:
        return {"obs": jnp.broadcast_to(state, (self.n_agents, 3)), "state": state}

    def reset(self, key: jax.Array, params: Any) -> tuple[jax.Array, Any]:
        starts = params["starts"]
        state = starts[uniform_index(key, starts.shape[0])]
        return state, restart(self.spec, **self._show(state))

    def step(self, key: jax.Array, state: jax.Array, action: jax.Array, params: Any) -> tuple[jax.Array, Any]:
        told = jnp.concatenate([state, action.astype(jnp.float32)])
        after = jnp.tanh(told @ params["next"])
        reward = told @ params["reward"]
        return after, transition(self.spec, **self._show(after), reward=reward, terminated=False)


def weights(seed: int) -> dict[str, jax.Array]:
    """Action 1 pays, action 0 does not; states drift at random."""
    rng = np.random.default_rng(seed)
    return {
        "next": jnp.asarray(rng.normal(size=(5, 3)), jnp.float32),
        "reward": jnp.asarray([0.0, 0.0, 0.0, 1.0, 1.0], jnp.float32),
        "starts": jnp.asarray(rng.normal(size=(7, 3)), jnp.float32),
    }


def test_ippo_learns_in_a_model_whose_parameters_are_an_argument():
    """One compiled program for all weights; from the steps of a model, in an update of the user's own."""
    model, size, length = Imagined(), 16, 8
    config = PPOConfig(num_envs=size, rollout_length=length, epochs=4, learning_rate=0.01, hidden=(8,))
    ppo, vector, traces = ippo.parts(config, model), VectorEnv(model, size), []
    ctx = context(config, model)

    @partial(jax.jit, compiler_options=QUICK)
    def imagine_and_learn(learners, params, key):
        traces.append(None)
        reset_key, play_key, learn_key = jax.random.split(key, 3)
        carry = ppo.policy.initial_carry(size)
        start = vector.reset(reset_key, params)
        act = partial(ppo.act, learners.actor.params)
        _, _, steps = rollout(vector, act, start, carry, play_key, params, length)
        trajectory = Trajectory(steps, ppo.initial_critic_carry(size))
        learners, _, metrics = ppo.learn(learners, trajectory, learn_key, ctx)
        return learners, steps.next_timestep.reward.mean(), start.timestep.state, metrics

    learners, rewards = jax.jit(ppo.init)(jax.random.key(0), ctx), []
    for i in range(30):
        learners, reward, start, metrics = imagine_and_learn(learners, weights(0), jax.random.key(i))
        rewards.append(float(reward))
    assert abs(rewards[0] - 1.0) < 0.2 and rewards[-1] > 1.8  # two agents: from one of both to both
    assert np.isfinite(metrics["value_loss"])
    starts = {tuple(row) for row in np.asarray(weights(0)["starts"])}
    assert {tuple(row) for row in np.asarray(start)} <= starts
    other = imagine_and_learn(learners, weights(1) | {"reward": -weights(1)["reward"]}, jax.random.key(0))
    assert other[1] < -1.5 and len(traces) == 1


@pytest.mark.parametrize("recurrent", [pytest.param(False, marks=pytest.mark.slow), True])
def test_ppo_on_a_fixed_trajectory_is_ppo_in_its_loop(recurrent):
    """Bit for bit, in a program of its own."""
    env = Noisy()
    config = PPOConfig(
        num_envs=4, rollout_length=6, epochs=2, recurrent=recurrent, memory_size=4, chunk_length=3, hidden=(4,)
    )
    ppo, vector, ctx = ippo.parts(config, env), VectorEnv(env, config.num_envs), context(config, env)
    state = jax.jit(partial(init_state, ppo, vector), compiler_options=QUICK)(jax.random.key(0), ctx)
    update = jax.jit(partial(update_state, ppo, vector), compiler_options=QUICK)
    state, _ = update(state, ctx)

    @partial(jax.jit, compiler_options=QUICK)
    def play(state):
        key = jax.random.split(state.key, 4)[0]
        act = partial(ppo.act, state.learners.actor.params)
        return rollout(vector, act, state.env, state.actor_carry, key, ctx.env_params, config.rollout_length)

    env_state, actor_carry, steps = play(state)
    fixed = jax.tree.map(np.asarray, Trajectory(steps, state.critic_carry))
    learn = jax.jit(ppo.learn, compiler_options=QUICK)
    learners, critic_carry, metrics = learn(state.learners, fixed, jax.random.key(9), ctx)

    after, reported = update(state, ctx)
    jax.tree.map(np.testing.assert_array_equal, learners, after.learners)
    jax.tree.map(np.testing.assert_array_equal, metrics, reported.learner)
    jax.tree.map(np.testing.assert_array_equal, (env_state, actor_carry), (after.env, after.actor_carry))
    np.testing.assert_array_equal(critic_carry, after.critic_carry)
    assert np.isfinite(metrics["value_loss"]) and metrics["actor_grad_norm"] > 0


def test_td3_learns_in_many_heads_from_one_shared_batch():
    """As an offline library does: each head sees the same steps with a reward of its own, and learns as it would alone."""
    heads, size = 8, 16
    config, team, method = parts_of("td3", policy_delay=1)
    learner, ctx = OffPolicy(team, method), context(config, Line())
    batch = random_batch(1, size, np.random.default_rng(0))
    rewards = jax.random.normal(jax.random.key(1), (heads, size), jnp.float32)
    init = jax.jit(jax.vmap(learner.init, (0, None)), compiler_options=QUICK)
    learners = init(jax.random.split(jax.random.key(2), heads), ctx)
    keys = jax.random.split(jax.random.key(3), heads)

    def learn(learners, reward, key):
        return learner.learn(learners, dataclasses.replace(batch, reward=reward), key, ctx)

    after, metrics = jax.jit(jax.vmap(learn), compiler_options=QUICK)(learners, rewards, keys)
    alone = jax.jit(learn, compiler_options=QUICK)
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    for i in (0, heads - 1):
        own, found = alone(*jax.tree.map(lambda x, i=i: x[i], (learners, rewards, keys)))
        jax.tree.map(lambda x, y, i=i: close(x[i], y), after, own)
        close(metrics["critic_loss"][i], found["critic_loss"])
    assert len(set(np.asarray(metrics["critic_loss"]).tolist())) == heads
    assert count_of(own.actor) == 1
    kept, _ = jax.jit(partial(learner.learn, improve_actor=False), compiler_options=QUICK)(own, batch, keys[0], ctx)
    jax.tree.map(np.testing.assert_array_equal, (kept.actor, kept.targets), (own.actor, own.targets))
    assert count_of(kept.critic) == 2


def test_q_learning_learns_from_sequences_of_the_callers():
    """A gradient step of VDN on a batch from nowhere lowers its loss on that batch."""
    config, env = config_of("vdn", learning_rate=0.01, target_period=100), Noisy()
    learner, ctx = QLearning(*q_parts_of("vdn", config, env)), context(config, env)
    batch = QBatch(random_batch_of_sequences(learner.team), jnp.ones(4))
    learn = jax.jit(partial(learner.learn, update_target=False), compiler_options=QUICK)
    learners, losses = learner.init(jax.random.key(0), ctx), []
    for _ in range(20):
        learners, priority, metrics = learn(learners, batch, ctx)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.7 * losses[0] and priority.shape == (4,)
