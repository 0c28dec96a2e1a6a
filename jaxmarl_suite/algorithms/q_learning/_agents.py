"""Agents of the Q-learning methods: their inputs, their memory, and what is stored of their experience.

Axes: L time steps, B sequences (or E environments), N agents, A actions, D entries of an input, H memory, G context.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import EnvSpec, TimeStep, pytree_dataclass

from jaxmarl_suite.networks import ComputeDtype, Network, computed_in, make_network, per_agent
from jaxmarl_suite.replay import NO_ACTION


@pytree_dataclass
class Memory:
    """What agents carry from step to step."""

    hidden: Any  # leaves [B, N, ...], the network's carry
    last_action: jax.Array  # [B, N] int32


@pytree_dataclass
class Steps:
    """Experience as it is stored and learned from: an item [L, ...] in a replay, a batch [L, B, ...] for learning."""

    obs: jax.Array  # [N, *obs_shape]
    state: jax.Array  # [G]
    mask: jax.Array  # [N, A] bool
    start: jax.Array  # [] bool, first step of an episode
    action: jax.Array  # [N] int32
    reward: jax.Array  # [N]
    terminated: jax.Array  # [] bool; values are bootstrapped unless it is true, also at the time limit
    next_obs: jax.Array  # [N, *obs_shape], before any restart
    next_state: jax.Array  # [G]
    next_mask: jax.Array  # [N, A] bool
    weight: jax.Array  # [] float32, 0 for steps that do not count

    def without_padding(self) -> "Steps":
        """With zeros in steps that do not count, because values that are not finite would reach gradients through them."""
        counts = self.weight > 0

        def clean(x: jax.Array) -> jax.Array:
            own = counts.reshape(counts.shape + (1,) * (x.ndim - counts.ndim))
            return jnp.where(own, x, 0.0) if jnp.issubdtype(x.dtype, jnp.floating) else x

        return jax.tree.map(clean, self)


@pytree_dataclass
class Sequences:
    """L consecutive steps, and the agents' memory before the first."""

    memory: Memory
    steps: Steps


@pytree_dataclass
class Unrolled:
    """The outputs of one set of agents along a batch."""

    q: jax.Array  # [L, B, N, A] utilities
    features: jax.Array  # [L, B, N, F] memory after the step, or the input if there is none
    next_q: jax.Array  # [L, B, N, A] utilities of the next observations; without gradient
    next_features: jax.Array  # [L, B, N, F]


