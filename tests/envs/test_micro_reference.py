"""The JAX engine against plain Python, bit for bit, after every step of random play on every map."""

import functools

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs.micro import _env
from jaxmarl_envs.micro._maps import MAPS

from tests.envs.micro_reference import Fight

LARGE = {"27m_vs_30m": 6, "25m": 8, "2c_vs_64zg": 8, "bane_vs_bane": 10, "so_many_baneling": 12, "corridor": 30}
FIELDS = ("x", "y", "hp", "shield", "cool", "quiet", "energy", "mends", "fuse")


def play(env, params, num_steps, num_envs, key):
    """[T + 1, E, ...] states and time steps, [T, E, ...] actions and keys, of random play that attacks when it can."""
    micro = env.unwrapped

    def choose(key, mask):
        wish = jnp.where(jnp.arange(mask.shape[-1]) >= 6, 6.0, jnp.where(jnp.arange(mask.shape[-1]) == 1, 0.2, 1.0))
        wish = jnp.where(jnp.arange(mask.shape[-1]) == 4, 2.5, wish)  # towards the enemy of most maps
        return jax.random.categorical(key, jnp.where(mask, jnp.log(wish), -jnp.inf)).astype(jnp.int32)

    def run(key, params):
        start_key, key = jax.random.split(key)
        start = jax.vmap(micro.reset, (0, None))(jax.random.split(start_key, num_envs), params)

        def body(carry, key):
            state, timestep = carry
            act_key, step_key = jax.random.split(key)
            keys = jax.random.split(step_key, num_envs)
            action = choose(act_key, timestep.action_mask)
            carry = jax.vmap(micro.step, (0, 0, 0, None))(keys, state, action, params)
            return carry, (*carry, action, keys)

        _, (states, timesteps, actions, keys) = jax.lax.scan(body, start, jax.random.split(key, num_steps))
        joined = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, (states, timesteps))
        return *joined, actions, jax.random.key_data(keys)

    return jax.tree.map(np.asarray, jax.jit(run)(key, params))


@functools.lru_cache
def _chance(n, m):
    def draw(key_data, params):
        words = jax.random.bits(jax.random.wrap_key_data(key_data), (2,))[:, None]
        scalars = jax.tree.map(lambda x: jnp.reshape(x, (1, 1)) if x.ndim == 0 else x, params)
        return _env._chance(n, m, words, scalars)

    return jax.jit(draw)


def check(env, params, num_steps, num_envs=2, key=0, watched=(0,)):
    """Compares everything that the engine shows with the reference."""
    micro = env.unwrapped
    states, timesteps, actions, keys = play(env, params, num_steps, num_envs, jax.random.key(key))
    n, m = micro.plan.n_allies, micro.plan.n_enemies
    numbers = jax.tree.map(np.asarray, params)
    for e in watched:

        def at(tree, t, e=e):
            return jax.tree.map(lambda x: x[t, e], tree)

        fight = Fight(micro, numbers)
        if micro.plan.draws_teams or micro.plan.jitters:
            fight.load(at(states, 0))
        else:
            fight.start()
        same(fight, at(states, 0), at(timesteps, 0), "start")
        for t in range(num_steps):
            chance = _chance(n, m)(keys[t, e], params)
            noise, hits = (np.asarray(part, np.float64)[:, 0] for part in chance)
            reward, over, won = fight.step(actions[t, e], noise, hits > 0)
            shown = at(timesteps, t + 1)
            same(fight, at(states, t + 1), shown, f"step {t + 1}")
            np.testing.assert_array_equal(shown.reward, np.full(n, reward, np.float32), f"reward of step {t + 1}")
            assert bool(shown.terminated) == over and shown.metrics["win"] == won
            assert shown.metrics["dead_allies"] == sum(not u.alive for u in fight.allies)
            assert shown.metrics["dead_enemies"] == sum(not u.alive for u in fight.enemies)
    return states, timesteps


def same(fight, state, shown, when):
    for name in FIELDS:
        values = getattr(state, name)
        if values.size:
            expected = np.array([getattr(u, name) for u in fight.units], np.float32)
            np.testing.assert_array_equal(values, expected, f"{name} after {when}")
    np.testing.assert_array_equal(state.target, [u.target for u in fight.enemies], f"target after {when}")
    np.testing.assert_array_equal(shown.action_mask, fight.masks(), f"masks after {when}")
    spec = fight.spec
    expected = np.zeros_like(shown.obs)
    for i, seen in enumerate(fight.observations()):
        for block in spec.entities:
            for j, row in seen[block.name].items():
                for f, feature in enumerate(block.features):
                    expected[i, block.start + f * block.count + j] = row[feature]
    np.testing.assert_array_equal(shown.obs, expected, f"observations after {when}")


@pytest.mark.parametrize("name", MAPS)
def test_every_map(name):
    env = jaxmarl_envs.make(f"micro/{name}")
    check(env, env.default_params, LARGE.get(name, 40))
