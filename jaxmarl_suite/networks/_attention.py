"""Networks with attention: over agents, to predecessors and their actions, and over time, with a cache as the memory.

Axes: L time, B batch axes (environments, then rows), N agents, D input, X entries of an embedded action, W width, K window.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxmarl_envs import pytree_dataclass

from jaxmarl_suite.networks._dense import check_sizes, layer_norm
from jaxmarl_suite.networks._linear import dense_product
from jaxmarl_suite.networks._network import Network, Params, make_memory

ORTHOGONAL = 2**0.5
"""Gain of layers inside."""


def _dense(width: int, scale: float = 1.0, name: str | None = None) -> nn.Dense:
    return nn.Dense(width, kernel_init=nn.initializers.orthogonal(scale), dot_general=dense_product, name=name)


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    visible: jax.Array,
    *,
    heads: int,
    bias: jax.Array | None = None,
) -> jax.Array:
    """[*B, Q, W]: for every query the mean of the values that it sees, weighted by how its key matches, in each head.

    Computed in float32 whatever the dtype of the arguments, which is that of the result.

    Args:
      query: [*B, Q, W].
      key: [*B, S, W].
      value: [*B, S, W].
      visible: bool, broadcast to [*B, Q, S]; every query must see something.
      heads: must divide W.
      bias: [heads, Q, S] added to the matches.
    """
    batch, (num, width) = query.shape[:-2], query.shape[-2:]
    mask = jnp.broadcast_to(visible, (*batch, num, key.shape[-2])).reshape(-1, 1, num, key.shape[-2])
    dtype = query.dtype
    query, key, value = (
        x.reshape(-1, x.shape[-2], heads, width // heads).astype(jnp.float32) for x in (query, key, value)
    )
    matches = jnp.einsum("bqhd,bshd->bhqs", query, key) * (width // heads) ** -0.5
    if bias is not None:
        matches = matches + bias[None].astype(jnp.float32)
    # Without quotients: the two in the derivative of `softmax` are joined in some programs only, and a lane of a sweep
    # would differ from the same seed alone.
    shares = jnp.exp(jax.nn.log_softmax(jnp.where(mask, matches, jnp.finfo(jnp.float32).min)))
    found = jnp.einsum("bhqs,bshd->bqhd", shares, value).astype(dtype)
    return found.reshape(*batch, num, width)


def check_heads(owner: str, width: int, heads: int) -> None:
    """Refuses heads that do not divide the width.

    Raises:
      ValueError: names owner and both.
    """
    check_sizes(owner, width=width, heads=heads)
    if width % heads:
        raise ValueError(f"{owner}: heads must divide the width {width}, got {heads}")


class _Block(nn.Module):
    """What follows attention in a transformer's layer: both of its sums, normalized, then the outputs."""

    width: int
    out_size: int
    out_scale: float

    @nn.compact
    def __call__(self, x: jax.Array, seen: jax.Array) -> jax.Array:
        x = layer_norm(x + _dense(self.width)(seen))
        x = layer_norm(x + _dense(self.width)(nn.relu(_dense(self.width, ORTHOGONAL)(x))))
        return _dense(self.out_size, self.out_scale)(x)


class _OverAgents(nn.Module):
    """Each agent attends to itself, and to its predecessors with what they do."""

    width: int
    heads: int
    out_size: int
    out_scale: float

    @nn.compact
    def __call__(self, own: jax.Array, actions: jax.Array) -> jax.Array:
        n = own.shape[-2]
        own = jnp.tanh(_dense(self.width, ORTHOGONAL, "agent")(own))  # [*, N, W]
        acting = own + _dense(self.width, ORTHOGONAL, "action")(actions)
        keys = layer_norm(jnp.concatenate([acting, own], axis=-2))  # [*, 2N, W]
        predecessors, itself = jnp.tril(jnp.ones((n, n), bool), -1), jnp.eye(n, dtype=bool)
        seen = attend(
            _dense(self.width, name="query")(own),
            _dense(self.width, name="key")(keys),
            _dense(self.width, name="value")(keys),
            jnp.concatenate([predecessors, itself], axis=-1).reshape((1,) * (own.ndim - 2) + (n, 2 * n)),
            heads=self.heads,
        )
        return _Block(self.width, self.out_size, self.out_scale, name="block")(own, seen)


