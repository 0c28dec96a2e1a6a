"""Random keys that do not depend on JAX's settings."""

import jax

KEY_IMPL = "threefry2x32"
"""The implementation of the suite's keys. `jax.random.key` alone would use `jax_default_prng_impl`."""


def seed_key(seed: jax.Array | int) -> jax.Array:
    """[] the typed key of a seed, with implementation `KEY_IMPL`: random numbers and checkpoints do not depend on JAX's
    settings.
    """
    return jax.random.key(seed, impl=KEY_IMPL)