@dataclasses.dataclass(frozen=True)
class Agents:
    """Utilities of N agents from their own observations, last actions and (if parameters are shared) indices."""

    spec: EnvSpec
    network: Network
    """Network of all agents: the last batch axis is N."""
    hidden_size: int
    """H, if the memory is one array [*, H]: QTRAN's value network then reads it. With 0 it reads the agents' inputs, as for
    feed-forward agents and memories of another form."""
    input_size: int
    """D, size of an agent's input."""
    agent_id: bool
    last_action: bool

    @property
    def feature_size(self) -> int:
        """F, size of an agent's features."""
        return self.hidden_size or self.input_size

    def initial_memory(self, n: int) -> Memory:
        """Initial memory of n teams at the start of their episodes."""
        agents = self.spec.n_agents
        return Memory(self.network.initial_carry((n, agents)), jnp.full((n, agents), NO_ACTION, jnp.int32))

    def fresh_where(self, restarted: jax.Array, memory: Memory) -> Memory:
        """`memory` of B teams, that of the start of an episode where `restarted` [B]."""

        def choose(first: jax.Array, now: jax.Array) -> jax.Array:
            return jnp.where(jnp.expand_dims(restarted, tuple(range(1, now.ndim))), first, now)

        return jax.tree.map(choose, self.initial_memory(restarted.shape[0]), memory)

    def inputs(self, obs: jax.Array, last_action: jax.Array) -> jax.Array:
        """[*, N, D] from observations [*, N, *obs_shape] and previous actions [*, N]."""
        batch = last_action.shape
        parts = [obs.reshape(*batch, math.prod(self.spec.obs_shape))]
        if self.last_action:
            parts.append(jax.nn.one_hot(last_action, self.spec.num_actions, dtype=jnp.float32))
        if self.agent_id:
            parts.append(jnp.broadcast_to(jnp.eye(self.spec.n_agents, dtype=jnp.float32), (*batch, self.spec.n_agents)))
        return jnp.concatenate(parts, axis=-1)

    def step(self, params: Any, memory: Memory, timestep: TimeStep) -> tuple[jax.Array, Any]:
        """`(utilities [E, N, A], the network's carry)` for the current observations of E environments."""
        x = self.inputs(timestep.obs, jnp.where(timestep.done[:, None], NO_ACTION, memory.last_action))
        q, hidden = self.network.step(
            params, memory.hidden, x, jnp.zeros((*x.shape[:-1], 0), jnp.float32), timestep.done
        )
        return q, hidden

    def unroll(self, params: Any, batch: Sequences) -> Unrolled:
        """Utilities of all observations and next observations of the batch.

        The network runs once, over L + 1 steps: the next observation of a step is that of the next step. Only where an
        episode was cut in between is it evaluated separately.
        """
        steps = batch.steps
        before = jnp.concatenate([batch.memory.last_action[None], steps.action[:-1]])
        shown = self.inputs(steps.obs, jnp.where(steps.start[..., None], NO_ACTION, before))
        led_to = self.inputs(steps.next_obs, steps.action)
        x = jnp.concatenate([shown, led_to[-1:]])
        start = jnp.concatenate([steps.start, jnp.zeros_like(steps.start[:1])])
        q, hidden = self.network.unroll(params, batch.memory.hidden, x, nothing(x), start)
        # Cut, but not terminated: bootstrap from the final observation, not from the next episode's first.
        was_cut = (start[1:] & ~steps.terminated).at[-1].set(False)
        earlier, later = (jax.tree.map(lambda h, part=part: h[part], hidden) for part in (slice(-1), slice(1, None)))
        next_q, next_hidden = self._continued(params, was_cut, earlier, led_to, q[1:], later)
        if self.hidden_size:
            return Unrolled(q[:-1], earlier, next_q, next_hidden)
        return Unrolled(q[:-1], shown, next_q, led_to)

    def _continued(
        self, params: Any, was_cut: jax.Array, hidden: Any, led_to: jax.Array, q: jax.Array, after: Any
    ) -> tuple[jax.Array, Any]:
        """`(q, after)`: utilities and memory of the following rows, replaced by those of `led_to` where `was_cut`. No
        gradients.

        Cut steps are few, so part of the batch is evaluated at a time until none is left, which usually needs one
        iteration.
        """
        params, hidden, led_to, q, after = jax.lax.stop_gradient((params, hidden, led_to, q, after))
        rows = was_cut.size
        size = -(-rows // max(was_cut.shape[0] // 2, 1))

        def evaluate_some(carried: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
            waiting, old = carried
            (index,) = jnp.nonzero(waiting, size=size, fill_value=rows)  # past the end: dropped below
            x, memory = jax.tree.map(lambda a: flat(a).at[index].get(mode="clip"), (led_to, hidden))
            new = self.network.step(params, memory, x, nothing(x), jnp.zeros((size,), bool))
            old = jax.tree.map(lambda a, b: a.at[index].set(b, mode="drop"), old, new)
            return waiting.at[index].set(False, mode="drop"), old

        found = jax.lax.while_loop(
            lambda carried: carried[0].any(), evaluate_some, (was_cut.ravel(), jax.tree.map(flat, (q, after)))
        )[1]
        return jax.tree.map(lambda a, like: a.reshape(like.shape), found, (q, after))


def flat(x: jax.Array) -> jax.Array:
    """Reshapes [L, B, ...] to [L * B, ...]."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def nothing(x: jax.Array) -> jax.Array:
    """Extra inputs of size 0 to go with inputs [..., D]."""
    return jnp.zeros((*x.shape[:-1], 0), jnp.float32)


def make_agents(
    spec: EnvSpec,
    *,
    recurrent: bool,
    width: int,
    share_parameters: bool,
    last_action: bool,
    compute_dtype: ComputeDtype = "float32",
) -> Agents:
    """Linear-ReLU-GRU-Linear agents (feed-forward: a second ReLU layer instead of the GRU), with PyTorch's
    initialization.

    Args:
      spec: spec of the environment; its actions must be discrete.
      recurrent: whether to use the GRU.
      width: width of every layer.
      share_parameters: one network with the agent's index as input; otherwise one network per agent.
      last_action: include each agent's last action in its input.
      compute_dtype: of the network's products and activations.
    """
    size = (
        math.prod(spec.obs_shape)
        + (spec.num_actions if last_action else 0)
        + (spec.n_agents if share_parameters else 0)
    )
    network = make_network(
        size,
        spec.num_actions,
        encoder=(width,),
        hidden=() if recurrent else (width,),
        memory_size=width if recurrent else 0,
        activation="relu",
        initializer="torch",
    )
    network = computed_in(network, compute_dtype)
    everyone = network if share_parameters else per_agent(network, spec.n_agents)
    return Agents(spec, everyone, width if recurrent else 0, size, share_parameters, last_action)
