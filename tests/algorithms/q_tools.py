"""Small Q-learners, random batches and states for their tests."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
from toy_envs import Noisy

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms.q_learning._agents import Memory, Sequences, Steps

NAMES = ("iql", "vdn", "qmix", "qtran", "cw-qmix", "ow-qmix", "qplex")
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
SMALL = {
    "num_envs": 2,
    "rollout_length": 4,
    "capacity": 8,
    "batch_size": 2,
    "gradient_steps": 1,
    "learning_starts": 0,
    "recurrent": False,
    "width": 3,
    "embed": 3,
    "hyper_hidden": 3,
    "heads": 2,
    "depth": 2,
    "central_hidden": 3,
    "joint_hidden": 3,
}


def config_of(name, **changes):
    """A config with small networks, and `changes`."""
    config = algorithms.get(name).config
    fields = {f.name for f in dataclasses.fields(config)}
    return config(**{k: v for k, v in SMALL.items() if k in fields} | changes)


def algorithm_of(name, env=None, **changes):
    """`(algorithm, config)`."""
    config = config_of(name, **changes)
    (phase,) = algorithms.get(name).build(config, env or Noisy())
    return phase.algorithm, config


def parts_of(name, config, env):
    """`(team, method)`."""
    module = "weighted_qmix" if name in ("cw-qmix", "ow-qmix") else name
    parts = importlib.import_module(f"jaxmarl_suite.algorithms.q_learning.{module}").parts
    if module == "weighted_qmix":
        return parts(config, env, weighting="central" if name == "cw-qmix" else "optimistic")
    return parts(config, env)


def random_params(team, method, seed):
    """Parameters with nothing small or zero."""
    rng = np.random.default_rng(seed)

    def init(key):
        return {"agents": team.agents.network.init(key), **method.init(key)}

    shapes = jax.eval_shape(init, jax.random.key(0))
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) * 0.7, s.dtype), shapes)


def random_batch(team, *, length=5, size=4, seed=0):
    """Sequences [L, B, ...] in which everything happens: starts and ends inside, padding, masks.

    A step leads to what the next one shows, but where its episode ended.
    """
    spec, rng = team.agents.spec, np.random.default_rng(seed)
    n, a = spec.n_agents, spec.num_actions

    def masks():
        mask = rng.random((length, size, n, a)) < 0.5
        return mask | (np.arange(a) == rng.integers(0, a, (length, size, n, 1)))

    def legal(mask):
        return np.where(mask, rng.random(mask.shape), -1.0).argmax(-1).astype(np.int32)

    mask = masks()
    ended = rng.random((length, size)) < 0.35
    start = np.concatenate([np.zeros((1, size), bool), ended[:-1]])
    terminated = ended & (rng.random((length, size)) < 0.5)
    lasts = np.array([length, length - 2, length, 2, *([length] * size)])[:size]
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    obs, state = normal(length, size, n, *spec.obs_shape), normal(length, size, spec.state_size)

    def led_to(shown, otherwise):
        own = np.append(ended[:-1], np.ones((1, size), bool), axis=0)
        own = own.reshape(own.shape + (1,) * (shown.ndim - 2))
        return np.where(own, otherwise, np.append(shown[1:], otherwise[-1:], axis=0))

    steps = Steps(
        obs=obs,
        state=state,
        mask=mask,
        start=start,
        action=legal(mask),
        reward=normal(length, size, n),
        terminated=terminated,
        next_obs=led_to(obs, normal(length, size, n, *spec.obs_shape)),
        next_state=led_to(state, normal(length, size, spec.state_size)),
        next_mask=led_to(mask, masks()),
        weight=(np.arange(length)[:, None] < lasts).astype(np.float32),
    )
    memory = Memory(normal(size, n, team.agents.hidden_size), rng.integers(-1, a, (size, n)).astype(np.int32))
    return jax.tree.map(jnp.asarray, Sequences(memory, steps))


def plain(batch):
    """A batch as the reference reads it: a dict of float64, integer and boolean arrays."""
    found = {f.name: np.asarray(getattr(batch.steps, f.name)) for f in dataclasses.fields(batch.steps)}
    found |= {"memory": np.asarray(batch.memory.hidden), "last_action": np.asarray(batch.memory.last_action)}
    return {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in found.items()}


def doubles(tree):
    """A pytree in float64 numpy."""
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)