def attention_over_agents(
    in_size: int,
    out_size: int,
    n_agents: int,
    *,
    action_size: int,
    width: int = 64,
    heads: int = 4,
    memory_size: int = 0,
    encoder: Sequence[int] = (),
    out_scale: float = 1.0,
) -> Network:
    """N outputs; the k-th sees agent k's memory, and its predecessors' memories and actions, but no later agent's.

    Inputs are those of `sequential_view`. `x` [L, *B, rows, D] has a row per agent, or one for all. `extra`
    [L, *B, N, N + N X] has for each k the one-hot of k and the embedded actions of all agents, where those from k on do not
    matter. `x` passes ReLU layers and a GRU over time (once an environment step), then one layer of attention, in which each
    agent attends to itself, and to predecessors with their actions. Parameters are the same for all agents.

    Args:
      in_size: D.
      out_size: entries of an output.
      n_agents: N.
      action_size: X.
      width: W, of everything after the memory.
      heads: of the attention; must divide `width`.
      memory_size: units of the GRU; 0 for none.
      encoder: widths of ReLU layers before the GRU.
      out_scale: gain of the last layer's orthogonal initialization.

    Raises:
      ValueError: for sizes that cannot work; when traced, for other rows than 1 or N.
    """
    owner = "attention over agents"
    check_heads(owner, width, heads)
    check_sizes(owner, n_agents=n_agents, action_size=action_size)
    memory = make_memory(in_size, memory_size=memory_size, encoder=encoder)
    layer = _OverAgents(width, heads, out_size, out_scale)

    def init(key: jax.Array) -> Params:
        key, *memory_keys = jax.random.split(key, 3 if encoder else 2)
        own = jnp.zeros((1, n_agents, memory.size + n_agents), jnp.float32)
        return {
            **memory.init(*memory_keys),
            "attention": layer.init(key, own, jnp.zeros((1, n_agents, action_size), jnp.float32)),
        }

    def unroll(
        params: Params, carry: jax.Array, x: jax.Array, extra: jax.Array, start: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        rows, expected = x.shape[-2], (n_agents, n_agents * (1 + action_size))
        if rows not in (1, n_agents) or extra.shape[-2:] != expected:
            raise ValueError(
                f"{owner} needs inputs of 1 or {n_agents} rows and extra inputs of {expected}, got {rows} rows and "
                f"{extra.shape[-2:]}; it cannot be given agents one by one"
            )
        remembered, carries = memory.unroll(params, carry, x, start)
        remembered = jnp.broadcast_to(remembered, (*extra.shape[:-1], remembered.shape[-1]))
        own = jnp.concatenate([remembered, extra[..., :n_agents]], axis=-1)
        # The last agent is shown all actions that anyone may see.
        actions = extra[..., -1, n_agents:].reshape(*extra.shape[:-1], action_size)
        y: Any = layer.apply(params["attention"], own, actions)
        return y, carries

    return Network(init, memory.initial_carry, unroll, joins_rows=True)


@pytree_dataclass
class KeyValueCache:
    """The last K steps, as attention over time reads them, oldest first."""

    keys: jax.Array  # [*B, K, W]
    values: jax.Array  # [*B, K, W]
    is_known: jax.Array  # [*B, K] bool, a step of this episode; all else is zero


class _OverTime(nn.Module):
    """Layers before a cache and after it."""

    width: int
    heads: int
    window: int
    out_size: int
    out_scale: float

    def setup(self) -> None:
        self.embed = _dense(self.width, ORTHOGONAL)
        self.query, self.key, self.value = (_dense(self.width) for _ in range(3))
        self.age = self.param("age", nn.initializers.zeros_init(), (self.heads, self.window + 1), jnp.float32)
        self.block = _Block(self.width, self.out_size, self.out_scale)

    def entries(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """A step's token, key and value, [*, W] each."""
        token = jnp.tanh(self.embed(x))
        return token, self.key(token), self.value(token)

    def outputs(self, token: jax.Array, cache: KeyValueCache, extra: jax.Array) -> jax.Array:
        """[*B', out] of tokens [*B, W], the caches [*B, ...] that end with them, and extra inputs [*B', X]."""
        # One more entry, always known, whose key and value are zero. A mean of known values alone is the same for one step
        # and for several equal ones; with it, how many there are shows, and agents can wait.
        nothing = jnp.zeros_like(cache.keys[..., :1, :])
        seen = attend(
            self.query(token)[..., None, :],
            jnp.concatenate([cache.keys, nothing], axis=-2),
            jnp.concatenate([cache.values, nothing], axis=-2),
            jnp.concatenate([cache.is_known, jnp.ones_like(cache.is_known[..., :1])], axis=-1)[..., None, :],
            heads=self.heads,
            bias=self.age[:, None],
        )[..., 0, :]
        both = jnp.concatenate([token, seen], axis=-1)
        both = jnp.broadcast_to(both, (*extra.shape[:-1], both.shape[-1]))
        token, seen = both[..., : self.width], both[..., self.width :]
        return self.block(token, jnp.concatenate([seen, extra], axis=-1))

    def __call__(self, x: jax.Array, extra: jax.Array) -> jax.Array:
        """Makes all parameters: one step without a past."""
        token, key, value = self.entries(x)
        keys, values = (jnp.repeat(a[..., None, :], self.window, -2) for a in (key, value))
        cache = KeyValueCache(keys=keys, values=values, is_known=jnp.ones(keys.shape[:-1], bool))
        return self.outputs(token, cache, extra)


def attention_over_time(
    in_size: int,
    out_size: int,
    *,
    window: int,
    extra_size: int = 0,
    width: int = 64,
    heads: int = 4,
    out_scale: float = 1.0,
) -> Network:
    """A network that attends to the last K steps of the episode, this one included: one layer of a transformer.

    The memory is a `KeyValueCache`, so that a step costs one step. How old an entry is shows in a learned bias per
    head, and how many there are in a further entry of zeros.

    Args:
      in_size: D.
      out_size: entries of the output.
      window: K.
      extra_size: X, of what joins after the attention.
      width: W.
      heads: of the attention; must divide `width`.
      out_scale: gain of the last layer's orthogonal initialization.

    Raises:
      ValueError: for sizes that cannot work.
    """
    owner = "attention over time"
    check_heads(owner, width, heads)
    check_sizes(owner, window=window)
    layer = _OverTime(width, heads, window, out_size, out_scale)

    def init(key: jax.Array) -> Params:
        params: Params = layer.init(key, *(jnp.zeros((1, size), jnp.float32) for size in (in_size, extra_size)))
        return params

    def initial_carry(shape: tuple[int, ...]) -> KeyValueCache:
        entries = jnp.zeros((*shape, window, width), jnp.float32)
        return KeyValueCache(entries, entries, jnp.zeros((*shape, window), bool))

    def unroll(
        params: Params, carry: KeyValueCache, x: jax.Array, extra: jax.Array, start: jax.Array
    ) -> tuple[jax.Array, KeyValueCache]:
        entries: Any = layer.apply(params, x, method=layer.entries)
        token, keys, values = entries
        caches = slide(carry, keys, values, start)
        y: Any = layer.apply(params, token, caches, extra, method=layer.outputs)
        return y, caches

    return Network(init, initial_carry, unroll)


def slide(cache: KeyValueCache, keys: jax.Array, values: jax.Array, start: jax.Array) -> KeyValueCache:
    """[L, *B, K, ...] the cache after each step, of the one before, new keys and values [L, *B, W], and start [L, *B']."""
    length, window, axis = keys.shape[0], cache.is_known.shape[-1], cache.is_known.ndim - 1
    where = 1 + jnp.arange(length)[:, None] + jnp.arange(window)[None]  # [L, K] in old entries, then new ones

    def windows(old: jax.Array, new: jax.Array) -> jax.Array:
        """[L, *B, K, ...] of old [*B, K, ...] and new [L, *B, ...]."""
        joined = jnp.concatenate([jnp.moveaxis(old, axis, 0), new])[where]  # [L, K, *B, ...]
        return jnp.moveaxis(joined, 1, axis + 1)

    episode = jnp.cumsum(start.astype(jnp.int32), axis=0)
    episode = jnp.broadcast_to(episode.reshape(start.shape + (1,) * (keys.ndim - 1 - start.ndim)), keys.shape[:-1])
    known = windows(cache.is_known, jnp.ones_like(episode, bool))
    known = known & (windows(jnp.zeros_like(cache.is_known, jnp.int32), episode) == episode[..., None])

    def entries(old: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.where(known[..., None], windows(old, new), jnp.zeros((), new.dtype))

    return KeyValueCache(keys=entries(cache.keys, keys), values=entries(cache.values, values), is_known=known)
