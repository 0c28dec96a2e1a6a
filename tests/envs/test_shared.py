"""Parameters that lanes share, quantiles of metrics, options of evaluations: what environments say of them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl_envs
import pytest
from jaxmarl_envs import EnvSpec, Family, pytree_dataclass
from jaxmarl_envs.core import _registry, evaluation_options, quantile_name, shared_leaves


@pytree_dataclass
class Table:
    """Two arrays."""

    rows: Any
    scale: Any


@pytree_dataclass
class Params:
    """A shared table, one that is not, and some of each deeper down."""

    common: Any = dataclasses.field(metadata={"shared": True})
    own: Any = 0.0
    nested: Any = ()
    static: str = dataclasses.field(default="", metadata={"static": True})


def test_fields_are_shared_with_all_that_is_in_them() -> None:
    inner = Params(common=jnp.zeros(2), own=jnp.ones(3))
    params = Params(common=Table({"a": 1, "b": (2, 3)}, None), own=4, nested=[{"x": inner, "y": Table(5, 6)}, 7])
    expected = Params(
        common=Table({"a": True, "b": (True, True)}, None),
        own=False,
        nested=[{"x": Params(common=True, own=False), "y": Table(False, False)}, False],
    )
    assert shared_leaves(params) == expected
    assert shared_leaves(()) == () and shared_leaves(None) is None


def test_the_windows_of_rag_are_shared_and_nothing_else_is() -> None:
    for env_id in ("rag/cache-L1", "rag/serve-L2"):
        params = jaxmarl_envs.make(env_id, sessions=900, windows=2).default_params
        shared = jax.tree_util.tree_leaves_with_path(shared_leaves(params))
        assert [jax.tree_util.keystr(path) for path, is_shared in shared if is_shared] == [".windows"]


@pytest.mark.parametrize(
    ("quantiles", "message"),
    [
        (
            (("speed", (0.5,)),),
            "quantiles must name each metric at most once, got 'speed'; metrics are cost, cost_p50, len",
        ),
        ((("cost", (0.9,)), ("cost", (0.8,))), "quantiles must name each metric at most once, got 'cost'"),
        ((("cost", (95,)),), r"quantiles of 'cost' must be in 0..1, got \(95,\)"),
        ((("cost", ()),), r"quantiles of 'cost' must be in 0..1, got \(\)"),
        ((("cost", (0.9, 0.5)),), "its metric 'cost_p50' has the name of a quantile of 'cost'; rename it"),
    ],
)
def test_quantiles_that_no_row_could_hold_are_refused(quantiles: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"environment 'a/b': {message}"):
        EnvSpec("a/b", 2, (1,), num_actions=2, metrics=("cost", "cost_p50"), quantiles=quantiles)


def test_names_of_quantiles() -> None:
    assert [quantile_name("ttft", level) for level in (0.5, 0.95, 0.999)] == ["ttft_p50", "ttft_p95", "ttft_p99.9"]
    assert hash(EnvSpec("a/b", 2, (1,), num_actions=2, quantiles=(("return", (0.1,)),)))


def test_options_of_evaluations_are_the_familys() -> None:
    jaxmarl_envs.register(Family("held-out", lambda variant: None, ("a",), evaluation_options={"split": "test"}))  # type: ignore
    try:
        assert evaluation_options("held-out/a") == {"split": "test"}
    finally:
        del _registry._registered["held-out"]
    assert evaluation_options("rag/serve-L3") == {"split": "validation"}
    assert evaluation_options("matrix/climbing") == evaluation_options("nothing/at-all") == {}
