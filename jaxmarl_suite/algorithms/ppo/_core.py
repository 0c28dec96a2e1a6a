"""Multi-agent PPO, shared by all its methods. They differ by the views of actor and critic, by how the joint action is
sampled, by the advantage estimator, and by whether agents are updated together or one after another.

`PPO` is the learner: it learns from a `Trajectory`, which may come from an environment or a model. `make_ppo` also
collects the trajectories.

Schulman et al. 2017 (PPO); Yu et al. 2022 (MAPPO: value normalization, clipping and Huber loss as options).
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, EnvSpec, TimeStep, VectorEnv, VectorState, pytree_dataclass

from jaxmarl_suite.algorithms.core._learner import Learner, LossFn, adam, fit_agents, new_learner, to_sequences
from jaxmarl_suite.algorithms.core._rollout import Transitions, rollout
from jaxmarl_suite.algorithms.core._types import ActContext, Algorithm, Context, Metrics, episode_metrics
from jaxmarl_suite.algorithms.core._views import View
from jaxmarl_suite.algorithms.ppo._actors import default_network
from jaxmarl_suite.algorithms.ppo._config import PPOConfig
from jaxmarl_suite.algorithms.ppo._losses import actor_loss, critic_loss, estimate_advantages, normalized
from jaxmarl_suite.algorithms.ppo._policies import JointPolicy
from jaxmarl_suite.networks import Network, per_agent
from jaxmarl_suite.ops import ValueNorm

FitActors = Callable[..., tuple[Learner, dict[str, jax.Array]]]


@pytree_dataclass
class PPOLearners:
    """Actors and critic of PPO, with their optimizers."""

    actor: Learner
    critic: Learner
    value_norm: ValueNorm


@pytree_dataclass
class PPOState:
    """The state of PPO between updates. E environments."""

    learners: PPOLearners
    env: VectorState  # [E, ...]
    actor_carry: Any  # [E, rows, ...] memory
    critic_carry: Any  # [E, rows, ...] memory
    key: jax.Array  # []


@pytree_dataclass
class Drawn:
    """Record of the policy's actions, [T, E, ...]."""

    action: jax.Array  # [N, *action_shape], as sampled
    log_prob: jax.Array  # [N]
    carry: Any  # [rows, ...] the actor's carry before the step


@pytree_dataclass
class Trajectory:
    """T steps of E environments, played with the policy to be improved, and the critic's carry before them."""

    steps: Transitions  # [T, E, ...]; its record is `Drawn`
    critic_carry: Any  # [E, rows, ...]


def all_at_once(
    policy: JointPolicy, actor: Learner, batch: dict, loss_fn: LossFn, optimizer: Any, key: jax.Array, config: PPOConfig
) -> tuple[Learner, dict[str, jax.Array]]:
    """The standard actor update: all agents from the same batch, at the same time."""
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


