"""A world model is an environment: the conformance check, rollouts, other algorithms, and what it does at ends."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import EnvSpec, VectorEnv, check_environment
from jaxmarl_envs.core import observation_function
from team_data import TINY

from jaxmarl_suite.worldmodels import (
    ModelEnvironment,
    ModelParams,
    OutcomeSizes,
    Starts,
    encode_actions,
    make_world_model,
)

OUTCOMES = OutcomeSizes(layers=1, agent_layers=1, heads=2, agent_heads=2, width=8)
SMALL: dict[str, Any] = {
    "horizon": 4,
    "history": 2,
    "denoiser": TINY,
    "outcomes": OUTCOMES,
    "hidden": (8,),
    "members": 2,
    "token_width": 8,
    "token_layers": 1,
}


@functools.cache
def task() -> Any:
    """Two agents that steer a linear system."""
    return jaxmarl_envs.make("toy/linear-team", n_agents=2, state_size=3)


def model_of(env: Any, *, samples_ends: bool = True, learned: bool = False, **options: Any) -> ModelEnvironment:
    """An untrained model of `env` whose episodes start at random states."""
    observe = None if learned else observation_function(env)
    model = make_world_model(env.spec, observe=observe, **{**SMALL, **options})
    keys = jax.random.split(jax.random.key(0), 2)
    size = model.spec.num_actions or model.spec.action_dim
    history = model.states.history
    starts = Starts(
        state=jax.random.normal(keys[0], (5, history, env.spec.state_size), jnp.float32),
        action=jnp.zeros((5, history - 1, env.spec.n_agents, size)),
        is_known=jnp.ones((5, history), bool).at[0, 0].set(False),
    )
    params = ModelParams(jax.jit(model.init)(keys[1]), starts)
    return ModelEnvironment(model, model.outcomes.length, params, samples_ends)


# The ensemble conforms in `test_discrete_actions` as well.
@pytest.mark.parametrize(
    "kind", ["diffusion", *(pytest.param(k, marks=pytest.mark.slow) for k in ("ensemble", "tokens"))]
)
def test_it_conforms(kind: str) -> None:
    report = check_environment(model_of(task(), kind=kind, learned=kind == "ensemble"), num_steps=10)
    assert report.num_episodes > 0


def test_discrete_actions() -> None:
    env = jaxmarl_envs.make("toy/chain", length=3, n_agents=2)
    report = check_environment(model_of(env, kind="ensemble", learned=True), num_steps=10)
    assert report.num_episodes > 0
    encoded = encode_actions(env.spec, jnp.array([1, 0]))
    np.testing.assert_array_equal(encoded, np.eye(env.spec.num_actions)[[1, 0]])


def test_actions_are_seen_as_the_task_sees_them() -> None:
    spec = EnvSpec(
        id="own", n_agents=2, obs_shape=(1,), action_dim=2, action_bounds=(-1.0, 3.0), agent_action_sizes=(2, 1)
    )
    action = jnp.array([[9.0, jnp.nan], [1.0, 3.0]])
    np.testing.assert_allclose(encode_actions(spec, action), [[1.0, 0.0], [0.0, 0.0]])


def test_episodes_start_in_stored_histories_and_end_at_the_horizon() -> None:
    env = model_of(task(), kind="ensemble", samples_ends=False)
    games = VectorEnv(env, 8)

    def play(key: jax.Array) -> Any:
        state = games.reset(key, env.default_params)

        def step(state: Any, key: jax.Array) -> Any:
            following = games.step(key, state, jnp.zeros((8, 2, 1)), env.default_params)
            return following, (state.timestep.obs, following.timestep)

        return state, jax.lax.scan(step, state, jax.random.split(key, 9))[1]

    first, (shown, after) = jax.jit(play)(jax.random.key(3))
    possible = np.asarray(env.default_params.starts.state[:, -1])
    apart = np.abs(np.asarray(first.timestep.state)[:, None] - possible[None]).max(-1)
    assert (apart.min(1) < 1e-5).all()
    assert np.asarray(after.truncated).all(1).tolist() == [False, False, False, True] * 2 + [False]
    assert not np.asarray(after.terminated).any()
    apart = np.abs(np.asarray(shown)[4, :, 0][:, None] - possible[None]).max(-1)
    assert (apart.min(1) < 1e-5).all()  # and again, from another start
    # Observations are exactly those that the task shows in the state.
    np.testing.assert_allclose(after.final_obs, jnp.repeat(after.final_state[:, :, None], 2, 2), atol=1e-6)


def test_a_finished_episode_stands_still() -> None:
    env = model_of(task(), kind="ensemble")
    params = env.default_params
    state, _ = env.reset(jax.random.key(0), params)
    over = dataclasses.replace(state, terminated=jnp.array(True))
    following, timestep = jax.jit(env.step)(jax.random.key(1), over, jnp.ones((2, 1)), params)
    assert bool(timestep.terminated) and not np.asarray(timestep.reward).any()
    np.testing.assert_array_equal(following.states, over.states)


@pytest.mark.parametrize("name", ["toy/linear-team", "toy/puck", "toy/handover", "toy/pendulum"])
def test_declared_observations_are_those_of_the_task(name: str) -> None:
    env = jaxmarl_envs.make(name)
    observe = observation_function(env)
    assert observe is not None
    key = jax.random.key(0)
    state, timestep = jax.jit(env.reset)(key, env.default_params)
    np.testing.assert_array_equal(observe(timestep.state), timestep.obs)
    action = jax.random.uniform(key, (env.spec.n_agents, env.spec.action_dim), jnp.float32, -1.0)
    _, timestep = jax.jit(env.step)(key, state, action, env.default_params)
    np.testing.assert_array_equal(observe(timestep.state), timestep.obs)
    assert observation_function(jaxmarl_envs.AgentId(env)) is None


def test_what_cannot_work_is_rejected() -> None:
    spec = task().spec
    with pytest.raises(ValueError, match=r"predicts the global state, but 'own' has none \(state_size 0\)"):
        make_world_model(EnvSpec(id="own", n_agents=1, obs_shape=(1,), num_actions=2))
    with pytest.raises(ValueError, match="horizon must be at least 1 step, got 0"):
        make_world_model(spec, horizon=0)
    with pytest.raises(ValueError, match="kind of world model must be one of 'diffusion', 'ensemble', 'tokens', got"):
        make_world_model(spec, kind="mlp")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"history must not be longer than an episode .* \(2 steps\), got 3"):
        make_world_model(spec.replace(episode_limit=2), history=3)
    env = model_of(task(), kind="ensemble")
    with pytest.raises(ValueError, match="must lie between 1 and 4, the length"):
        dataclasses.replace(env, horizon=5)
