"""Drift and gains of models whose answers are known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxmarl_envs import EnvSpec

from jaxmarl_suite.worldmodels import (
    Normalizer,
    StateModel,
    WorldModel,
    WorldParams,
    action_gains,
    exact_observations,
    make_outcome_model,
    open_loop,
)

SPEC = EnvSpec(id="own", n_agents=2, obs_shape=(3,), action_dim=1, state_size=3)
EFFECT = np.array([[1.0, 0.5, 0.0], [0.0, -2.0, 0.0]], np.float32)  # [N, G]; the last entry never varies
NORMALIZER = Normalizer(jnp.float32(2), jnp.array([0.0, 1.0, 7.0]), jnp.array([2.0, 8.0, 0.0]))


def task(states: jax.Array, action: jax.Array, part: Any = (1.0, 1.0)) -> jax.Array:
    """Next states [*, G] of the task: half of the state, and the actions [*, N, 1] with their effects."""
    moved = states * jnp.array([0.5, 0.5, 1.0])[(None,) * (states.ndim - 1)]
    return moved + jnp.einsum("...nd,ng->...g", action, jnp.asarray(part)[:, None] * EFFECT)


def model_with(part: Any, drift: float = 0.0) -> tuple[WorldModel, WorldParams]:
    """A model that knows parts of the effects only, and is wrong by `drift` in every step."""

    def predict(params: Any, key: jax.Array, states: jax.Array, actions: jax.Array) -> jax.Array:
        raw = NORMALIZER.denormalize(states[..., -1, :])
        found = task(raw, actions[..., -1, :, :], part) + drift * jax.random.normal(key, raw.shape)
        return NORMALIZER.normalize(found)

    states = StateModel(2, 1, lambda key: (), lambda *_: (jnp.zeros(()), {}), predict)
    observed = exact_observations(lambda state: jnp.broadcast_to(state, (2, 3)))
    model = WorldModel(SPEC, states, make_outcome_model(3, 2, 1), observed)
    return model, WorldParams((), (), ((), ()), NORMALIZER)


def played(number: int, steps: int) -> tuple[jax.Array, jax.Array]:
    """True states [M, steps + 1, G] and actions [M, steps, N, 1]."""
    rng = np.random.default_rng(0)
    actions = jnp.asarray(rng.uniform(-0.5, 0.5, (number, steps, 2, 1)), jnp.float32)
    states = [jnp.asarray(rng.normal(size=(number, 3)), jnp.float32).at[:, 2].set(7.0)]
    for t in range(steps):
        states.append(task(states[-1], actions[:, t]))
    return jnp.stack(states, axis=1), actions


def test_a_perfect_model_does_not_drift() -> None:
    states, actions = played(4, 6)
    model, params = model_with((1.0, 1.0))
    drift = jax.jit(lambda: open_loop(model, params, jax.random.key(0), states, actions))()
    np.testing.assert_allclose(drift.predicted, states[:, 2:], atol=1e-5)
    assert float(drift.error.max()) < 1e-5


def test_errors_are_in_standard_deviations_and_grow() -> None:
    states, actions = played(2000, 6)
    model, params = model_with((1.0, 1.0), drift=0.1)
    error = np.asarray(jax.jit(lambda: open_loop(model, params, jax.random.key(0), states, actions).error)())
    expected = np.sqrt(2 / np.pi) * 0.1 * np.sqrt(np.cumsum(0.25 ** np.arange(5)))  # of a sum of halved errors
    np.testing.assert_allclose(error[..., 0].mean(0), expected / 1.0, rtol=0.06)
    np.testing.assert_allclose(error[..., 1].mean(0), expected / 2.0, rtol=0.06)
    assert not error[..., 2].any()


def test_gains_are_the_parts_of_the_effects_that_the_model_knows() -> None:
    states, actions = played(8, 2)
    model, params = model_with((0.25, 0.75), drift=0.1)  # the noise is the same on both sides
    last = {"states": states[:, 1:], "past": actions[:, 1:], "action": jnp.zeros((8, 2, 1))}

    def simulate(action: jax.Array) -> jax.Array:
        return task(states[:, -1], action)

    found = jax.jit(lambda: action_gains(model, params, jax.random.key(0), **last, simulate=simulate))()
    np.testing.assert_allclose(found, [0.25, 0.75], atol=1e-3)


def test_what_cannot_work_is_rejected() -> None:
    model, params = model_with((1.0, 1.0))
    states, actions = played(2, 1)
    with pytest.raises(ValueError, match="needs more than the 2 states of the model's history, got 2"):
        open_loop(model, params, jax.random.key(0), states, actions)
