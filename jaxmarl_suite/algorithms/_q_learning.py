"""Deep Q-learning for teams, once: play, replay, targets, gradient steps. The methods differ by what they regress.

Mnih et al. 2015 (targets, replay); van Hasselt et al. 2016 (double Q); Hausknecht & Stone 2015 (recurrent agents).
Deliberate differences from PyMARL, in which most of the methods were published: many environments act at once, and a
stored sequence is `rollout_length` steps of one of them with the memory it began with, whether or not episodes end inside.
`whole_episodes` gives PyMARL's episodes from their start, padded.
"""

import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxmarl_envs import Environment, TimeStep, VectorEnv, VectorState, pytree_dataclass

from jaxmarl_suite.algorithms._base import Algorithm, Average, Context, Metrics, Milestone, Phase, episode_metrics
from jaxmarl_suite.algorithms._learner import Learner, adam, gradient_step, new_learner
from jaxmarl_suite.algorithms._q_agents import (
    NO_ACTION,
    Memory,
    Sequences,
    Steps,
    greedy,
    legal,
)
from jaxmarl_suite.algorithms._q_config import QConfig
from jaxmarl_suite.algorithms._q_methods import Method, Team, total
from jaxmarl_suite.replay import make_replay


@pytree_dataclass
class QState:
    """All that a Q-learner carries from one update to the next. E environments."""

    learner: Learner
    target: Any  # parameters
    replay: Any  # experience [1, capacity, ...]; () where the data is stored
    env: Any  # VectorState [E, ...]; () where the data is stored
    memory: Any  # Memory [E, ...]; () where the data is stored
    key: jax.Array  # []


def milestones(config: QConfig, *, stored: bool) -> tuple[Milestone, ...]:
    """Settings in absolute units that decide when learning begins, targets move and exploration has ended."""
    steps = config.num_envs * config.rollout_length
    first = 1 if stored else max(math.ceil(config.learning_starts / config.num_envs), 1)
    found = []
    if config.target_period:
        copied = max(math.ceil(config.target_period / config.gradient_steps), first)
        found.append(Milestone("target_period", "the first copy into the target networks", copied * steps))
    if not stored:
        found.append(Milestone("learning_starts", "the first gradient step", first * steps, is_vital=True))
        found.append(Milestone("epsilon_steps", "the end of the decay of exploration", config.epsilon_steps))
    return tuple(found)


