"""Mixers: functions from the utilities of a team's agents to the team's value. One factory per method, one type for
all.

Axes: B any batch axes, N agents, A actions, G state entries, D observation entries, M values, K heads.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxmarl_envs.core import documented

from jaxmarl_suite.networks._dense import TorchMLP, check_shape, check_sizes, check_team, torch_dense
from jaxmarl_suite.networks._network import Params

# Keeps QPLEX's weights positive, as in the authors' code.
_POSITIVE = 1e-10
# Qatten's own sizes, in the authors' settings for QPLEX: heads, entries of queries and keys, coefficient of the penalty.
_ATTENTION_HEADS = 4
_ATTENTION_EMBED = 32
_ATTENTION_PENALTY = 0.001


@documented
class Mixer(NamedTuple):
    """Maps the agents' utilities to the values that are regressed.

    `mix(params, chosen, best, action, state, obs)` returns `(values, penalty)`:
      chosen: [*B, N] float32, utilities of the chosen actions.
      best: [*B, N] float32, the maximum utility over each agent's legal actions.
      action: [*B, N] int, the chosen actions.
      state: [*B, G] float32; G may be 0.
      obs: [*B, N, D] float32; read by Qatten's transformation only.
      values: [*B, M] float32.
      penalty: [] float32, to be added to the loss; 0 for mixers without one.

    `outputs` is M: 1 for a team value, N for one per agent.
    """

    init: Callable[[jax.Array], Params]
    """`key -> params`. Consumes the key."""
    mix: Callable[..., tuple[jax.Array, jax.Array]]
    """`(params, chosen, best, action, state, obs) -> (values [*B, M], penalty [])`."""
    outputs: int
    """M."""


def independent_mixer(n_agents: int) -> Mixer:
    """Each agent's own utility (IQL, Tan 1993).

    Raises:
      ValueError: fewer than 1 agent.
    """
    check_sizes("iql", n_agents=n_agents)

    def mix(
        params: Params, chosen: jax.Array, best: jax.Array, action: jax.Array, state: jax.Array, obs: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        check_shape("iql", "chosen", chosen.shape, (*chosen.shape[:-1], n_agents))
        return chosen, jnp.zeros((), jnp.float32)

    return Mixer(lambda key: {}, mix, n_agents)


def sum_mixer() -> Mixer:
    """The sum of the utilities (VDN, Sunehag et al. 2018). Has no parameters."""

    def mix(
        params: Params, chosen: jax.Array, best: jax.Array, action: jax.Array, state: jax.Array, obs: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        return jnp.sum(chosen, axis=-1, keepdims=True), jnp.zeros((), jnp.float32)

    return Mixer(lambda key: {}, mix, 1)


def _mixer(owner: str, module: nn.Module, n_agents: int, state_size: int, obs_size: int = 0) -> Mixer:
    """The team mixer computed by `module`; its shapes are checked while tracing."""

    def init(key: jax.Array) -> Params:
        agents = jnp.zeros((1, n_agents), jnp.float32)
        obs = jnp.zeros((1, n_agents, obs_size), jnp.float32)
        return module.init(key, agents, agents, agents.astype(jnp.int32), jnp.zeros((1, state_size), jnp.float32), obs)

    def mix(
        params: Params, chosen: jax.Array, best: jax.Array, action: jax.Array, state: jax.Array, obs: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        batch = chosen.shape[:-1]
        for name, array in (("chosen", chosen), ("best", best), ("action", action)):
            check_shape(owner, name, array.shape, (*batch, n_agents))
        check_shape(owner, "state", state.shape, (*batch, state_size))
        if obs_size:
            check_shape(owner, "obs", obs.shape, (*batch, n_agents, obs_size))
        mixed: Any = module.apply(params, chosen, best, action, state, obs)
        return mixed

    return Mixer(init, mix, 1)


class _Monotonic(nn.Module):
    embed: int
    hyper_hidden: int

    @nn.compact
    def __call__(
        self, chosen: jax.Array, best: jax.Array, action: jax.Array, state: jax.Array, obs: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        n_agents = chosen.shape[-1]
        w1 = jnp.abs(TorchMLP((self.hyper_hidden, n_agents * self.embed), name="w1")(state))
        b1 = torch_dense(state, self.embed, name="b1")
        w2 = jnp.abs(TorchMLP((self.hyper_hidden, self.embed), name="w2")(state))
        v = TorchMLP((self.embed, 1), name="v")(state)
        # Sums, not matrix products, which accelerators round to fewer bits: different utilities must stay different.
        weighted = chosen[..., None] * w1.reshape(*state.shape[:-1], n_agents, self.embed)
        h = nn.elu(jnp.sum(weighted, axis=-2) + b1)
        return jnp.sum(h * w2, axis=-1, keepdims=True) + v, jnp.zeros((), jnp.float32)


def monotonic_mixer(n_agents: int, state_size: int, *, embed: int = 32, hyper_hidden: int = 64) -> Mixer:
    """A network that is monotone in every utility, with weights computed from the state (QMIX, Rashid et al. 2018,
    section 4).

    h = ELU(q |W1(s)| + b1(s)) and Q = h |w2(s)| + v(s). W1 and w2 are computed by networks with one hidden layer, as
    in the authors' later code; in the paper these are linear.

    Args:
      n_agents: N, at least 2.
      state_size: G; with 0 the weights are free parameters.
      embed: size of h, and width of the hidden layer of v.
      hyper_hidden: width of the hidden layer of the networks for W1 and w2.

    Raises:
      ValueError: an invalid size or, when traced, an invalid shape.
    """
    check_team("qmix", n_agents)
    check_sizes("qmix", 0, state_size=state_size)
    check_sizes("qmix", embed=embed, hyper_hidden=hyper_hidden)
    return _mixer("qmix", _Monotonic(embed, hyper_hidden), n_agents, state_size)


def _heads(num: int, widths: tuple[int, ...], name: str, last_bias: bool = True) -> nn.Module:
    """`num` separate networks with the same input: [..., D] -> [K, ..., widths[-1]]; parameters have a leading [K]."""
    many = nn.vmap(
        TorchMLP, in_axes=None, out_axes=0, axis_size=num, variable_axes={"params": 0}, split_rngs={"params": True}
    )
    return many(widths, last_bias, name=name)


class _Duplex(nn.Module):
    num_actions: int
    heads: int
    hyper_hidden: int
    depth: int
    attention: bool
    stop_gradient: bool

    @nn.compact
    def __call__(
        self, chosen: jax.Array, best: jax.Array, action: jax.Array, state: jax.Array, obs: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        if self.attention:
            weight, bias, penalty = self.attend(state, obs)
        else:
            n_agents = chosen.shape[-1]
            weight = jnp.abs(TorchMLP((self.hyper_hidden, n_agents), name="weight")(state)) + _POSITIVE
            bias = TorchMLP((self.hyper_hidden, n_agents), name="bias")(state)
            penalty = jnp.zeros((), jnp.float32)
        # The bias cancels. Without it nothing is rounded, and the advantage of a best action is exactly zero.
        advantage = weight * (chosen - best)
        if self.stop_gradient:
            advantage = jax.lax.stop_gradient(advantage)
        values = weight * chosen + bias + (self.importance(state, action) - 1.0) * advantage
        return jnp.sum(values, axis=-1, keepdims=True), penalty

    def attend(self, state: jax.Array, obs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Qatten's weights [*B, N] and biases [*B, N], and the penalty []."""
        n_agents = obs.shape[-2]
        query = _heads(_ATTENTION_HEADS, (self.hyper_hidden, _ATTENTION_EMBED), "query", last_bias=False)(state)
        unit = _heads(_ATTENTION_HEADS, (_ATTENTION_EMBED,), "unit", last_bias=False)(obs)
        logits = jnp.sum(query[..., None, :] * unit, axis=-1)
        weight = jnp.sum(nn.softmax(logits * _ATTENTION_EMBED**-0.5, axis=-1), axis=0) + _POSITIVE
        v = TorchMLP((_ATTENTION_EMBED, 1), name="v")(state)
        bias = jnp.broadcast_to(v / n_agents, weight.shape)
        penalty = _ATTENTION_PENALTY * jnp.sum(jnp.mean(logits**2, axis=tuple(range(1, logits.ndim))))
        return weight, bias, penalty

    def importance(self, state: jax.Array, action: jax.Array) -> jax.Array:
        """Weights lambda [*B, N] > 0 of the advantages: sum over heads of key(s) agent_i(s) act_i(s, a)."""
        n_agents = action.shape[-1]
        joint = jax.nn.one_hot(action, self.num_actions, dtype=jnp.float32)
        joint = joint.reshape(*state.shape[:-1], n_agents * self.num_actions)
        between = (self.hyper_hidden,) * (self.depth - 1)
        key = jnp.abs(_heads(self.heads, (*between, 1), "key")(state)) + _POSITIVE
        agent = nn.sigmoid(_heads(self.heads, (*between, n_agents), "agent")(state))
        act = nn.sigmoid(_heads(self.heads, (*between, n_agents), "act")(jnp.concatenate([state, joint], axis=-1)))
        return jnp.sum(key * agent * act, axis=0)