@dataclasses.dataclass(frozen=True)
class PPO:
    """The learner and its static parts; floats of the config are read from `ctx.hp`."""

    config: PPOConfig
    spec: EnvSpec
    policy: JointPolicy
    """How the joint action is sampled."""
    critic: Network
    """Critic network for one output, or the shared one."""
    critic_view: View
    """The critic's input. With one output it is a value of the team, with N outputs one per agent (or micro-step)."""
    share_critic: bool = True
    """Whether one critic serves all outputs; otherwise there is one per output."""
    sequential: bool = False
    """Whether the critic's outputs are values of the micro-steps of Γ(M) instead of agents or the team."""
    fit_actors: FitActors = all_at_once
    """How actors are updated from a batch."""

    @property
    def critics(self) -> Network:
        """The critic for all outputs."""
        return self.critic if self.share_critic else per_agent(self.critic, self.critic_view.outputs)

    def initial_critic_carry(self, n: int) -> Any:
        """[n, rows, ...] the critic's carry at the start of n episodes."""
        return self.critic.initial_carry((n, self.critic_view.rows))

    def optimizers(self, ctx: Context) -> tuple[Any, Any]:
        """The optimizers of the actors and of the critic."""
        scale = 1.0 - ctx.progress if self.config.anneal_learning_rate else 1.0
        hp = ctx.hp
        return (
            adam(hp.learning_rate * scale, hp.adam_eps, hp.max_grad_norm),
            adam(hp.critic_learning_rate * scale, hp.adam_eps, hp.max_grad_norm),
        )

    def init(self, key: jax.Array, ctx: Context) -> PPOLearners:
        """New networks. Consumes `key`."""
        actor_key, critic_key = jax.random.split(key)
        return self._init(actor_key, critic_key, ctx)

    def _init(self, actor_key: jax.Array, critic_key: jax.Array, ctx: Context) -> PPOLearners:
        actor_optimizer, critic_optimizer = self.optimizers(ctx)
        return PPOLearners(
            actor=new_learner(self.policy.init, actor_key, actor_optimizer, shared=self.policy.shared),
            critic=new_learner(self.critics.init, critic_key, critic_optimizer, shared=self.share_critic),
            value_norm=ValueNorm.create(),
        )

    def act(self, actor: Any, carry: Any, timestep: TimeStep, key: jax.Array) -> tuple[jax.Array, Any, Drawn]:
        """`(action for the environments, carry, record)` with parameters `actor`. Consumes `key`."""
        action, log_prob, new_carry = self.policy.select(actor, carry, timestep, key)
        return self.policy.head.to_env(action), new_carry, Drawn(action, log_prob, carry)

    def learn(
        self, learners: PPOLearners, trajectory: Trajectory, key: jax.Array, ctx: Context
    ) -> tuple[PPOLearners, Any, dict[str, jax.Array]]:
        """Learns from one trajectory of any environment or model: `(learners, critic's carry after the last step,
        metrics)`.

        Args:
          learners: before the update.
          trajectory: played with the policy of `learners`; T must be a multiple of the config's `sequence_length`.
          key: consumed; shuffles minibatches.
          ctx: hyperparameters and clock.
        """
        actor_key, critic_key = jax.random.split(key)
        return self._learn(learners, trajectory, actor_key, critic_key, ctx)

    def _learn(
        self, learners: PPOLearners, trajectory: Trajectory, actor_key: jax.Array, critic_key: jax.Array, ctx: Context
    ) -> tuple[PPOLearners, Any, dict[str, jax.Array]]:
        norm = learners.value_norm
        raw_value, raw_next_value, critic_carries = self._values(learners.critic.params, trajectory)
        scale = norm.denormalize if self.config.normalize_values else lambda v: v
        value = scale(raw_value)
        advantage = estimate_advantages(
            value, scale(raw_next_value), trajectory.steps.next_timestep, ctx, sequential=self.sequential
        )
        target = raw_target = advantage + value
        if self.config.normalize_values:
            norm = norm.update(target, ctx.hp.value_norm_decay)
            raw_target = norm.normalize(target)
        actor_optimizer, critic_optimizer = self.optimizers(ctx)
        actor, actor_metrics = self.fit_actors(
            self.policy,
            learners.actor,
            self._actor_batch(trajectory.steps, advantage),
            partial(actor_loss, self.policy.network, self.policy.head, ctx),
            actor_optimizer,
            actor_key,
            self.config,
        )
        critic, critic_metrics = fit_agents(
            learners.critic,
            self._critic_batch(trajectory, critic_carries, raw_target, raw_value),
            partial(critic_loss, self.critic, self.config, ctx),
            critic_optimizer,
            critic_key,
            shared=self.share_critic,
            epochs=self.config.epochs,
            minibatches=self.config.minibatches,
        )
        metrics = {
            **{("actor_grad_norm" if k == "grad_norm" else k): v for k, v in actor_metrics.items()},
            **{("critic_grad_norm" if k == "grad_norm" else k): v for k, v in critic_metrics.items()},
            "value": value.mean(),
        }
        return PPOLearners(actor, critic, norm), jax.tree.map(lambda x: x[-1], critic_carries), metrics

    def _values(self, params: Any, trajectory: Trajectory) -> tuple[jax.Array, jax.Array, Any]:
        """Normalized values [T, E, V] of the observations and of the next observations, and the critic's last carry."""
        steps, action = trajectory.steps, trajectory.steps.record.action
        shown, after = steps.timestep, steps.next_timestep
        x, extra = self.critic_view.encode(shown.obs, shown.state, action)
        value, carries = self.critics.unroll(params, trajectory.critic_carry, x, extra, shown.done)
        # No agent has acted in the next state yet, so its prefix is empty and only its first row is used.
        x, extra = self.critic_view.encode(after.final_obs, after.final_state, jnp.zeros_like(action))
        never = jnp.zeros_like(shown.done)
        flat = jax.tree.map(lambda a: a.reshape(1, a.shape[0] * a.shape[1], *a.shape[2:]), (carries, x, extra, never))
        next_value, _ = self.critics.unroll(params, jax.tree.map(lambda a: a[0], flat[0]), *flat[1:])
        return value[..., 0], next_value.reshape(value.shape)[..., 0], carries

    def _actor_batch(self, steps: Transitions, advantage: jax.Array) -> dict[str, Any]:
        """The actors' training data, in sequences [L, M, ...]."""
        shown, drawn = steps.timestep, steps.record
        # An agent with a single legal action has nothing to learn from the step. Masks of continuous actions show padding.
        has_choice = shown.action_mask.sum(-1) > (1 if self.spec.is_discrete else 0)
        weight = has_choice.astype(jnp.float32)
        advantage = jnp.where(has_choice, jnp.broadcast_to(advantage, has_choice.shape), 0.0)
        if self.config.normalize_advantages:
            advantage = normalized(advantage, weight)
        x, extra = self.policy.view.encode(shown.obs, shown.state, drawn.action)
        batch = {
            "x": x,
            "extra": extra,
            "mask": shown.action_mask,
            "action": drawn.action,
            "log_prob": drawn.log_prob,
            "advantage": advantage,
            "weight": weight,
            "start": shown.done,
        }
        return self._sequences(batch, drawn.carry)

    def _critic_batch(
        self, trajectory: Trajectory, carries: Any, target: jax.Array, value: jax.Array
    ) -> dict[str, Any]:
        """The critic's training data, in sequences [L, M, ...]."""
        shown = trajectory.steps.timestep
        x, extra = self.critic_view.encode(shown.obs, shown.state, trajectory.steps.record.action)
        before = jax.tree.map(
            lambda first, after: jnp.concatenate([first[None], after[:-1]]), trajectory.critic_carry, carries
        )
        batch = {"x": x, "extra": extra, "target": target, "value": value, "start": shown.done}
        return self._sequences(batch, before)

    def _sequences(self, batch: dict[str, Any], carry: Any) -> dict[str, Any]:
        """Cuts [T, E, ...] into sequences [L, M, ...], each with its initial carry [1, M, ...]."""
        length = self.config.sequence_length
        cut = jax.tree.map(lambda x: to_sequences(x, length), batch)
        return cut | {"carry": jax.tree.map(lambda x: to_sequences(x, length)[:1], carry)}


