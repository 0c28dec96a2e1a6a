"""The registry: names of algorithms."""

import difflib
import importlib
import importlib.metadata

from jaxmarl_suite.algorithms.core._types import AlgorithmSpec

ENTRY_POINT_GROUP = "jaxmarl_suite.algorithms"
_BUILT_IN = {
    "ippo": "jaxmarl_suite.algorithms.ppo.ippo:SPEC",
    "mappo": "jaxmarl_suite.algorithms.ppo.mappo:SPEC",
    "happo": "jaxmarl_suite.algorithms.ppo.happo:SPEC",
    "tad-ppo": "jaxmarl_suite.algorithms.ppo.tad_ppo:SPEC",
    "iql": "jaxmarl_suite.algorithms.q_learning.iql:SPEC",
    "vdn": "jaxmarl_suite.algorithms.q_learning.vdn:SPEC",
    "qmix": "jaxmarl_suite.algorithms.q_learning.qmix:SPEC",
    "qtran": "jaxmarl_suite.algorithms.q_learning.qtran:SPEC",
    "cw-qmix": "jaxmarl_suite.algorithms.q_learning.weighted_qmix:CW_SPEC",
    "ow-qmix": "jaxmarl_suite.algorithms.q_learning.weighted_qmix:OW_SPEC",
    "qplex": "jaxmarl_suite.algorithms.q_learning.qplex:SPEC",
    "td3": "jaxmarl_suite.algorithms.off_policy.td3:SPEC",
    "td3-star": "jaxmarl_suite.algorithms.off_policy.td3:STAR_SPEC",
    "matd3": "jaxmarl_suite.algorithms.off_policy.matd3:SPEC",
    "sac": "jaxmarl_suite.algorithms.off_policy.sac:SPEC",
    "masac": "jaxmarl_suite.algorithms.off_policy.masac:SPEC",
    "bc": "jaxmarl_suite.algorithms.off_policy.bc:SPEC",
    "td3-bc": "jaxmarl_suite.algorithms.off_policy.td3_bc:SPEC",
    "implicit-q": "jaxmarl_suite.algorithms.off_policy.implicit_q:SPEC",
    "uber": "jaxmarl_suite.algorithms.off_policy.uber:SPEC",
    "gem": "jaxmarl_suite.algorithms.off_policy.gem:SPEC",
    "gem-q": "jaxmarl_suite.algorithms.off_policy.gem_q:SPEC",
    "gem-meta": "jaxmarl_suite.algorithms.off_policy.gem_q:META_SPEC",
    "mazero": "jaxmarl_suite.algorithms.planning.mazero:SPEC",
    "muzero-joint": "jaxmarl_suite.algorithms.planning.muzero_joint:SPEC",
    "mcts": "jaxmarl_suite.algorithms.planning.mcts:SPEC",
    "dima": "jaxmarl_suite.algorithms.imagination.dima:SPEC",
    "mbppo-mlp": "jaxmarl_suite.algorithms.imagination.mbppo:MLP_SPEC",
    "mbppo-transformer": "jaxmarl_suite.algorithms.imagination.mbppo:TRANSFORMER_SPEC",
}
_registered: dict[str, AlgorithmSpec] = {}


def register(spec: AlgorithmSpec) -> AlgorithmSpec:
    """Registers an algorithm in this process; an existing one is not replaced. Installed packages use the entry-point
    group.
    """
    if spec.name in names():
        raise ValueError(f"algorithm {spec.name!r} is registered already")
    _registered[spec.name] = spec
    return spec


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}


def names() -> list[str]:
    """The names of all known algorithms, built-in ones first."""
    return [*_BUILT_IN, *sorted({*_registered, *_entry_points()} - set(_BUILT_IN))]


def get(name: str) -> AlgorithmSpec:
    """The algorithm called `name`.

    Raises:
      ValueError: an unknown name; the nearest spelling is suggested.
    """
    if name in _registered:
        return _registered[name]
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name].split(":")
        return getattr(importlib.import_module(module), attribute)
    points = _entry_points()
    if name in points:
        spec = points[name].load()
        if not isinstance(spec, AlgorithmSpec):
            raise ValueError(
                f"entry point {points[name].value!r} of group {ENTRY_POINT_GROUP!r} is not an AlgorithmSpec: {spec!r}"
            )
        return spec
    near = difflib.get_close_matches(name, names(), n=1, cutoff=0.4)
    did_you_mean = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown algorithm {name!r}; {did_you_mean}there are: {', '.join(names())}")