def duplex_mixer(
    n_agents: int,
    num_actions: int,
    state_size: int,
    obs_size: int = 0,
    *,
    heads: int = 10,
    hyper_hidden: int = 64,
    depth: int = 3,
    transformation: Literal["weighted-head", "qatten"] = "weighted-head",
    stop_gradient: bool = True,
) -> Mixer:
    """A duplex dueling network, which can represent any team value whose greedy actions are the agents' own (QPLEX).

    Wang et al. 2021, section 3.2: utilities and their maxima are transformed alike, q_i <- w_i q_i + b_i with w_i > 0,
    and Q = sum_i q_i + (lambda_i(s, a) - 1) A_i with A_i = q_i - max q_i <= 0. This is sum_i V_i + lambda_i A_i,
    written so that utilities still learn through q_i where the gradient of A_i is stopped.

    Deviations: the transformation uses the state and not the agents' histories, as in the authors' code. Qatten's
    units (Yang et al. 2020) are described by the agents' observations, while the authors extract them from the global
    state; its penalty is a mean over the whole batch including padding, like theirs.

    Args:
      n_agents: N, at least 2.
      num_actions: A.
      state_size: G, may be 0.
      obs_size: D; needed by "qatten".
      heads: K, terms of lambda.
      hyper_hidden: width of all hidden layers, except for that of Qatten's v(s), which has 32.
      depth: layers of lambda's networks; 1 for linear ones.
      transformation: "weighted-head", w = |network(s)| and b = network(s); or "qatten", w a sum of 4 attention heads,
        b = v(s)/N.
      stop_gradient: stop the gradient of A_i for stability, as in the authors' code; lambda learns in either case.

    Raises:
      ValueError: an invalid size or transformation or, when traced, an invalid shape.
    """
    check_team("qplex", n_agents)
    check_sizes("qplex", num_actions=num_actions, heads=heads, hyper_hidden=hyper_hidden, depth=depth)
    check_sizes("qplex", 0, state_size=state_size, obs_size=obs_size)
    if transformation not in ("weighted-head", "qatten"):
        raise ValueError(f"qplex: transformation must be 'weighted-head' or 'qatten', got {transformation!r}")
    attention = transformation == "qatten"
    if attention and not obs_size:
        raise ValueError("qplex: transformation 'qatten' attends to observations: obs_size must be at least 1, got 0")
    module = _Duplex(num_actions, heads, hyper_hidden, depth, attention, stop_gradient)
    return _mixer("qplex", module, n_agents, state_size, obs_size if attention else 0)


class _Central(nn.Module):
    hidden: int

    @nn.compact
    def __call__(
        self, chosen: jax.Array, best: jax.Array, action: jax.Array, state: jax.Array, obs: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        mixed = TorchMLP((self.hidden,) * 3 + (1,), name="mix")(jnp.concatenate([state, chosen], axis=-1))
        return mixed + TorchMLP((self.hidden, 1), name="v")(state), jnp.zeros((), jnp.float32)


def central_mixer(n_agents: int, state_size: int, *, hidden: int = 256) -> Mixer:
    """An unrestricted network of state and utilities: Q-hat of CW- and OW-QMIX (Rashid et al. 2020).

    Q = network(s, q) + V(s), with three hidden layers and one. The penalty is 0.

    Args:
      n_agents: N, at least 2.
      state_size: G, may be 0.
      hidden: width of all hidden layers.

    Raises:
      ValueError: an invalid size or, when traced, an invalid shape.
    """
    check_team("the central mixer", n_agents)
    check_sizes("the central mixer", 0, state_size=state_size)
    check_sizes("the central mixer", hidden=hidden)
    return _mixer("the central mixer", _Central(hidden), n_agents, state_size)
