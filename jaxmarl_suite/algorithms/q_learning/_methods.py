"""How the Q-learning methods differ: what they regress, and on which target."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._types import Context
from jaxmarl_suite.algorithms.core._views import View, central_view
from jaxmarl_suite.algorithms.q_learning._agents import Agents, Sequences, Steps, make_agents
from jaxmarl_suite.algorithms.q_learning._config import QConfig
from jaxmarl_suite.networks import Mixer
from jaxmarl_suite.ops import generalized_advantage, greedy, legal_max, take, weighted, weighted_mean


class Terms(NamedTuple):
    """What a method computes from a batch."""

    loss: jax.Array  # [L, B] at least 0, summed over the regressed values
    td_error: jax.Array  # [L, B] |δ|, for priorities and logs
    value: jax.Array  # [L, B] of the actions taken: the joint value, or the mean over agents
    penalty: jax.Array  # [] added to the mean loss


TermsFn = Callable[[Any, Any, Sequences, Context], Terms]


class Method(NamedTuple):
    """The method-specific part of a Q-learner."""

    init: Callable[[jax.Array], dict[str, Any]]
    """Initial parameters in addition to the agents'."""
    terms: TermsFn
    """`(params, target params, batch [L, B, ...], ctx) -> Terms`; parameters contain "agents" and the result of `init`."""


@dataclasses.dataclass(frozen=True)
class Team:
    """The parts from which methods are built."""

    config: QConfig
    agents: Agents
    view: View
    """Input of mixers."""

    @property
    def obs_size(self) -> int:
        """D, size of one agent's observation."""
        return math.prod(self.agents.spec.obs_shape)

    def context(self, obs: jax.Array, state: jax.Array) -> jax.Array:
        """[*, G] input of mixers, from observations [*, N, *obs_shape] and the global state."""
        return self.view.encode(obs, state, jnp.zeros(0, jnp.float32))[0][..., 0, :]

    def flat_obs(self, obs: jax.Array) -> jax.Array:
        """[*, N, D] observations as vectors."""
        return obs.reshape(*obs.shape[: obs.ndim - len(self.agents.spec.obs_shape)], -1)

    def next_action(self, q: jax.Array, target_q: jax.Array, mask: jax.Array) -> jax.Array:
        """[*, N] actions whose values targets use."""
        return greedy(q if self.config.double_q else target_q, mask)


def make_team(config: QConfig, env: Environment) -> Team:
    """Agents and context for `env`.

    Raises:
      ValueError: the context is a global state, which the environment does not have.
    """
    spec = env.spec
    if config.context == "state" and not spec.state_size:
        raise ValueError(
            f"context 'state' needs a global state, which {spec.id!r} does not have; use 'observations' or 'auto'"
        )
    agents = make_agents(
        spec,
        recurrent=config.recurrent,
        width=config.width,
        share_parameters=config.share_parameters,
        last_action=config.last_action,
        compute_dtype=config.compute_dtype,
    )
    shown = spec.replace(state_size=0) if config.context == "observations" else spec
    return Team(config, agents, central_view(shown))


def bootstrap(steps: Steps, next_value: jax.Array, ctx: Context) -> jax.Array:
    """[L, B, M] targets; the team's mean reward for M = 1, each agent's own for M = N.

        y_t = r_t + γ (1 - terminated_t) ((1 - λ) Q'_t + λ y_{t+1})

    with λ = `trace_decay`, and Q'_t in place of y_{t+1} where the next step of the sequence does not follow step t.
    """
    reward = steps.reward if next_value.shape[-1] > 1 else steps.reward.mean(-1, keepdims=True)
    terminated, gamma = steps.terminated[..., None], ctx.hp.gamma
    if not ctx.hp.trace_decay:
        return jax.lax.stop_gradient(reward + gamma * jnp.where(terminated, 0.0, next_value))
    follows = ~steps.start[1:] & (steps.weight[1:] > 0)
    is_last = jnp.concatenate([~follows, jnp.ones_like(follows[:1])])[..., None]
    # The value after a step is that before the next one. What a first step has is subtracted and added again.
    value = jnp.concatenate([jnp.zeros_like(next_value[:1]), jnp.where(is_last, 0.0, next_value)[:-1]])
    advantage = generalized_advantage(
        reward, value, next_value, terminated, is_last, gamma=gamma, lambda_=ctx.hp.trace_decay
    )
    return jax.lax.stop_gradient(advantage + value)


def total(terms: Terms, weight: jax.Array, importance: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`(loss [], metrics)`: means over steps with weight [L, B]; importance [B] scales the loss of sequences.

    The metrics include "priority" [B], a sequence's mean error.
    """
    count = jnp.maximum(weight.sum(), 1.0)
    loss = jnp.sum(weighted(terms.loss, weight) * importance[None]) / count + terms.penalty
    priority = jnp.sum(weighted(terms.td_error, weight), axis=0) / jnp.maximum(weight.sum(0), 1.0)
    return loss, {
        "loss": loss,
        "td_error": weighted_mean(terms.td_error, weight),
        "q_mean": weighted_mean(terms.value, weight),
        "q_max_abs": jnp.max(weighted(jnp.abs(terms.value), weight)),
        "priority": priority + 1e-6,
    }


def mixed(team: Team, mixer: Mixer) -> Method:
    """The method that regresses a mixer's value on its own one-step target: δ = r + γ Q_tot⁻(s', a') - Q_tot(s, a)."""
    agents = team.agents

    def terms(params: Any, target: Any, batch: Sequences, ctx: Context) -> Terms:
        steps = batch.steps
        own, old = agents.unroll(params["agents"], batch), agents.unroll(target["agents"], batch)
        value, penalty = mixer.mix(
            params["mixer"],
            take(own.q, steps.action),
            legal_max(own.q, steps.mask),
            steps.action,
            team.context(steps.obs, steps.state),
            team.flat_obs(steps.obs),
        )
        next_action = team.next_action(own.next_q, old.next_q, steps.next_mask)
        next_value, _ = mixer.mix(
            target["mixer"],
            take(old.next_q, next_action),
            legal_max(old.next_q, steps.next_mask),
            next_action,
            team.context(steps.next_obs, steps.next_state),
            team.flat_obs(steps.next_obs),
        )
        error = value - bootstrap(steps, next_value, ctx)
        return Terms(jnp.square(error).mean(-1), jnp.abs(error).mean(-1), value.mean(-1), penalty)

    return Method(lambda key: {"mixer": mixer.init(key)}, terms)
