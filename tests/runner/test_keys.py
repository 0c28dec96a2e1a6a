"""No random key is used twice, by JAX's own checker of key reuse."""

from typing import Any

import jax
import pytest
from jax.experimental.key_reuse import _core as key_reuse
from runner_tools import phase_shapes, tiny

from jaxmarl_suite import algorithms

KEY: Any = jax.eval_shape(lambda: jax.random.key(0))


@pytest.mark.parametrize("name", algorithms.names())
def test_no_algorithm_uses_a_key_twice(name):
    """Neither at the start of a phase, nor in an update: an error names the line."""
    for phase, start, state, ctx in phase_shapes(tiny(name)):
        for fn, first in ((start, KEY), (phase.algorithm.update, state)):
            key_reuse.check_key_reuse_jaxpr(jax.make_jaxpr(fn)(first, ctx))
