"""Joint policies: how the joint action is sampled from per-agent outputs, independently or one agent after another."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs import TimeStep

from jaxmarl_suite.algorithms.core._views import View
from jaxmarl_suite.networks import Network, per_agent
from jaxmarl_suite.ops import ActionHead


class JointPolicy(NamedTuple):
    """A factorized joint policy over one batch of environments.

    `select(params, carry [E, rows, H], timestep [E, ...], key, greedy)` returns `(action [E, N, *head.action_shape],
    log_prob [E, N], carry)`; the environment receives `head.to_env(action)`.
    """

    network: Network
    """Network of one agent (or the shared one)."""
    init: Callable[[jax.Array], Any]
    view: View
    head: ActionHead
    shared: bool
    """Whether all agents share one set of parameters; otherwise leaves have a leading [N]."""
    select: Callable[..., tuple[jax.Array, jax.Array, jax.Array]]

    def initial_carry(self, n: int) -> jax.Array:
        """[n, rows, H] carry at the start of n episodes."""
        return self.network.initial_carry((n, self.view.rows))

    def greedy(self, params: Any, carry: jax.Array, timestep: TimeStep, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The mode of every agent's distribution (given its predecessors' modes in an autoregressive policy), and the
        new carry.
        """
        action, _, carry = self.select(params, carry, timestep, key, greedy=True)
        return action, carry


def independent_policy(network: Network, view: View, head: ActionHead, *, shared: bool) -> JointPolicy:
    """Every agent samples from its own distribution, independently of the others."""
    everyone = network if shared else per_agent(network, view.outputs)

    def select(
        params: Any, carry: jax.Array, timestep: TimeStep, key: jax.Array, *, greedy: bool = False
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        x, extra = view.encode(timestep.obs, timestep.state, head.no_action(*timestep.obs.shape[:2]))
        output, carry = everyone.step(params, carry, x, extra, timestep.done)
        mask = timestep.action_mask
        action = head.mode(output, mask) if greedy else head.sample(key, output, mask)
        return action, head.log_prob(output, mask, action), carry

    return JointPolicy(network, everyone.init, view, head, shared, select)


def autoregressive_policy(network: Network, view: View, head: ActionHead) -> JointPolicy:
    """Agent k samples given the actions of agents 1..k-1, which can represent any joint policy. Parameters are shared
    over k.
    """
    n = view.outputs

    def rows(array: jax.Array, k: jax.Array) -> jax.Array:
        """Row k of [E, N, ...], or the only row of [E, 1, ...]; keeps the axis."""
        return array if array.shape[1] == 1 else jax.lax.dynamic_slice_in_dim(array, k, 1, axis=1)

    def select(
        params: Any, carry: jax.Array, timestep: TimeStep, key: jax.Array, *, greedy: bool = False
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        num_envs = timestep.obs.shape[0]

        def choose(
            action: jax.Array, inputs: tuple[jax.Array, jax.Array]
        ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            k, key_k = inputs
            x, extra = view.encode(timestep.obs, timestep.state, action)
            output, memory = network.step(params, rows(carry, k), rows(x, k), rows(extra, k), timestep.done)
            mask = rows(timestep.action_mask, k)
            chosen = head.mode(output, mask) if greedy else head.sample(key_k, output, mask)
            log_prob = head.log_prob(output, mask, chosen)
            return jax.lax.dynamic_update_slice_in_dim(action, chosen, k, axis=1), (log_prob[:, 0], memory[:, 0])

        action, (log_prob, memory) = jax.lax.scan(
            choose,
            head.no_action(num_envs, n),
            (jnp.arange(n, dtype=jnp.int32), jax.random.split(key, n)),
            unroll=min(n, 8),
        )
        # With a shared carry all agents computed the same new one; otherwise each computed its own.
        carry = memory[0][:, None] if view.rows == 1 else jnp.swapaxes(memory, 0, 1)
        return action, jnp.swapaxes(log_prob, 0, 1), carry

    return JointPolicy(network, network.init, view, head, True, select)
