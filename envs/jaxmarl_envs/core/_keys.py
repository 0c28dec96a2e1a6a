"""Random keys that are the same whatever JAX is set to."""

import jax

KEY_IMPL = "threefry2x32"
"""The implementation of the suite's keys. `jax.random.key` alone makes those of `jax_default_prng_impl`."""


def seed_key(seed: jax.Array | int) -> jax.Array:
    """[] the typed key of a seed, of `KEY_IMPL`: numbers drawn from it, and checkpoints, do not depend on JAX's settings."""
    return jax.random.key(seed, impl=KEY_IMPL)
