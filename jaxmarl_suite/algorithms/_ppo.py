"""Multi-agent PPO, once. The methods built on it differ by the views of actor and critic, by how the joint action is drawn,
by the advantage estimator, and by whether agents are updated at once or one after another.

Schulman et al. 2017 (PPO); Yu et al. 2022 (MAPPO: value normalisation, clipping and Huber loss as options).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, TimeStep, VectorEnv, VectorState, pytree_dataclass

from jaxmarl_suite.algorithms._base import Algorithm, Context, Metrics, episode_metrics
from jaxmarl_suite.algorithms._learner import Learner, LossFn, adam, fit_agents, new_learner, to_sequences
from jaxmarl_suite.algorithms._policies import JointPolicy
from jaxmarl_suite.algorithms._ppo_config import PPOConfig
from jaxmarl_suite.algorithms._views import View
from jaxmarl_suite.networks import make_network, per_agent
from jaxmarl_suite.ops import ValueNorm, generalized_advantage, sequential_advantage, value_loss, weighted_mean


@pytree_dataclass
class PPOState:
    """All that a PPO learner carries from one update to the next. E environments, N agents, H memory."""

    actor: Learner
    critic: Learner
    value_norm: ValueNorm
    env: VectorState  # [E, ...]
    actor_carry: jax.Array  # [E, rows, H]
    critic_carry: jax.Array  # [E, rows, H]
    key: jax.Array  # []


@pytree_dataclass
class Trajectory:
    """T steps of E environments: what was seen, done, and what it led to."""

    seen: TimeStep  # [T, E, ...] before the step; `done` marks first steps of an episode
    action: jax.Array  # [T, E, N, *action_shape], as drawn
    log_prob: jax.Array  # [T, E, N]
    carry: jax.Array  # [T, E, rows, H] the actor's memory before the step
    led_to: TimeStep  # [T, E, ...] after the step; final_obs and final_state before any reset


def collect(
    env: VectorEnv,
    policy: JointPolicy,
    params: Any,
    state: VectorState,
    carry: jax.Array,
    key: jax.Array,
    ctx: Context,
    length: int,
) -> tuple[VectorState, jax.Array, Trajectory]:
    """`length` steps of all environments with the sampled policy: `(env state, memory, [T, E, ...] trajectory)`."""

    def step(
        state_carry: tuple[VectorState, jax.Array], key: jax.Array
    ) -> tuple[tuple[VectorState, jax.Array], Trajectory]:
        state, carry = state_carry
        act_key, step_key = jax.random.split(key)
        action, log_prob, new_carry = policy.select(params, carry, state.timestep, act_key)
        new_state = env.step(step_key, state, policy.head.to_env(action), ctx.env_params)
        return (new_state, new_carry), Trajectory(state.timestep, action, log_prob, carry, new_state.timestep)

    (state, carry), trajectory = jax.lax.scan(step, (state, carry), jax.random.split(key, length))
    return state, carry, trajectory


def linear_schedule(start: jax.Array, end: jax.Array | float, ctx: Context) -> jax.Array:
    """`start` at the beginning of the phase, `end` at its end."""
    return start + (end - start) * ctx.progress


FitActors = Callable[..., tuple[Learner, dict[str, jax.Array]]]


def all_at_once(
    policy: JointPolicy, actor: Learner, batch: dict, loss_fn: LossFn, optimizer: Any, key: jax.Array, config: PPOConfig
) -> tuple[Learner, dict[str, jax.Array]]:
    """The usual way to update actors: all agents from the same batch, whatever the others do meanwhile."""
    return fit_agents(
        actor,
        batch,
        loss_fn,
        optimizer,
        key,
        shared=policy.shared,
        epochs=config.epochs,
        minibatches=config.minibatches,
    )


def make_ppo(
    config: PPOConfig,
    env: Environment,
    policy: JointPolicy,
    critic_view: View,
    *,
    share_critic: bool = True,
    sequential: bool = False,
    fit_actors: FitActors = all_at_once,
) -> Algorithm:
    """The PPO algorithm with these parts.

    Args:
      config: static sizes; its floats are replaced by `ctx.hp`'s.
      env: one instance; batched and auto-reset here.
      policy: how the joint action is drawn.
      critic_view: what the critic sees. One output: a value of the team. N outputs: one an agent (or a micro-step).
      share_critic: one critic for all its outputs, or one each.
      sequential: the critic's outputs are values of the micro-steps of Γ(M), not of agents or the team.
      fit_actors: how the actors are updated from a batch; `all_at_once`, or another of its signature.
    """
    vector = VectorEnv(env, config.num_envs)
    head = policy.head
    critic = make_network(critic_view.size, 1, extra_size=critic_view.extra_size, hidden=config.hidden,
                          memory_size=config.memory)  # fmt: skip
    critics = critic if share_critic else per_agent(critic, critic_view.outputs)
    length = config.sequence_length

    def optimizers(ctx: Context) -> tuple[Any, Any]:
        scale = 1.0 - ctx.progress if config.anneal_learning_rate else 1.0
        hp = ctx.hp
        return (
            adam(hp.learning_rate * scale, hp.adam_eps, hp.max_grad_norm),
            adam(hp.critic_learning_rate * scale, hp.adam_eps, hp.max_grad_norm),
        )

    def init(key: jax.Array, ctx: Context) -> PPOState:
        actor_key, critic_key, env_key, key = jax.random.split(key, 4)
        actor_optimizer, critic_optimizer = optimizers(ctx)
        return PPOState(
            actor=new_learner(policy.init, actor_key, actor_optimizer, shared=policy.shared),
            critic=new_learner(critics.init, critic_key, critic_optimizer, shared=share_critic),
            value_norm=ValueNorm.create(),
            env=vector.reset(env_key, ctx.env_params),
            actor_carry=policy.initial_carry(config.num_envs),
            critic_carry=critic.initial_carry((config.num_envs, critic_view.rows)),
            key=key,
        )

    def values(state: PPOState, trajectory: Trajectory) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Normalised values [T, E, V] of what was seen and of what it led to, and the critic's memories."""
        seen, led_to = trajectory.seen, trajectory.led_to
        x, extra = critic_view.look(seen.obs, seen.state, trajectory.action)
        value, carries = critics.unroll(state.critic.params, state.critic_carry, x, extra, seen.done)
        # Nobody has acted in the next state yet, so its prefix is empty; only its first row is used then.
        x, extra = critic_view.look(led_to.final_obs, led_to.final_state, jnp.zeros_like(trajectory.action))
        never = jnp.zeros_like(seen.done)
        flat = jax.tree.map(lambda a: a.reshape(1, a.shape[0] * a.shape[1], *a.shape[2:]), (carries, x, extra, never))
        next_value, _ = critics.unroll(state.critic.params, flat[0][0], *flat[1:])
        return value[..., 0], next_value.reshape(value.shape)[..., 0], carries

    def advantages(value: jax.Array, next_value: jax.Array, trajectory: Trajectory, ctx: Context) -> jax.Array:
        led_to = trajectory.led_to
        reward = led_to.reward
        if sequential:
            reward, next_value = reward.mean(-1), next_value[..., 0]
        elif critic_view.outputs == 1:
            reward = reward.mean(-1, keepdims=True)
        terminated, truncated = led_to.terminated, led_to.truncated
        if reward.ndim == 3:
            terminated, truncated = terminated[..., None], truncated[..., None]
        estimate = sequential_advantage if sequential else generalized_advantage
        return estimate(reward, value, next_value, terminated, truncated, gamma=ctx.hp.gamma, lambda_=ctx.hp.gae_lambda)

    def actor_loss(ctx: Context, params: Any, batch: dict) -> tuple[jax.Array, dict]:
        output, _ = policy.network.unroll(params, batch["carry"][0], batch["x"], batch["extra"], batch["start"])
        mask, weight = batch["mask"], batch["weight"]
        log_ratio = head.log_prob(output, mask, batch["action"]) - batch["log_prob"]
        ratio = jnp.exp(log_ratio)
        clipped = jnp.clip(ratio, 1 - ctx.hp.clip, 1 + ctx.hp.clip)
        # Each agent's own ratio is clipped, never the product over agents.
        surrogate = jnp.minimum(ratio * batch["advantage"], clipped * batch["advantage"])
        entropy = weighted_mean(head.entropy(output, mask), weight)
        bonus = linear_schedule(ctx.hp.entropy, ctx.hp.entropy_end, ctx)
        policy_loss = -weighted_mean(surrogate, weight)
        return policy_loss - bonus * entropy, {
            "policy_loss": policy_loss,
            "entropy": entropy,
            "approx_kl": weighted_mean(ratio - 1 - log_ratio, weight),
            "clip_fraction": weighted_mean((jnp.abs(ratio - 1) > ctx.hp.clip).astype(jnp.float32), weight),
        }

    def critic_loss(ctx: Context, params: Any, batch: dict) -> tuple[jax.Array, dict]:
        value, _ = critic.unroll(params, batch["carry"][0], batch["x"], batch["extra"], batch["start"])
        loss = value_loss(
            value[..., 0],
            batch["target"],
            batch["value"],
            kind=config.value_loss,
            huber_delta=ctx.hp.huber_delta,
            clip=ctx.hp.clip if config.clip_value else None,
        ).mean()
        return loss, {"value_loss": loss}

    def update(state: PPOState, ctx: Context) -> tuple[PPOState, Metrics]:
        rollout_key, actor_key, critic_key, key = jax.random.split(state.key, 4)
        env_state, actor_carry, trajectory = collect(
            vector, policy, state.actor.params, state.env, state.actor_carry, rollout_key, ctx, config.rollout_length
        )
        raw_value, raw_next_value, critic_carries = values(state, trajectory)
        norm = state.value_norm
        scale = norm.denormalize if config.normalize_values else lambda v: v
        value = scale(raw_value)
        advantage = advantages(value, scale(raw_next_value), trajectory, ctx)
        target = advantage + value
        raw_target = target
        if config.normalize_values:
            norm = norm.update(target, ctx.hp.value_norm_decay)
            raw_target = norm.normalize(target)

        seen = trajectory.seen
        n = env.spec.n_agents
        # An agent with a single legal action has nothing to learn from the step. Masks of continuous actions show padding.
        has_choice = seen.action_mask.sum(-1) > (1 if env.spec.is_discrete else 0)
        weight = has_choice.astype(jnp.float32)
        advantage = jnp.where(has_choice, jnp.broadcast_to(advantage, (*advantage.shape[:2], n)), 0.0)
        if config.normalize_advantages:
            mean = weighted_mean(advantage, weight)
            std = jnp.sqrt(weighted_mean(jnp.square(advantage - mean), weight))
            advantage = (advantage - mean) / (std + 1e-8)

        x, extra = policy.view.look(seen.obs, seen.state, trajectory.action)
        actor_batch = {
            "x": x,
            "extra": extra,
            "mask": seen.action_mask,
            "action": trajectory.action,
            "log_prob": trajectory.log_prob,
            "advantage": advantage,
            "weight": weight,
            "start": seen.done,
        }
        x, extra = critic_view.look(seen.obs, seen.state, trajectory.action)
        critic_batch = {"x": x, "extra": extra, "target": raw_target, "value": raw_value, "start": seen.done}
        before = jnp.concatenate([state.critic_carry[None], critic_carries[:-1]])
        actor_batch, critic_batch = jax.tree.map(lambda a: to_sequences(a, length), (actor_batch, critic_batch))
        actor_batch["carry"] = to_sequences(trajectory.carry, length)[:1]
        critic_batch["carry"] = to_sequences(before, length)[:1]

        actor_optimizer, critic_optimizer = optimizers(ctx)
        actor, actor_metrics = fit_actors(
            policy, state.actor, actor_batch, partial(actor_loss, ctx), actor_optimizer, actor_key, config
        )
        critic_learner, critic_metrics = fit_agents(
            state.critic,
            critic_batch,
            partial(critic_loss, ctx),
            critic_optimizer,
            critic_key,
            shared=share_critic,
            epochs=config.epochs,
            minibatches=config.minibatches,
        )
        learner = {
            **{("actor_grad_norm" if k == "grad_norm" else k): v for k, v in actor_metrics.items()},
            **{("critic_grad_norm" if k == "grad_norm" else k): v for k, v in critic_metrics.items()},
            "value": value.mean(),
        }
        state = PPOState(actor, critic_learner, norm, env_state, actor_carry, critic_carries[-1], key)
        return state, Metrics(episode_metrics(trajectory.led_to), learner)

    def act(
        params: Any, carry: jax.Array, timestep: TimeStep, key: jax.Array, ctx: Context
    ) -> tuple[jax.Array, jax.Array]:
        action, carry = policy.greedy(params, carry, timestep, key)
        return policy.head.to_env(action), carry

    return Algorithm(
        init=init,
        update=update,
        policy=lambda state: state.actor.params,
        init_carry=policy.initial_carry,
        act=act,
        env_steps_per_update=config.num_envs * config.rollout_length,
    )
