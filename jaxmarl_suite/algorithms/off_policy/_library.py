"""A library of behaviors, learned offline: N independent learners of TD3+BC, one per intent, in one program.

All heads see the same batches; head i learns from the labels of intent i. Their losses are neither summed nor averaged,
so heads do not influence each other: changing one intent leaves all other heads bit for bit the same. The task's reward
is closed to this phase, unless the library is an ablation that needs it.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import pytree_dataclass

from jaxmarl_suite.algorithms.core._types import Average, Context, Metrics
from jaxmarl_suite.algorithms.off_policy._core import Learners, OffPolicy
from jaxmarl_suite.algorithms.off_policy._intents import Intents, draw_intents, intent_network, labels, measured
from jaxmarl_suite.algorithms.off_policy._offline import StoredSteps, learn_offline, num_updates, stored_steps
from jaxmarl_suite.algorithms.off_policy._parts import Batch, Networks, Team
from jaxmarl_suite.algorithms.off_policy.td3_bc import td3_bc_method
from jaxmarl_suite.replay import Dataset, without_rewards

KINDS = ("intents", "reward", "constant", "imitation", "untrained")


@pytree_dataclass
class LibraryState:
    """The state of the phase between updates."""

    heads: Learners  # leaves [N, ...]
    intents: Intents
    online: Networks  # untrained networks of the next phase
    key: jax.Array  # []


@dataclasses.dataclass(frozen=True)
class LibraryLearner:
    """The phase's functions; its config has the fields of `TD3BCConfig` and `LibraryFields`."""

    team: Team

    @property
    def learner(self) -> OffPolicy:
        """The learner of one head."""
        return OffPolicy(self.team, td3_bc_method(self.team))

    @property
    def is_batched(self) -> bool:
        """Whether heads learn as a batch."""
        mode = self.team.config.head_mode
        return mode == "vmap" or (mode == "auto" and jax.default_backend() != "cpu")

    @property
    def updates(self) -> int:
        """Length of the phase; an untrained library takes one update, which does nothing."""
        config: Any = self.team.config
        return 1 if config.library == "untrained" else num_updates(config)

    def data(self, dataset: Dataset) -> StoredSteps:
        """The steps, without rewards unless the library learns from them."""
        opens = self.team.config.library == "reward"
        return stored_steps(self.team, dataset if opens else without_rewards(dataset), rewards=opens)

    @property
    def network(self) -> Any:
        """The network of intents."""
        return intent_network(self.team.critic_view.size, self.team.action_size, self.team.config.intent_hidden)

    def inputs(self, obs: jax.Array, state: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Context [B, D] and joint action [B, X], as critics and intents see them."""
        context = self.team.critic_view.encode(obs, state, jnp.zeros(0, jnp.float32))[0][..., 0, :]
        return context, action.reshape(action.shape[0], self.team.action_size)

    def init(self, key: jax.Array, ctx: Context, online: Networks) -> LibraryState:
        """Untrained heads and unmeasured intents. Consumes `key`."""
        head_key, intent_key, key = jax.random.split(key, 3)
        numbers = jnp.arange(self.team.config.num_intents, dtype=jnp.int32)
        heads = jax.vmap(lambda i: self.learner.init(jax.random.fold_in(head_key, i), ctx))(numbers)
        return LibraryState(heads, draw_intents(self.network, numbers.shape[0], intent_key), online, key)

    def update(self, state: LibraryState, ctx: Context) -> tuple[LibraryState, Metrics]:
        """The gradient steps of one update, of all heads."""
        config, steps = self.team.config, ctx.data
        if config.library == "untrained":
            return state, Metrics({}, {"num_policies": jnp.float32(config.num_intents)})
        if config.library == "imitation":
            ctx = dataclasses.replace(ctx, hp=dataclasses.replace(ctx.hp, alpha=jnp.zeros_like(ctx.hp.alpha)))
        learn_key, key = jax.random.split(state.key)
        intents = state.intents
        if config.library == "intents":
            measure = partial(measured, self.network)
            context, action = self.inputs(steps.obs, steps.state, steps.action)
            intents = jax.lax.cond(ctx.clock == 0, measure, lambda intents, *_: intents, intents, context, action)

        def learn(
            heads: Learners, batch: Batch, key: jax.Array, is_due: jax.Array | bool
        ) -> tuple[Learners, dict[str, Any]]:
            rewards = self.rewards(intents, batch, ctx)
            keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(rewards.shape[0], dtype=jnp.int32))

            def one(head: Learners, reward: jax.Array, key: jax.Array) -> tuple[Learners, dict[str, Any]]:
                own = dataclasses.replace(batch, reward=reward)
                return self.learner.learn(head, own, key, ctx, improve_actor=is_due)

            if self.is_batched:
                heads, metrics = jax.vmap(one)(heads, rewards, keys)
            else:
                heads, metrics = jax.lax.map(lambda inputs: one(*inputs), (heads, rewards, keys))
            return heads, over_heads(metrics)

        heads, metrics = learn_offline(self.learner, state.heads, steps, learn_key, ctx, learn)
        return LibraryState(heads, intents, state.online, key), Metrics({}, metrics)

    def rewards(self, intents: Intents, batch: Batch, ctx: Context) -> jax.Array:
        """[N, B] what each head is paid for the steps of a batch."""
        config: Any = self.team.config
        if config.library == "intents":
            context, action = self.inputs(batch.obs, batch.state, batch.action)
            scale, shift = ctx.hp.label_scale, ctx.hp.label_shift
            return labels(self.network, intents, context, action, scale=scale, shift=shift)
        same = batch.reward if config.library == "reward" else jnp.ones_like(batch.reward)
        return jnp.broadcast_to(same, (config.num_intents, *same.shape))


def over_heads(metrics: dict[str, Any]) -> dict[str, Average]:
    """Averages over heads of metrics [N]; empty where the heads' are."""

    def over(found: jax.Array | Average) -> Average:
        total, weight = found if isinstance(found, Average) else (found, jnp.ones_like(found))
        return Average(total.sum(0), weight.sum(0))

    return {name: over(found) for name, found in metrics.items()}
