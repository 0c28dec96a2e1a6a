"""No random key is used twice, by JAX's own checker of key reuse."""

from typing import Any

import jax
import pytest
from jax.experimental.key_reuse import _core as key_reuse
from runner_tools import phase_shapes, tiny

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms.planning import mazero, muzero_joint

KEY: Any = jax.eval_shape(lambda: jax.random.key(0))


def key_taken_once(make_search: Any) -> Any:
    """Like `make_search`, but its searches take their key and find nothing.

    mctx selects children by a branch whose batched form computes both sides, each with the same key; one result counts,
    which the checker cannot tell.
    """

    def make(*args: Any, **settings: Any) -> Any:
        search = make_search(*args, **settings)

        def found(params: Any, key: jax.Array, inputs: Any) -> Any:
            shapes = jax.eval_shape(search, params, KEY, inputs)
            zero = (jax.random.bits(key) & 0).astype(int)
            return jax.tree.map(lambda s: jax.numpy.full(s.shape, zero, s.dtype), shapes)

        return found

    return make


# Of the two that plan in a model one is quick enough.
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "mazero" else n for n in algorithms.names()]
)
def test_no_algorithm_uses_a_key_twice(name, monkeypatch):
    """Neither at the start of a phase, nor in an update: an error names the line."""
    monkeypatch.setattr(mazero, "sampled_search", key_taken_once(mazero.sampled_search))
    monkeypatch.setattr(muzero_joint, "gumbel_search", key_taken_once(muzero_joint.gumbel_search))
    for phase, start, state, ctx in phase_shapes(tiny(name)):
        for fn, first in ((start, KEY), (phase.algorithm.update, state)):
            key_reuse.check_key_reuse_jaxpr(jax.make_jaxpr(fn)(first, ctx))
