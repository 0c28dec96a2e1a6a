"""Attention over agents and over time: what sees what, caches as memories, and that they are `Network`s like any other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmarl_suite.networks import (
    Network,
    attention_over_agents,
    attention_over_time,
    computed_in,
    make_network,
    per_agent,
)
from jaxmarl_suite.networks._attention import _Block

L, E, N, D, X, OUT, W, K = 7, 2, 3, 4, 2, 5, 8, 3


def random_params(network, seed=0):
    """Parameters of the right shapes, all of them random, biases too."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) * 0.5, jnp.float32), shapes)


def normal(*shape, seed=1):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def starts(seed=2):
    return jnp.asarray(np.random.default_rng(seed).random((L, E)) < 0.3).at[0].set(False).at[3, 0].set(True)


def prefixes(actions):
    """What `sequential_view` shows besides the context: the one-hot of k and the actions of 1..k-1, others zero."""
    visible = jnp.tril(jnp.ones((N, N), jnp.float32), -1)[None, None, :, :, None] * actions[:, :, None]
    index = jnp.broadcast_to(jnp.eye(N, dtype=jnp.float32), (*actions.shape[:2], N, N))
    return jnp.concatenate([index, visible.reshape(*actions.shape[:3], N * X)], axis=-1)


def over_agents(memory_size=4):
    return attention_over_agents(D, OUT, N, action_size=X, width=W, heads=2, memory_size=memory_size, encoder=(6,))


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


@pytest.mark.parametrize("rows", [1, N])
def test_agents_see_their_predecessors_and_nobody_after_them(rows):
    network = over_agents()
    params, unroll = random_params(network), jax.jit(network.unroll)
    x, actions, start = normal(L, E, rows, D), normal(L, E, N, X, seed=3), starts()
    carry = network.initial_carry((E, rows))
    y, carries = unroll(params, carry, x, prefixes(actions), start)
    assert y.shape == (L, E, N, OUT) and carries.shape == (L, E, rows, 4)
    for j in range(N):
        other, same = unroll(params, carry, x, prefixes(actions.at[:, :, j].add(1.0)), start)
        moved = np.abs(other - y).max((0, 1, 3))
        assert (moved[: j + 1] == 0).all() and (moved[j + 1 :] > 1e-3).all()
        assert_close(same, carries)  # the memory is over time, and knows no actions
        if rows == N:
            other, _ = unroll(params, carry, x.at[:, :, j].add(1.0), prefixes(actions), start)
            moved = np.abs(other - y).max((0, 1, 3))
            assert (moved[:j] == 0).all() and (moved[j:] > 1e-3).all()


