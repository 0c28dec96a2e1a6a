"""The study's numbers: data of a linear team under two behaviors, models that are trained on it, and their errors."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import optax
from jaxmarl_envs import VectorEnv, seed_key
from jaxmarl_envs.toy import LinearTeam

from jaxmarl_suite.worldmodels import Normalizer, Segments, StateModel, make_world_model

N_AGENTS = 3
INTERACTION, NOISE, ACTION_NOISE = 1.0, 0.1, 0.05
"""Weight of products of two agents' actions, standard deviation of the task's noise, and of actions around a policy."""
BEHAVIORS = ("independent", "policy")
MODELS = ("single", "cumulative", "joint", "ensemble")
EPISODES, HISTORY = 512, 3

Behavior = Literal["independent", "policy"]


@dataclasses.dataclass(frozen=True)
class Errors:
    """Root mean squared error of one step's samples and of their mean, in standard deviations of the states."""

    sample: float
    mean: float
    floor: float
    """Of a perfect mean: the task's noise."""


def team() -> LinearTeam:
    """Three agents whose actions' products matter."""
    env: Any = jaxmarl_envs.make("toy/linear-team", n_agents=N_AGENTS, interaction=INTERACTION, noise=NOISE)
    return env


def play(key: jax.Array, behavior: Behavior, episodes: int = EPISODES) -> tuple[jax.Array, jax.Array]:
    """`(states [E, T + 1, G], actions [E, T, N, 1])` of whole episodes.

    "independent": uniform actions. "policy": tanh of a fixed random linear function of the state for each agent, plus a
    little noise. Consumes `key`.
    """
    env = team()
    games, params = VectorEnv(env, episodes), env.default_params
    reset_key, key = jax.random.split(key)
    size, limit = env.spec.state_size, env.spec.episode_limit
    assert limit is not None
    gains = jnp.asarray(2 * np.random.default_rng(0).standard_normal((N_AGENTS, size)) / size**0.5, jnp.float32)

    def step(state: Any, key: jax.Array) -> Any:
        act_key, step_key = jax.random.split(key)
        shown = state.timestep.state
        if behavior == "independent":
            action = jax.random.uniform(act_key, (episodes, N_AGENTS, 1), jnp.float32, -1.0)
        else:
            noise = ACTION_NOISE * jax.random.normal(act_key, (episodes, N_AGENTS, 1), jnp.float32)
            action = jnp.clip(jnp.tanh(shown @ gains.T)[..., None] + noise, -1.0, 1.0)
        following = games.step(step_key, state, action, params)
        return following, (shown, following.timestep.final_state, action)

    start = games.reset(reset_key, params)
    _, (before, after, actions) = jax.lax.scan(step, start, jax.random.split(key, limit))
    states = jnp.concatenate([before, after[-1:]])
    return jnp.swapaxes(states, 0, 1), jnp.swapaxes(actions, 0, 1)


def model_of(name: str) -> StateModel:
    """A model of the next state: the diffusion with `name` as what it reveals, or the ensemble."""
    how: Any = {"kind": "ensemble"} if name == "ensemble" else {"kind": "diffusion", "reveal": name}
    return make_world_model(team().spec, observe=lambda state: state, history=HISTORY, **how).states


def cut(key: jax.Array, states: jax.Array, actions: jax.Array, batch: int, length: int) -> Segments:
    """Random stretches of `length` steps of normalized `states` [E, T + 1, G] and `actions` [E, T, N, 1]."""
    episode_key, first_key = jax.random.split(key)
    episode = jax.random.randint(episode_key, (batch,), 0, states.shape[0], jnp.int32)
    first = jax.random.randint(first_key, (batch,), 0, actions.shape[1] - length + 1, jnp.int32)

    def one(x: jax.Array, first: jax.Array, number: int) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(x, first, number, axis=0)

    several = jax.vmap(lambda e, f: (one(states[e], f, length + 1), one(actions[e], f, length)))
    state, action = several(episode, first)
    alike = jnp.zeros((batch, length), jnp.int32)
    return Segments(state[:, :-1], state[:, 1:], action, alike, alike == 0)


def train(model: StateModel, states: jax.Array, actions: jax.Array, key: jax.Array, steps: int) -> Any:
    """Parameters after `steps` gradient steps of AdamW with a step size that falls to zero. States are normalized."""
    schedule = optax.cosine_decay_schedule(1e-3, steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.01))
    init_key, key = jax.random.split(key)
    params = jax.jit(model.init)(init_key)

    def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
        params, opt = carry
        cut_key, loss_key = jax.random.split(key)
        segments = cut(cut_key, states, actions, 64, HISTORY + model.windows - 1)
        grads = jax.grad(model.loss, has_aux=True)(params, loss_key, segments)[0]
        updates, opt = optimizer.update(grads, opt, params)
        return (optax.apply_updates(params, updates), opt), None

    @jax.jit
    def all_steps(params: Any, keys: jax.Array) -> Any:
        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[0][0]

    return all_steps(params, jax.random.split(key, steps))


def errors(behavior: Behavior, name: str, seed: int, *, steps: int, samples: int = 32) -> Errors:
    """Trains one model on data of `behavior` and tests it on fresh episodes of the same behavior."""
    model = model_of(name)
    data_key, test_key, fit_key, cut_key, draw_key = jax.random.split(seed_key(seed), 5)
    played = jax.jit(lambda key: play(key, behavior))
    (states, actions), (fresh, chosen) = played(data_key), played(test_key)
    normalizer = Normalizer.create(states.shape[-1]).update(states)
    params = train(model, normalizer.normalize(states), actions, fit_key, steps)
    tested = cut(cut_key, normalizer.normalize(fresh), chosen, 1024, HISTORY)

    @jax.jit
    def predicted(key: jax.Array) -> jax.Array:
        return model.predict(params, key, tested.state, tested.action)

    found = jnp.stack([predicted(key) for key in jax.random.split(draw_key, samples)])
    true = tested.after[:, -1]

    def root(x: jax.Array) -> float:
        return float(jnp.sqrt(jnp.mean(jnp.square(x))))

    floor = float(jnp.sqrt(jnp.mean(jnp.square(NOISE / normalizer.std))))
    return Errors(root(found - true[None]), root(found.mean(0) - true), floor)
