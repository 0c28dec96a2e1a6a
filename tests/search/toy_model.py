"""A deterministic model of two agents with three actions, once in JAX and once in plain Python."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_suite.search import Model, Prediction, Root

N, A, D = 2, 3, 4
_rng = np.random.default_rng(0)
MIX, ACT = _rng.normal(size=(D, D)), _rng.normal(size=(D, N * A))
LOGITS, VALUE, REWARD = _rng.normal(size=(N * A, D)), 2 * _rng.normal(size=D), _rng.normal(size=D)


def toy_model(discount=0.9, ends=False, legal=None):
    """States [B, D] move by tanh; with `ends`, where the first entry is above 0.6 the episode ends."""

    def read(state):
        def product(table):
            return state @ jnp.asarray(table.T, jnp.float32)

        return product(LOGITS).reshape(-1, N, A), product(VALUE[None])[:, 0], product(REWARD[None])[:, 0]

    def root(params, key, state):
        logits, value, _ = read(state)
        mask = jnp.ones(logits.shape, bool) if legal is None else jnp.broadcast_to(jnp.asarray(legal), logits.shape)
        return Root(logits, value, state, mask)

    def recurrent(params, key, actions, state):
        moves = jax.nn.one_hot(actions, A, dtype=jnp.float32).reshape(-1, N * A)
        state = jnp.tanh(state @ jnp.asarray(MIX.T, jnp.float32) + moves @ jnp.asarray(ACT.T, jnp.float32))
        logits, value, reward = read(state)
        gamma = jnp.where((state[:, 0] > 0.6) & ends, 0.0, discount)
        return Prediction(reward, gamma, logits, value), state

    return Model(N, A, root, recurrent)


def toy_step(state, actions, discount=0.9, ends=False):
    """What `recurrent` does to one state: `(reward, discount, value, state)`, Python floats."""
    moved = []
    for row in range(D):
        total = sum(MIX[row][i] * state[i] for i in range(D))
        total += sum(ACT[row][agent * A + action] for agent, action in enumerate(actions))
        moved.append(math.tanh(total))
    reward = sum(r * x for r, x in zip(REWARD, moved))
    gamma = 0.0 if ends and moved[0] > 0.6 else discount
    return reward, gamma, toy_value(moved), moved


def toy_value(state):
    """[] the model's value of one state."""
    return sum(v * x for v, x in zip(VALUE, state))


def toy_roots(batch, seed=1):
    """[batch, D] float32."""
    return jax.random.normal(jax.random.key(seed), (batch, D), jnp.float32)
