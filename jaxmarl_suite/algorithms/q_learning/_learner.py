"""The Q-learner: gradient steps on sequences from any source, and how they are played and stored.

Mnih et al. 2015 (targets, replay); van Hasselt et al. 2016 (double Q); Hausknecht & Stone 2015 (recurrent agents).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxmarl_envs import Environment, TimeStep, pytree_dataclass

from jaxmarl_suite.algorithms.core._learner import Learner, adam, gradient_step, new_learner
from jaxmarl_suite.algorithms.core._rollout import Transitions
from jaxmarl_suite.algorithms.core._schedules import epsilon
from jaxmarl_suite.algorithms.core._targets import copied_if, polyak
from jaxmarl_suite.algorithms.core._types import (
    Context,
)
from jaxmarl_suite.algorithms.q_learning._agents import Memory, Sequences, Steps
from jaxmarl_suite.algorithms.q_learning._config import QConfig
from jaxmarl_suite.algorithms.q_learning._methods import Method, Team, total
from jaxmarl_suite.ops import epsilon_greedy
from jaxmarl_suite.replay import (
    Block,
    Head,
    Places,
    StoreLayout,
    Windows,
    draw_blocks,
    draw_by_priority,
    expand,
)


@pytree_dataclass
class QLearners:
    """What gradient steps change."""

    online: Learner
    target: Any  # parameters


@pytree_dataclass
class QBatch:
    """B sequences for a gradient step."""

    sequences: Sequences  # [L, B, ...]
    importance: jax.Array  # [B] float32, weights of their losses


@dataclasses.dataclass(frozen=True)
class QLearning:
    """The learner and its static parts; floats of the config are read from `ctx.hp`."""

    team: Team
    """Agents, and the inputs of mixers."""
    method: Method
    """What is regressed."""

    @property
    def config(self) -> QConfig:
        """Static settings."""
        return self.team.config

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one update."""
        return self.config.num_envs * self.config.rollout_length

    def optimizer(self, ctx: Context) -> Any:
        """The optimizer of all parameters."""
        hp = ctx.hp
        if self.config.optimizer == "adam":
            return adam(hp.learning_rate, hp.optimizer_eps, hp.max_grad_norm)
        clip = optax.clip_by_global_norm(hp.max_grad_norm)
        return optax.chain(clip, optax.rmsprop(hp.learning_rate, decay=0.99, eps=hp.optimizer_eps, eps_in_sqrt=False))

    def init_params(self, key: jax.Array) -> dict[str, Any]:
        """Initial parameters of the agents and of the method. Consumes `key`."""
        agent_key, rest_key = jax.random.split(key)
        return {"agents": self.team.agents.network.init(agent_key), **self.method.init(rest_key)}

    def init(self, key: jax.Array, ctx: Context) -> QLearners:
        """New parameters, and targets equal to them. Consumes `key`."""
        learner = new_learner(self.init_params, key, self.optimizer(ctx), shared=True)
        return QLearners(learner, learner.params)

    def act(
        self, params: Any, ctx: Context, memory: Memory, timestep: TimeStep, key: jax.Array
    ) -> tuple[jax.Array, Memory, jax.Array]:
        """One step of ε-greedy acting, for `rollout`. Consumes `key`."""
        q, hidden = self.team.agents.step(params["agents"], memory, timestep)
        action = epsilon_greedy(key, q, timestep.action_mask, epsilon(ctx, self.steps_per_update))
        return action, Memory(hidden, action), action

    def learn(
        self, learners: QLearners, batch: QBatch, ctx: Context, *, update_target: jax.Array | bool = True
    ) -> tuple[QLearners, jax.Array, dict[str, jax.Array]]:
        """One gradient step: `(learners, new priorities of the sequences [B], metrics)`. Draws no random numbers.

        Args:
          learners: before the step.
          batch: sequences from a replay, a dataset, or a model.
          ctx: hyperparameters and clock.
          update_target: [] bool, whether to copy targets after the step; averaged ones always move.
        """

        def loss_fn(params: Any, batch: QBatch) -> tuple[jax.Array, dict[str, jax.Array]]:
            terms = self.method.terms(params, learners.target, batch.sequences, ctx)
            return total(terms, batch.sequences.steps.weight, batch.importance)

        learner, metrics = gradient_step(learners.online, batch, loss_fn, self.optimizer(ctx))
        priority = metrics.pop("priority")
        if self.config.target_period:
            target = copied_if(jnp.asarray(update_target), learner.params, learners.target)
        else:
            target = polyak(learner.params, learners.target, ctx.hp.target_rate)
        return QLearners(learner, target), priority, metrics

    def copies_target(self, step: jax.Array, ctx: Context) -> jax.Array:
        """[] bool, whether targets are copied after gradient step number `step` of this update, from 1."""
        steps, period = self.config.gradient_steps, max(self.config.target_period, 1)
        updates = ctx.played(self.steps_per_update) // self.steps_per_update
        before = (updates % period) * (steps % period)  # gradient steps so far, modulo the period
        return (before + step) % period == 0

    def to_block(self, played: Transitions, last: TimeStep, memory: Memory) -> Block:
        """Converts a rollout [L, E, ...] to a block for the store.

        Args:
          played: the rollout.
          last: [E, ...] timestep after the rollout.
          memory: [E, ...] the agents' memory before it.
        """
        shown, after = played.timestep, played.next_timestep
        truncated = after.truncated
        if self.config.whole_episodes:  # steps after the first end do not count
            truncated = truncated & first_episodes(after)
        return Block(
            steps=swap_axes({"action": played.record, "reward": after.reward}),
            observed=swap_axes(observed(shown.obs, shown.state, shown.action_mask)),
            observed_after=observed(last.obs, last.state, last.action_mask),
            final=swap_axes(observed(after.final_obs, after.final_state, after.final_mask)),
            terminated=after.terminated.T,
            truncated=truncated.T,
            start=self.team.agents.fresh_where(shown.done[0], memory),
        )

    def to_sequences(self, windows: Windows) -> Sequences:
        """Converts stored blocks to items [B, L, ...], in which every step has its next observation."""
        found = expand(windows)
        ended = windows.terminated | windows.truncated
        counts = windows.is_known
        if self.config.whole_episodes:
            counts = counts & windows.same_episode
        steps = Steps(
            **found.observed,
            # The memory before the first step is the one stored with the block.
            start=jnp.concatenate([jnp.zeros_like(ended[:, :1]), ended[:, :-1]], axis=1),
            **found.steps,
            terminated=windows.terminated,
            **{f"next_{name}": x for name, x in found.next_observed.items()},
            weight=counts.astype(jnp.float32),
        )
        return Sequences(windows.start, steps.without_padding() if self.config.whole_episodes else steps)

    def layout(self, env: Environment) -> StoreLayout:
        """Layout of the replay; the capacity is rounded up to whole updates."""
        config = self.config
        return StoreLayout(
            config.num_envs,
            -(-config.capacity // config.num_envs),
            config.rollout_length,
            env.spec.episode_limit,
            priorities="block" if config.prioritized else "none",
            priority_exponent=config.priority_exponent,
            is_continuous=not config.whole_episodes,
        )

    def draw(self, layout: StoreLayout, head: Head, key: jax.Array, ctx: Context) -> Places:
        """Samples the places of B sequences. Consumes `key`."""
        size = self.config.batch_size
        if layout.priorities == "none":
            return draw_blocks(layout, head, key, (size,))
        return draw_by_priority(layout, head, key, size, ctx.hp.importance_exponent)


def observed(obs: jax.Array, state: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    """The observed part of a step."""
    return {"obs": obs, "state": state, "mask": mask}


def swap_axes(tree: Any) -> Any:
    """Swaps the first two axes: [L, B, ...] and [B, L, ...]."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tree)


def in_time(items: Sequences, importance: jax.Array) -> QBatch:
    """Converts items [B, L, ...] to a batch."""
    return QBatch(dataclasses.replace(items, steps=swap_axes(items.steps)), importance)


def first_episodes(next_timestep: TimeStep) -> jax.Array:
    """[L, E] bool, steps that belong to the first episode of the block."""
    done = next_timestep.done.astype(jnp.int32)
    return jnp.cumsum(done, axis=0) == done