def make_ppo_learner(
    config: PPOConfig,
    spec: EnvSpec,
    policy: JointPolicy,
    critic_view: View,
    *,
    share_critic: bool = True,
    sequential: bool = False,
    fit_actors: FitActors = all_at_once,
    critic: Network | None = None,
) -> PPO:
    """A learner with this critic network, or the one that the config describes. Arguments are the fields of `PPO`."""
    critic = critic or default_network(config, critic_view, 1)
    return PPO(config, spec, policy, critic, critic_view, share_critic, sequential, fit_actors)


def make_ppo(ppo: PPO, env: Environment) -> Algorithm:
    """The PPO algorithm that collects rollouts in `env` and learns from them with `ppo`."""
    config, policy, vector = ppo.config, ppo.policy, VectorEnv(env, ppo.config.num_envs)

    def act(actor: Any, carry: Any, timestep: TimeStep, key: jax.Array, ctx: ActContext) -> tuple[jax.Array, Any]:
        action, carry = policy.greedy(actor, carry, timestep, key)
        return policy.head.to_env(action), carry

    return Algorithm(
        init=partial(init_state, ppo, vector),
        update=partial(update_state, ppo, vector),
        policy=lambda state: state.learners.actor.params,
        init_carry=policy.initial_carry,
        act=act,
        env_steps_per_update=config.num_envs * config.rollout_length,
    )


def init_state(ppo: PPO, env: VectorEnv, key: jax.Array, ctx: Context) -> PPOState:
    """New networks and episodes. Consumes `key`."""
    actor_key, critic_key, env_key, key = jax.random.split(key, 4)
    return PPOState(
        learners=ppo._init(actor_key, critic_key, ctx),
        env=env.reset(env_key, ctx.env_params),
        actor_carry=ppo.policy.initial_carry(env.num_envs),
        critic_carry=ppo.initial_critic_carry(env.num_envs),
        key=key,
    )


def update_state(ppo: PPO, env: VectorEnv, state: PPOState, ctx: Context) -> tuple[PPOState, Metrics]:
    """Collects one rollout and learns from it."""
    rollout_key, actor_key, critic_key, key = jax.random.split(state.key, 4)
    env_state, actor_carry, steps = rollout(
        env,
        partial(ppo.act, state.learners.actor.params),
        state.env,
        state.actor_carry,
        rollout_key,
        ctx.env_params,
        ppo.config.rollout_length,
    )
    trajectory = Trajectory(steps, state.critic_carry)
    learners, critic_carry, metrics = ppo._learn(state.learners, trajectory, actor_key, critic_key, ctx)
    state = PPOState(learners, env_state, actor_carry, critic_carry, key)
    return state, Metrics(episode_metrics(steps.next_timestep), metrics)
