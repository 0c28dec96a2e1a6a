"""Cooperative multi-agent reinforcement learning as one compiled JAX program.

>>> import jaxmarl_suite
>>> folder = jaxmarl_suite.train("mappo", "matrix/climbing", options=jaxmarl_suite.TrainOptions(seeds=8))  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxmarl_suite.analysis import load_run
    from jaxmarl_suite.runner import (  # fmt: skip
        Experiment,
        Policy,
        TrainOptions,
        WandbOptions,
        evaluate,
        export_policy,
        load_policy,
        resume,
        run,
        train,
    )

__all__ = [
    "Experiment",
    "Policy",
    "TrainOptions",
    "WandbOptions",
    "evaluate",
    "export_policy",
    "load_policy",
    "load_run",
    "resume",
    "run",
    "train",
]


def __getattr__(name: str) -> Any:
    """Imports public names on first use, so that importing the package imports neither JAX nor anything heavy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module = "jaxmarl_suite.analysis" if name == "load_run" else "jaxmarl_suite.runner"
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