def make_q_learning(
    config: QConfig, env: Environment, team: Team, method: Method, *, stored: bool
) -> tuple[Phase, ...]:
    """The Q-learning algorithm with these parts.

    Args:
      config: static sizes; its floats are replaced by `ctx.hp`'s.
      env: one instance; batched and auto-reset here.
      team: agents and what mixers are shown.
      method: what is regressed.
      stored: learn from `ctx.data`, `Sequences` [M, L, ...], and never act.

    Raises:
      ValueError: for whole episodes that do not fit into a sequence.
    """
    spec, agents = env.spec, team.agents
    if config.whole_episodes and (spec.episode_limit is None or spec.episode_limit > config.rollout_length):
        raise ValueError(
            f"whole_episodes needs a rollout_length of at least the episode limit of {spec.id!r}, "
            f"{spec.episode_limit}, got {config.rollout_length}"
        )
    vector = VectorEnv(env, config.num_envs)
    replay = make_replay(
        config.capacity, config.batch_size, prioritised=config.prioritised, priority_exponent=config.priority_exponent
    )
    steps_per_update = config.num_envs * config.rollout_length

    def optimizer(ctx: Context) -> Any:
        hp = ctx.hp
        if config.optimizer == "adam":
            return adam(hp.learning_rate, hp.optimizer_eps, hp.max_grad_norm)
        clip = optax.clip_by_global_norm(hp.max_grad_norm)
        return optax.chain(clip, optax.rmsprop(hp.learning_rate, decay=0.99, eps=hp.optimizer_eps, eps_in_sqrt=False))

    def epsilon(ctx: Context) -> jax.Array:
        played = ctx.played(steps_per_update).astype(jnp.float32)
        done = jnp.minimum(played / jnp.maximum(ctx.hp.epsilon_steps, 1), 1)
        return ctx.hp.epsilon_start + (ctx.hp.epsilon_end - ctx.hp.epsilon_start) * done

    def init_params(key: jax.Array) -> Any:
        agent_key, rest_key = jax.random.split(key)
        return {"agents": agents.network.init(agent_key), **method.init(rest_key)}

    def init(key: jax.Array, ctx: Context) -> QState:
        net_key, env_key, key = jax.random.split(key, 3)
        learner = new_learner(init_params, net_key, optimizer(ctx), shared=True)
        if stored:
            return QState(learner, learner.params, (), (), (), key)
        env_state, memory = vector.reset(env_key, ctx.env_params), agents.initial_memory(config.num_envs)
        shape = jax.eval_shape(lambda: collect(learner.params, env_state, memory, env_key, ctx)[2])
        item = jax.tree.map(lambda s: jnp.zeros(s.shape[1:], s.dtype), shape)
        return QState(learner, learner.params, replay.init(item), env_state, memory, key)

    def collect(
        params: Any, env_state: VectorState, memory: Memory, key: jax.Array, ctx: Context
    ) -> tuple[VectorState, Memory, Sequences, TimeStep]:
        """One sequence of each environment, [E, L, ...], ε-greedily; and what the steps led to, [L, E, ...]."""
        reset_key, play_key = jax.random.split(key)
        if config.whole_episodes:
            env_state, memory = vector.reset(reset_key, ctx.env_params), agents.initial_memory(config.num_envs)
        explore = epsilon(ctx)

        def step(
            carried: tuple[VectorState, Memory], key: jax.Array
        ) -> tuple[tuple[VectorState, Memory], tuple[TimeStep, jax.Array, TimeStep]]:
            env_state, memory = carried
            seen = env_state.timestep
            random_key, gate_key, step_key = jax.random.split(key, 3)
            q, hidden = agents.step(params["agents"], memory, seen)
            random = jax.random.categorical(random_key, legal(jnp.zeros_like(q), seen.action_mask)).astype(jnp.int32)
            is_random = jax.random.uniform(gate_key, random.shape, jnp.float32) < explore
            action = jnp.where(is_random, random, greedy(q, seen.action_mask))
            env_state = vector.step(step_key, env_state, action, ctx.env_params)
            return (env_state, Memory(hidden, action)), (seen, action, env_state.timestep)

        (env_state, new_memory), (seen, action, led_to) = jax.lax.scan(
            step, (env_state, memory), jax.random.split(play_key, config.rollout_length)
        )
        counts = jnp.ones(led_to.done.shape, jnp.float32)
        start = seen.done.at[0].set(False)  # the memory before the first step is what the agents brought along
        if config.whole_episodes:
            done = led_to.done.astype(jnp.float32)
            counts = (jnp.cumsum(done, axis=0) == done).astype(jnp.float32)  # no end before this step
        first = Memory(
            jnp.where(seen.done[0, :, None, None], 0.0, memory.hidden),
            jnp.where(seen.done[0, :, None], NO_ACTION, memory.last_action),
        )
        steps = Steps(
            obs=seen.obs,
            state=seen.state,
            mask=seen.action_mask,
            start=start,
            action=action,
            reward=led_to.reward,
            terminated=led_to.terminated,
            next_obs=led_to.final_obs,
            next_state=led_to.final_state,
            next_mask=led_to.final_mask,
            weight=counts,
        )
        if config.whole_episodes:
            steps = steps.without_padding()
        return env_state, new_memory, Sequences(first, jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), steps)), led_to

    def follow(target: Any, params: Any, gradient_steps: jax.Array, ctx: Context) -> Any:
        """The target networks after so many gradient steps, which may be counted up to whole periods."""
        if config.target_period:
            is_due = gradient_steps % config.target_period == 0
            return jax.tree.map(lambda new, old: jnp.where(is_due, new, old), params, target)
        return jax.tree.map(lambda new, old: old + ctx.hp.target_rate * (new - old), params, target)

    def learn(
        learner: Learner, target: Any, ring: Any, key: jax.Array, ctx: Context
    ) -> tuple[Learner, Any, Any, dict[str, jax.Array]]:
        """`(learner, target, priorities, metrics)` after the gradient steps; the stored items are only read."""
        steps, period = config.gradient_steps, max(config.target_period, 1)
        updates = ctx.played(steps_per_update) // steps_per_update
        before = (updates % period) * (steps % period)  # gradient steps so far, up to whole periods

        def step(
            carried: tuple[Learner, Any, Any], inputs: tuple[jax.Array, jax.Array]
        ) -> tuple[tuple[Learner, Any, Any], dict[str, jax.Array]]:
            (learner, target, priorities), (number, key) = carried, inputs

            def loss_fn(params: Any, batch: tuple[Sequences, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
                sequences, importance = batch
                return total(method.terms(params, target, sequences, ctx), sequences.steps.weight, importance)

            if stored:
                index = jax.random.randint(key, (config.batch_size,), 0, ctx.data.steps.action.shape[0], jnp.int32)
                items, importance = (
                    jax.tree.map(lambda x: x[index], ctx.data),
                    jnp.ones((config.batch_size,), jnp.float32),
                )
            else:
                whole = replay.join(priorities, ring)
                items, index, importance = replay.sample(whole, key, ctx.hp.importance_exponent)
            batch = dataclasses.replace(items, steps=jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), items.steps))
            learner, metrics = gradient_step(learner, (batch, importance), loss_fn, optimizer(ctx))
            priority = metrics.pop("priority")
            if not stored:
                priorities = replay.split(replay.set_priorities(whole, index, priority))
            return (learner, follow(target, learner.params, before + number, ctx), priorities), metrics

        start = (learner, target, () if stored else replay.split(ring))
        inputs = (jnp.arange(1, steps + 1), jax.random.split(key, steps))
        (learner, target, priorities), metrics = jax.lax.scan(step, start, inputs)
        metrics = {n: m.max() if n == "q_max_abs" else m.mean() for n, m in metrics.items()}
        return learner, target, priorities, metrics

    def update(state: QState, ctx: Context) -> tuple[QState, Metrics]:
        play_key, learn_key, key = jax.random.split(state.key, 3)
        if stored:
            learner, target, _, learnt = learn(state.learner, state.target, (), learn_key, ctx)
            return QState(learner, target, (), (), (), key), Metrics({}, learnt)
        env_state, memory, sequences, led_to = collect(state.learner.params, state.env, state.memory, play_key, ctx)
        ring = replay.add(state.replay, sequences)
        # What was played is no lane's own, so this stays a branch where lanes are batched.
        num_played = ctx.played(steps_per_update) // config.rollout_length + config.num_envs
        is_ready = num_played >= max(config.learning_starts, 1)

        def train(learner: Learner, target: Any) -> tuple[Learner, Any, Any, dict[str, jax.Array]]:
            return learn(learner, target, ring, learn_key, ctx)

        def wait(learner: Learner, target: Any) -> tuple[Learner, Any, Any, dict[str, jax.Array]]:
            shapes = jax.eval_shape(train, learner, target)[3]
            return learner, target, replay.split(ring), jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

        learner, target, priorities, learnt = jax.lax.cond(is_ready, train, wait, state.learner, state.target)
        ring = replay.join(priorities, ring)
        weight = is_ready.astype(jnp.float32)
        metrics = Metrics(
            episodes=episode_metrics(led_to, jnp.swapaxes(sequences.steps.weight, 0, 1) > 0),
            learner={name: Average(value, weight) for name, value in learnt.items()} | {"epsilon": epsilon(ctx)},
        )
        return QState(learner, target, ring, env_state, memory, key), metrics

    def act(policy: Any, memory: Memory, timestep: TimeStep, key: jax.Array, ctx: Context) -> tuple[jax.Array, Memory]:
        q, hidden = agents.step(policy, memory, timestep)
        action = greedy(q, timestep.action_mask)
        return action, Memory(hidden, action)

    algorithm = Algorithm(
        init=init,
        update=update,
        policy=lambda state: state.learner.params["agents"],
        init_carry=agents.initial_memory,
        act=act,
        env_steps_per_update=steps_per_update,
        milestones=partial(milestones, stored=stored),
    )
    return (Phase("q", algorithm),)
