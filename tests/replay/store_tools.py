"""Stores filled by random play, beside lists of whole transitions with next observations written out."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_suite.replay import (
    Block,
    Places,
    StoreLayout,
    add_block,
    expand,
    new_store,
    read_n_step,
    read_transitions,
    read_windows,
)

ENVS, LENGTH, BLOCKS, GAMMA = 2, 4, 3, 0.9


LAYOUTS = {
    "any step may be truncated": StoreLayout(ENVS, BLOCKS, LENGTH),
    "a limit longer than a block": StoreLayout(ENVS, BLOCKS, LENGTH, episode_limit=5),
    "a limit shorter than a block": StoreLayout(ENVS, BLOCKS, LENGTH, episode_limit=3),
    "every block begins with a reset": StoreLayout(ENVS, BLOCKS, LENGTH, episode_limit=3, is_continuous=False),
    "blocks of one step": StoreLayout(ENVS, 5, 1, episode_limit=2),
    "one block": StoreLayout(ENVS, 1, LENGTH, episode_limit=2),
}


def compiled(function, *static):
    """A function that gives NumPy arrays."""
    run = jax.jit(function, static_argnums=(0, *static))
    return lambda *args: jax.tree.map(np.asarray, run(*args))


def returns(layout, head, contents, places, n):
    return read_n_step(layout, head, contents, places, reward=contents.steps["reward"], n_step=n, gamma=GAMMA)


def windows(layout, head, contents, places, length):
    found = read_windows(layout, head, contents, places, length)
    return found, expand(found)


add = jax.jit(add_block, static_argnums=0)


empty = jax.jit(new_store, static_argnums=0)


transitions = compiled(read_transitions)


n_step_of = compiled(returns, 4)


windows_of = compiled(windows, 4)


class Play:
    """Random play in which every observation has a number of its own; truncated at `limit`, or anywhere without one."""

    def __init__(self, layout, limit, seed=0, terminates=0.15):
        self.layout, self.limit, self.terminates = layout, limit, terminates
        self.rng, self.number = np.random.default_rng(seed), 0
        self.shown, self.age = [self.fresh() for _ in range(layout.num_envs)], [0] * layout.num_envs
        self.kept = [[] for _ in range(layout.num_envs)]

    def fresh(self):
        self.number += 1
        return self.number

    def step(self, env):
        now, then = self.shown[env], self.fresh()
        self.age[env] += 1
        terminated = self.rng.random() < self.terminates
        truncated = self.age[env] == self.limit if self.limit else self.rng.random() < 0.2
        truncated = truncated and not terminated
        if terminated or truncated:
            self.shown[env], self.age[env] = self.fresh(), 0
        else:
            self.shown[env] = then
        ends = {"terminated": terminated, "truncated": truncated, "cut": truncated}
        return {"now": now, "then": then, "reward": self.rng.normal(), **ends}

    def block(self):
        """A block, of which the lists keep what a store keeps."""
        if not self.layout.is_continuous:
            self.shown, self.age = [self.fresh() for _ in self.shown], [0 for _ in self.age]
        new = [[self.step(env) for _ in range(self.layout.block_length)] for env in range(self.layout.num_envs)]
        starts = [self.fresh() for _ in new]
        for own, kept, start in zip(new, self.kept, starts):
            if not self.layout.is_continuous:
                own[-1]["cut"] = not own[-1]["terminated"]
            kept += [{**step, "start": start} for step in own]
            del kept[: -self.layout.capacity]

        def of(name, dtype):
            return np.array([[step[name] for step in own] for own in new], dtype)

        number, then = of("now", np.int32), of("then", np.int32)
        return Block(
            steps={"action": number, "reward": of("reward", np.float32)},
            observed=observation(number),
            observed_after=observation(np.array(self.shown, np.int32)),
            final=observation(then),
            terminated=of("terminated", bool),
            truncated=of("truncated", bool),
            start={"memory": np.array(starts, np.float32)[:, None]},
        )


def observation(number):
    """What is observed, as several arrays that tell observations apart."""
    x = number.astype(np.float32)
    return {"obs": np.stack([x, -x], axis=-1), "mask": number % 2 == 0, "number": number}


def assert_observed(found, numbers, where=slice(None)):
    for name, x in observation(np.asarray(numbers, np.int32)).items():
        np.testing.assert_array_equal(found[name][where], x[where], err_msg=name)


def played(layout, num_blocks, limit=None, **settings):
    """`(store, lists)` after so many blocks."""
    play = Play(layout, limit or layout.episode_limit, **settings)
    store = None
    for _ in range(num_blocks):
        block = play.block()
        store = add(layout, empty(layout, block) if store is None else store, block)
    return store, play.kept


def everywhere(layout, store, kept):
    """Places of all stored steps, environment by environment, in the order of time."""
    count = len(kept[0])
    env, position = (x.ravel() for x in np.meshgrid(range(layout.num_envs), range(count), indexing="ij"))
    slot = (int(store.head.next_slot) - count + position) % layout.capacity
    return Places(env.astype(np.int32), slot.astype(np.int32), np.ones(len(env), np.float32))


def column(kept, name):
    return np.array([step[name] for own in kept for step in own])


def wide_block(layout, lanes=()):
    """Shapes of a block whose observations are most of it."""
    shape = (*lanes, layout.num_envs, layout.block_length)

    def of(shape, dtype=jnp.float32):
        return jnp.zeros(shape, dtype)

    return Block(
        steps={"action": of(shape, jnp.int32), "reward": of(shape)},
        observed={"obs": of((*shape, 40))},
        observed_after={"obs": of((*lanes, layout.num_envs, 40))},
        final={"obs": of((*shape, 40))},
        terminated=of(shape, bool),
        truncated=of(shape, bool),
        start=(),
    )
