"""Acting with a library of behaviors and an own policy, whichever the target critics like best (policy expansion).

Candidates are the actions of the library's policies and, last, of the own one; their scores are the minimum over the
target critics. Axes: E environments, B steps, M candidates, n agents, A entries of an action.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import TimeStep, pytree_dataclass

from jaxmarl_suite.algorithms.core._rollout import Transitions
from jaxmarl_suite.algorithms.core._types import ActContext, Average, Context
from jaxmarl_suite.algorithms.off_policy._core import Learners, OffPolicy
from jaxmarl_suite.algorithms.off_policy._parts import Batch, Method, Metrics, Team, without_padding
from jaxmarl_suite.algorithms.off_policy.bc import imitation
from jaxmarl_suite.algorithms.off_policy.td3 import deterministic
from jaxmarl_suite.replay import Block


@pytree_dataclass
class Chosen:
    """A step as it was played."""

    action: jax.Array  # [E, N, A] in [-1, 1]
    acts: jax.Array  # [E] int32, number of the candidate that acts; that of π is the last, -1 at random
    entropy: jax.Array  # [E] of the choice, in nats


def candidates(behaviors: Team, library: Any, own: jax.Array, obs: jax.Array) -> jax.Array:
    """[N + 1, B, n, A] actions of the library's N policies for observations [B, n, ...] and, last, the `own` ones."""
    theirs = jax.vmap(lambda params: deterministic(behaviors, params, obs))(library)
    return jnp.concatenate([theirs, own[None]])


def scores(team: Team, critic: Any, obs: jax.Array, state: jax.Array, actions: jax.Array) -> jax.Array:
    """[M, B] values of M candidates [M, B, n, A]: the minimum over all critics."""
    return team.values(critic, obs, state, actions).min(0)


def choose(
    found: jax.Array, actions: jax.Array, inverse_temperature: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`(actions [B, n, A], candidates [B], entropies [B])`, drawn in proportion to exp(α score) of scores [M, B].

    Consumes `key`.
    """
    log_p = jax.nn.log_softmax(inverse_temperature * found, axis=0)
    chosen = jax.random.categorical(key, log_p, axis=0).astype(jnp.int32)
    action = actions[chosen, jnp.arange(actions.shape[1], dtype=jnp.int32)]
    return action, chosen, -(jnp.exp(log_p) * log_p).sum(0)


def guided(team: Team, behaviors: Team, library: Any, base: Method) -> Method:
    """A method whose actor also imitates the best candidate, in the eyes of the critics."""

    def actor_loss(actor: Any, critic: Any, batch: Batch, key: jax.Array, ctx: Context) -> tuple[jax.Array, Metrics]:
        assert base.actor_loss is not None
        loss, metrics = base.actor_loss(actor, critic, batch, key, ctx)
        own = base.greedy(actor, batch.obs, batch.next_mask)  # continuous actions have no masks
        actions = jax.lax.stop_gradient(candidates(behaviors, library, own, batch.obs))
        best = jnp.argmax(scores(team, critic, batch.obs, batch.state, actions), axis=0)
        distance = imitation(team, own, actions[best, jnp.arange(best.shape[0], dtype=jnp.int32)])
        return loss + ctx.hp.guide_weight * distance, metrics | {"guide_distance": distance}

    return base._replace(actor_loss=actor_loss)


@dataclasses.dataclass(frozen=True)
class Expansion(OffPolicy):
    """A learner that may play the policies of a library."""

    behaviors: Team
    """Whose actors the library's are."""
    library: Any
    """Actors [N, ...], bound while a program is traced; None where none act."""
    adds_noise: bool
    """Whether whoever acts does so with noise; otherwise the own policy is sampled."""

    def act(
        self, learners: Learners, ctx: Context, carry: Any, timestep: TimeStep, key: jax.Array
    ) -> tuple[jax.Array, Any, Chosen]:
        """One step of acting: random during the warm-up, then the chosen candidate. Consumes `key`."""
        envs = timestep.obs.shape[0]

        def at_random(key: jax.Array) -> Chosen:
            action = self.setup.actions.random(key, timestep.action_mask)
            return Chosen(action, jnp.full((envs,), -1, jnp.int32), jnp.zeros((envs,), jnp.float32))

        policy = {"library": self.library, "own": learners.actor.params, "critic": learners.targets["critic"]}
        is_warming_up = ctx.played(self.steps_per_update) < self.config.warmup_steps
        chosen = jax.lax.cond(is_warming_up, at_random, lambda key: self.explored(policy, timestep, key, ctx), key)
        return self.setup.actions.to_env(chosen.action), carry, chosen

    def explored(self, policy: Any, timestep: TimeStep, key: jax.Array, ctx: ActContext) -> Chosen:
        """As experience is collected. Consumes `key`."""
        choice_key, own_key = jax.random.split(key)
        if not self.adds_noise:
            own = self.method.explore(policy["own"], timestep.obs, timestep.action_mask, own_key, ctx)
            return self.chosen(policy, own, timestep, choice_key, ctx)
        chosen = self.chosen(policy, self.greedy(policy, timestep), timestep, choice_key, ctx)
        noise = ctx.hp.exploration_noise * jax.random.normal(own_key, chosen.action.shape, jnp.float32)
        action = without_padding(self.setup.spec, jnp.clip(chosen.action + noise, -1.0, 1.0))
        return dataclasses.replace(chosen, action=action)

    def greedy(self, policy: Any, timestep: TimeStep) -> jax.Array:
        """[E, n, A] actions of the own policy."""
        return self.method.greedy(policy["own"], timestep.obs, timestep.action_mask)

    def chosen(self, policy: Any, own: jax.Array, timestep: TimeStep, key: jax.Array, ctx: ActContext) -> Chosen:
        """The composite policy's choice, with `own` [E, n, A] as the last candidate. Consumes `key`."""
        team: Any = self.setup
        if self.config.reuse == "guide":
            envs = timestep.obs.shape[:1]
            return Chosen(own, jnp.full(envs, self.config.num_intents, jnp.int32), jnp.zeros(envs, jnp.float32))
        state = timestep.state[..., : team.spec.state_size]
        actions = candidates(self.behaviors, policy["library"], own, timestep.obs)
        found = scores(team, policy["critic"], timestep.obs, state, actions)
        return Chosen(*choose(found, actions, ctx.hp.inverse_temperature, key))

    def to_block(self, played: Transitions, last: TimeStep, ctx: Context) -> Block:
        """Converts a rollout to a block; only actions are stored."""
        return super().to_block(dataclasses.replace(played, record=played.record.action), last, ctx)

    def report(self, played: Transitions) -> dict[str, Average]:
        """How often which candidate acted after the warm-up."""
        num = self.config.num_intents
        acts, entropy = played.record.acts, played.record.entropy
        counted = (acts >= 0).astype(jnp.float32)
        shares = jnp.zeros((num + 1,), jnp.float32).at[jnp.where(acts < 0, num + 1, acts)].add(1.0, mode="drop")
        weight = counted.sum()
        return {
            "acts_own": Average(shares[num], weight),
            "acts_most": Average(shares.max(), weight),
            "choice_entropy": Average((counted * entropy).sum(), weight),
        }
