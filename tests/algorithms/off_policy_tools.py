"""Small off-policy actor-critics, random histories and batches, and their networks in plain NumPy, for their tests."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from line_env import Line
from toy_envs import context

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms.off_policy import masac, matd3, sac, td3
from jaxmarl_suite.algorithms.off_policy._core import OffPolicy, make_off_policy
from jaxmarl_suite.algorithms.off_policy._parts import Batch, Done, Shown
from jaxmarl_suite.replay import Block, StoreLayout, add_block, new_store, read_transitions, slots_in_time

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
SMALL = {
    "num_envs": 2,
    "rollout_length": 5,
    "gradient_steps": 2,
    "capacity": 20,
    "batch_size": 3,
    "warmup_steps": 0,
    "hidden": (4, 3),
    "learning_rate": 0.01,
}
MODULES = {"td3": td3, "matd3": matd3, "sac": sac, "masac": masac}


def parts_of(name, n_agents=1, **changes):
    """`(config, team, method)`."""
    module = MODULES[name]
    config = algorithms.get(name).config(**(SMALL | changes))
    return config, *module.parts(config, Line(n_agents))


def compiled(fn):
    return jax.jit(fn, compiler_options=QUICK)


def doubles(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def history(rng, steps):
    """Random steps with both kinds of ends. An observation is the previous step's next one, or starts a new episode."""
    rows, obs = [], rng.normal()
    for _ in range(steps):
        row = {
            "obs": obs,
            "reward": rng.normal(),
            "terminated": rng.random() < 0.15,
            "truncated": rng.random() < 0.15,
            "next_obs": rng.normal(),
        }
        obs = rng.normal() if row["terminated"] or row["truncated"] else row["next_obs"]
        rows.append(row)
    return rows


def store_of(rows, length, num_blocks):
    """`(layout, store)` with the [E] histories, added in blocks of `length`."""
    layout = StoreLayout(len(rows), num_blocks, length)
    blocks = [as_block([own[i : i + length] for own in rows]) for i in range(0, len(rows[0]), length)]
    store = new_store(layout, blocks[0])
    for block in blocks:
        store = add_block(layout, store, block)
    return layout, store


def as_block(rows):
    """[E][L] rows as a block."""

    def column(name, dtype, *shape):
        return jnp.asarray([[row[name] for row in own] for own in rows], dtype).reshape(len(rows), len(rows[0]), *shape)

    def shown(name):
        size = (len(rows), len(rows[0]))
        return Shown(column(name, jnp.float32, 1, 1), jnp.zeros((*size, 0)), jnp.zeros((*size, 1, 0), bool))

    return Block(
        steps=Done(column("obs", jnp.float32, 1, 1), column("reward", jnp.float32)),
        observed=shown("obs"),
        observed_after=jax.tree.map(lambda x: x[:, -1], shown("next_obs")),
        final=shown("next_obs"),
        terminated=column("terminated", jnp.bool_),
        truncated=column("truncated", jnp.bool_),
        start=(),
    )


def stored_transitions(layout, store):
    """All stored transitions [E, T, ...], oldest first, as NumPy arrays."""
    count = int(store.head.num_stored)
    slot = slots_in_time(layout, store.head, jnp.arange(count, dtype=jnp.int32))
    env, slot = jnp.meshgrid(jnp.arange(layout.num_envs, dtype=jnp.int32), slot, indexing="ij")
    return jax.tree.map(np.asarray, read_transitions(layout, store.head, store.contents, env, slot))


def random_batch(n_agents, size, rng):
    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return Batch(
        obs=normal(size, n_agents, 1),
        state=normal(size, 1),
        action=jnp.tanh(normal(size, n_agents, 1)),
        reward=normal(size),
        discount=jnp.asarray(rng.choice([0.0, 0.9, 0.81], size), jnp.float32),
        next_obs=normal(size, n_agents, 1),
        next_state=normal(size, 1),
        next_mask=jnp.zeros((size, n_agents, 0), bool),
        prepared=(),
    )


def layers(tree):
    """Dense layers in order, [(kernel, bias)]."""
    found = tree["params"]
    return [(found[f"Dense_{i}"]["kernel"], found[f"Dense_{i}"]["bias"]) for i in range(len(found))]


def mlp(dense, x):
    for k, b in dense[:-1]:
        x = np.maximum(x @ k + b, 0.0)
    k, b = dense[-1]
    return x @ k + b


def actor_output(params, obs, shared):
    """[B, N, outputs] from observations [B, N, D]; one-hot indices where several agents share parameters."""
    n = obs.shape[1]
    if shared:
        index = np.broadcast_to(np.eye(n), (len(obs), n, n))
        return mlp(layers(params["head"]), np.concatenate([obs, index], -1) if n > 1 else obs)
    rows = [mlp(layers(jax.tree.map(lambda x, i=i: x[i], params["head"])), obs[:, i]) for i in range(n)]
    return np.stack(rows, 1)


def critic_values(params, context, action):
    """[C, B]."""
    x = np.concatenate([context, action.reshape(len(action), -1)], -1)
    num = len(jax.tree.leaves(params)[0])
    return np.stack([mlp(layers(jax.tree.map(lambda p, c=c: p[c], params)), x)[:, 0] for c in range(num)])


class Learner:
    """An algorithm with compiled functions."""

    def __init__(self, name, n_agents=1, env=None, **changes):
        self.config, self.team, self.method = parts_of(name, n_agents, **changes)
        self.env = env or Line(n_agents)
        (phase,) = algorithms.get(name).build(self.config, self.env)
        self._compile(phase.algorithm)

    def _compile(self, algorithm):
        self.algorithm = algorithm
        self.init, self.update = compiled(algorithm.init), compiled(algorithm.update)

    @property
    def layout(self):
        return OffPolicy(self.team, self.method).layout(self.env)

    def with_method(self, **changes):
        (phase,) = make_off_policy(self.team, self.env, self.method._replace(**changes))
        self._compile(phase.algorithm)
        return self

    def course(self, updates, **changes):
        """States before and after each update, and metrics."""
        config = dataclasses.replace(self.config, **changes)
        states, metrics = [self.init(jax.random.key(0), context(config, self.env))], []
        for clock in range(updates):
            state, found = self.update(states[-1], context(config, self.env, clock=clock))
            states.append(state)
            metrics.append(jax.device_get(found))
        return states, metrics


def count_of(learner):
    return int(learner.opt[0].count)


def assert_unequal(a, b):
    assert any((np.asarray(x) != np.asarray(y)).any() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))