def attended(params, own, actions):
    """Attention over agents in NumPy, of what agents remember [N, M + N] and do [N, X]: what each agent sees, [N, W]."""
    p = jax.tree.map(np.asarray, params["attention"]["params"])

    def dense(name, v):
        return v @ p[name]["kernel"] + p[name]["bias"]

    def normalized(v):
        apart = v - v.mean(-1, keepdims=True)
        return (
            apart / np.sqrt((apart**2).mean(-1, keepdims=True) + 1e-6) * p["LayerNorm_0"]["scale"]
            + (p["LayerNorm_0"]["bias"])
        )

    token = np.tanh(dense("agent", own))
    acting = token + dense("action", actions)
    found = np.zeros_like(token)
    for k in range(N):
        keys = normalized(np.concatenate([acting[:k], token[k : k + 1]]))
        for head in (slice(0, W // 2), slice(W // 2, W)):
            match = dense("key", keys)[:, head] @ dense("query", token[k])[head] / np.sqrt(W // 2)
            weight = np.exp(match - match.max())
            found[k, head] = weight / weight.sum() @ dense("value", keys)[:, head]
    return token, found


def test_attention_over_agents_is_its_formula():
    """Compared before the block, whose own layers are flax's."""
    network = over_agents(memory_size=0)
    network_params = random_params(network)
    x, actions = normal(1, 1, N, D), normal(1, 1, N, X, seed=3)
    encoder = jax.tree.map(np.asarray, network_params["encoder"]["params"]["Dense_0"])
    remembered = np.maximum(np.asarray(x[0, 0]) @ encoder["kernel"] + encoder["bias"], 0)
    own = np.concatenate([remembered, np.eye(N, dtype=np.float32)], axis=-1)
    token, seen = attended(network_params, own, np.asarray(actions[0, 0]))
    block = {"params": network_params["attention"]["params"]["block"]}
    expected = _Block(W, OUT, 1.0).apply(block, jnp.asarray(token), jnp.asarray(seen))
    y, _ = network.unroll(network_params, network.initial_carry((1, N)), x, prefixes(actions), jnp.zeros((1, 1), bool))
    assert_close(y[0, 0], expected)


@pytest.fixture(scope="module", params=["shared", "separate"])
def over_time(request):
    network = attention_over_time(D, OUT, window=K, extra_size=X, width=W, heads=2)
    if request.param == "separate":
        network = per_agent(network, N)
    return network, random_params(network), jax.jit(network.unroll)


def test_unroll_is_a_loop_of_steps_and_of_chunks(over_time):
    network, params, unroll = over_time
    x, extra, start = normal(L, E, N, D), normal(L, E, N, X, seed=3), starts()
    first = network.initial_carry((E, N))
    y, carries = unroll(params, first, x, extra, start)
    assert y.shape == (L, E, N, OUT) and carries.keys.shape == (L, E, N, K, W)
    step, carry = jax.jit(Network.step, static_argnums=0), first
    for t in range(L):
        y_t, carry = step(network, params, carry, x[t], extra[t], start[t])
        assert_close((y_t, carry), (y[t], jax.tree.map(lambda c, t=t: c[t], carries)))
    middle = jax.tree.map(lambda c: c[3], carries)
    assert_close(unroll(params, middle, x[4:], extra[4:], start[4:]), (y[4:], jax.tree.map(lambda c: c[4:], carries)))


def test_a_step_sees_the_window_of_its_own_episode(over_time):
    network, params, unroll = over_time
    x, extra, start = normal(L, E, N, D), normal(L, E, N, X, seed=3), jnp.zeros((L, E), bool).at[5, 0].set(True)
    first = network.initial_carry((E, N))
    y, carries = unroll(params, first, x, extra, start)
    other, _ = unroll(params, first, x.at[4].add(1.0), extra, start)
    moved = np.abs(other - y).max((2, 3)) > 1e-4  # [L, E]
    np.testing.assert_array_equal(moved[:, 1], [False] * 4 + [True] * 3)  # steps 4, 5, 6: a window of three
    np.testing.assert_array_equal(moved[:, 0], [False] * 4 + [True] + [False] * 2)  # a new episode begins at 5
    np.testing.assert_array_equal(carries.is_known[:, 0, 0].sum(-1), [1, 2, 3, 3, 3, 1, 2])
    assert not np.asarray(carries.keys[5, 0, :, :-1]).any()
    # With the first steps out of the window, nothing of them is left: order and age show, the place in the episode does not.
    late, _ = unroll(
        params, first, jnp.concatenate([x[2:], x[:2]]), jnp.concatenate([extra[2:], extra[:2]]), start[::-1] & False
    )
    assert_close(late[2:5, 1], y[4:7, 1])


def test_how_many_steps_are_known_shows_even_if_they_are_equal(over_time):
    """Up to the window, and from the start of the episode: agents that see the same in every step can wait."""
    network, params, unroll = over_time
    x, extra = (jnp.repeat(normal(1, E, N, size), L, axis=0) for size in (D, X))
    start = jnp.zeros((L, E), bool).at[5, 0].set(True)
    y, _ = unroll(params, network.initial_carry((E, N)), x, extra, start)
    for t, known in enumerate([1, 2, 3, 3, 3, 1, 2]):
        assert_close(y[t, 0], y[known - 1, 0])
    for earlier, later in ((0, 1), (1, 2)):
        assert np.abs(y[earlier] - y[later]).max() > 1e-3


@pytest.mark.parametrize("kind", ["feed-forward", "gru", "over agents", "over time"])
def test_in_bfloat16_all_but_the_products_is_float32(kind):
    network = {
        "feed-forward": make_network(D, OUT, hidden=(W,)),
        "gru": make_network(D, OUT, hidden=(W,), memory_size=W, encoder=(W,), layer_norm=True),
        "over agents": over_agents(),
        "over time": attention_over_time(D, OUT, window=K, extra_size=N * (1 + X), width=W, heads=2),
    }[kind]
    if kind in ("feed-forward", "gru"):
        extra = jnp.zeros((L, E, N, 0))
    else:
        extra = prefixes(normal(L, E, N, X, seed=3))
    x, start, low = normal(L, E, N, D), starts(), computed_in(network, "bfloat16")
    params, carry = low.init(jax.random.key(0)), low.initial_carry((E, N))

    def loss(params, unroll):
        y, carries = unroll(params, carry, x, extra, start)
        return jnp.square(y).mean(), (y, carries)

    found = {n: jax.jit(jax.grad(lambda p, n=n: loss(p, n.unroll), has_aux=True))(params) for n in (network, low)}
    jax.tree.map(lambda a, b: np.testing.assert_equal(a.dtype, b.dtype), *found.values())
    for a, b in zip(*map(jax.tree.leaves, found.values()), strict=True):
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        assert np.abs(a - b).max(initial=0) < 0.05 * np.abs(a).max(initial=0.1)
    (_, (y, _)), (_, (low_y, _)) = found.values()
    assert np.abs(y - low_y).max() > 1e-5  # it did compute in another precision


def test_what_cannot_work_is_refused():
    with pytest.raises(ValueError, match="heads must divide the width 8, got 3"):
        attention_over_time(D, OUT, window=K, width=8, heads=3)
    with pytest.raises(ValueError, match="window must be a whole number of at least 1, got 0"):
        attention_over_time(D, OUT, window=0)
    with pytest.raises(ValueError, match="serves all agents at once"):
        per_agent(over_agents(), N)
    with pytest.raises(ValueError, match="compute_dtype must be 'float32' or 'bfloat16', got 'float16'"):
        computed_in(over_agents(), "float16")
    network = over_agents(0)
    with pytest.raises(ValueError, match="needs inputs of 1 or 3 rows"):
        jax.eval_shape(
            network.unroll,
            jax.eval_shape(network.init, jax.random.key(0)),
            network.initial_carry((E, 2)),
            normal(L, E, 2, D),
            normal(L, E, 2, N * (1 + X)),
            starts(),
        )
