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

    `select(params, carry, timestep [E, ...], key, greedy)` returns `(action [E, N, *head.action_shape], log_prob [E, N],
    carry)`, with leaves [E, rows, ...] of the carry; the environment receives `head.to_env(action)`.
    """

    network: Network
    """Network of one agent (or the shared one)."""
    init: Callable[[jax.Array], Any]
    view: View
    head: ActionHead
    shared: bool
    """Whether all agents share one set of parameters; otherwise leaves have a leading [N]."""
    select: Callable[..., tuple[jax.Array, jax.Array, Any]]

    def initial_carry(self, n: int) -> Any:
        """Carry at the start of n episodes, leaves [n, rows, ...]."""
        return self.network.initial_carry((n, self.view.rows))

    def greedy(self, params: Any, carry: Any, timestep: TimeStep, key: jax.Array) -> tuple[jax.Array, Any]:
        """The mode of every agent's distribution (given its predecessors' modes in an autoregressive policy), and the
        new carry.
        """
        action, _, carry = self.select(params, carry, timestep, key, greedy=True)
        return action, carry


def independent_policy(network: Network, view: View, head: ActionHead, *, shared: bool) -> JointPolicy:
    """Every agent samples from its own distribution, independently of the others."""
    everyone = network if shared else per_agent(network, view.outputs)

    def select(
        params: Any, carry: Any, timestep: TimeStep, key: jax.Array, *, greedy: bool = False
    ) -> tuple[jax.Array, jax.Array, Any]:
        x, extra = view.encode(timestep.obs, timestep.state, head.no_action(*timestep.obs.shape[:2]))
        output, carry = everyone.step(params, carry, x, extra, timestep.done)
        mask = timestep.action_mask
        action = head.mode(output, mask) if greedy else head.sample(key, output, mask)
        return action, head.log_prob(output, mask, action), carry

    return JointPolicy(network, everyone.init, view, head, shared, select)


def autoregressive_policy(network: Network, view: View, head: ActionHead) -> JointPolicy:
    """Agent k samples given the actions of agents 1..k-1, which can represent any joint policy. Parameters are shared
    over k. If the network joins rows, all rows are computed for every k, and only the k-th is used.
    """
    n = view.outputs

    def row(array: jax.Array, k: jax.Array) -> jax.Array:
        """Row k of [E, N, ...], or the only row of [E, 1, ...]; keeps the axis."""
        return array if array.shape[1] == 1 else jax.lax.dynamic_slice_in_dim(array, k, 1, axis=1)

    def put(array: jax.Array, own: jax.Array, k: jax.Array) -> jax.Array:
        """`array` with rows `own`, all of them or the k-th."""
        return own if own.shape == array.shape else jax.lax.dynamic_update_slice_in_dim(array, own, k, axis=1)

    def step(
        params: Any, carry: Any, timestep: TimeStep, x: jax.Array, extra: jax.Array, k: jax.Array
    ) -> tuple[jax.Array, Any]:
        """Output [E, 1, ...] of agent k, and the carry of the computed rows."""
        if network.joins_rows:
            output, memory = network.step(params, carry, x, extra, timestep.done)
            return row(output, k), memory
        own = jax.tree.map(lambda c: row(c, k), carry)
        return network.step(params, own, row(x, k), row(extra, k), timestep.done)

    def select(
        params: Any, carry: Any, timestep: TimeStep, key: jax.Array, *, greedy: bool = False
    ) -> tuple[jax.Array, jax.Array, Any]:
        def choose(
            chosen: tuple[jax.Array, Any], inputs: tuple[jax.Array, jax.Array]
        ) -> tuple[tuple[jax.Array, Any], jax.Array]:
            (action, memory), (k, key_k) = chosen, inputs
            x, extra = view.encode(timestep.obs, timestep.state, action)
            output, new = step(params, carry, timestep, x, extra, k)
            mask = row(timestep.action_mask, k)
            own = head.mode(output, mask) if greedy else head.sample(key_k, output, mask)
            # With a shared carry all agents compute the same new one; otherwise each computes its own.
            memory = jax.tree.map(lambda all_rows, c: put(all_rows, c, k), memory, new)
            return (put(action, own, k), memory), head.log_prob(output, mask, own)[:, 0]

        (action, memory), log_prob = jax.lax.scan(
            choose,
            (head.no_action(timestep.obs.shape[0], n), carry),
            (jnp.arange(n, dtype=jnp.int32), jax.random.split(key, n)),
            unroll=min(n, 8),
        )
        return action, jnp.swapaxes(log_prob, 0, 1), memory

    return JointPolicy(network, network.init, view, head, True, select)
