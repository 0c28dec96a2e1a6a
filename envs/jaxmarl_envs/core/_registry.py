"""The registry: ids `family/variant` of environments, from built-in families and installed packages."""

import dataclasses
import difflib
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from jaxmarl_envs.core._environment import Environment

ENTRY_POINT_GROUP = "jaxmarl_envs.families"
_BUILT_IN = {
    "matrix": "jaxmarl_envs.matrix:FAMILY",
    "hallway": "jaxmarl_envs.hallway:FAMILY",
    "toy": "jaxmarl_envs.toy:FAMILY",
    "smax": "jaxmarl_envs.smax:FAMILY",
    "mpe": "jaxmarl_envs.mpe:FAMILY",
    "hanabi": "jaxmarl_envs.hanabi:FAMILY",
    "overcooked": "jaxmarl_envs.overcooked:FAMILY",
    "jumanji": "jaxmarl_envs.jumanji:FAMILY",
    "mabrax": "jaxmarl_envs.mabrax:FAMILY",
    "gymnax": "jaxmarl_envs.gymnax:FAMILY",
    "micro": "jaxmarl_envs.micro:FAMILY",
    "rag": "jaxmarl_envs.rag:FAMILY",
    "football": "jaxmarl_envs.football:FAMILY",
}


@dataclasses.dataclass(frozen=True)
class Family:
    """A set of environments with a common first part of their ids."""

    name: str
    make: Callable[..., Environment]
    """`(variant, **options) -> Environment`; raises ValueError for an unknown variant or option. Without `**` in its
    signature, the registry rejects options that it does not name."""
    variants: tuple[str, ...]
    """The variants to list; `make` may accept more."""
    summary: str = ""
    """One line for the list of environments."""
    pattern: str = ""
    """The pattern of further variants, e.g. `L1-L2-...`."""
    package: str = ""
    """The package of another project that provides the environments, imported when one is made; empty if none is
    needed. `make` raises ValueError if it is not installed."""
    evaluation_options: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    """Options in which evaluations differ from training by default, e.g. held-out windows."""


_NO_OPTION = "no option is called so"
_registered: dict[str, Family] = {}


def register(family: Family) -> Family:
    """Registers a family in this process; an existing one is not replaced. Installed packages use the entry-point
    group.
    """
    if "/" in family.name or not family.name:
        raise ValueError(f"a family's name must be non-empty and without '/', got {family.name!r}")
    if family.name in _family_names():
        raise ValueError(f"environment family {family.name!r} is registered already")
    _registered[family.name] = family
    return family


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}


def _family_names() -> list[str]:
    return sorted({*_BUILT_IN, *_registered, *_entry_points()})


def _find(name: str) -> Family | None:
    if name in _registered:
        return _registered[name]
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name].split(":")
        return getattr(importlib.import_module(module), attribute)
    point = _entry_points().get(name)  # last, since it reads the metadata of every installed package
    if point is None:
        return None
    family = point.load()
    if not isinstance(family, Family):
        raise ValueError(f"entry point {point.value!r} of group {ENTRY_POINT_GROUP!r} is not a Family: {family!r}")
    return family


def families() -> list[Family]:
    """All known families, by name."""
    return [family for name in _family_names() if (family := _find(name))]


def available() -> list[str]:
    """All listed ids, sorted by family."""
    return [f"{family.name}/{variant}" for family in families() for variant in family.variants]


def make(env_id: str, /, **options: Any) -> Environment:
    """Makes the environment called `env_id`, e.g. `"matrix/climbing"`; `options` are passed to its family.

    Raises:
      ValueError: an unknown id or option; the nearest spelling is suggested.
    """
    name, _, variant = env_id.partition("/")
    family = _find(name)
    if family is None:
        raise ValueError(_unknown(env_id))
    if not variant:
        raise ValueError(
            f"environment id {env_id!r} names a family only; its environments are e.g. "
            f'{name}/{(family.variants or ("VARIANT",))[0]}: run "jaxmarl-suite envs --family {name}" for the list'
        )
    _check_options(env_id, family, options)
    try:
        return family.make(variant, **options)
    except UnknownVariant as error:
        raise ValueError(_unknown(env_id, family) + (f": {error}" if str(error) else "")) from None


def options(env_id: str) -> dict[str, Any]:
    """The options of an environment by name, with their defaults.

    Raises:
      ValueError: an unknown id.
    """
    family = _find(env_id.partition("/")[0])
    others = [] if family is None else list(inspect.signature(family.make).parameters.values())[1:]
    found = {p.name: p.default for p in others if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    try:
        make(env_id, **{_NO_OPTION: None})
    except UnknownOption as error:  # it lists those that the family's signature does not name
        found |= error.accepted
    return dict(sorted(found.items()))


def evaluation_options(env_id: str) -> dict[str, Any]:
    """The options in which evaluations of an environment differ from training by default; none for an unknown id."""
    family = _find(env_id.partition("/")[0])
    return dict(family.evaluation_options) if family else {}


def _check_options(env_id: str, family: Family, options: Mapping[str, Any]) -> None:
    """Rejects options that the signature of the family's `make` excludes; with `**` in it, `make` checks itself."""
    first, *others = inspect.signature(family.make).parameters.values()
    accepted = [p.name for p in others if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in others)
    for parameter in others:
        if parameter.name in accepted and parameter.default is parameter.empty and parameter.name not in options:
            raise ValueError(f"{env_id}: missing option {parameter.name!r}")
    for name, value in options.items():
        if name not in accepted and not (takes_all and (name != first.name or first.kind is first.POSITIONAL_ONLY)):
            near = difflib.get_close_matches(name, accepted, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UnknownOption(
                f"{env_id}: unknown option {name!r}; {hint}accepted: {', '.join(accepted) or 'no options'}"
            )
        if isinstance(value, int) and not -(2**31) <= value < 2**31:
            raise ValueError(f"{env_id}: {name} must fit into 32 bits, got {value}")


class UnknownVariant(ValueError):
    """Raised by a family's `make` for a variant it does not have; the registry adds the nearest spelling."""


class UnknownOption(ValueError):
    """Raised for an unknown option; the caller then looks for a scalar parameter of that name.

    A family whose `make` takes `**options` raises it itself, and a plain ValueError for an invalid value.
    """

    def __init__(self, text: str = "", accepted: Mapping[str, Any] | None = None) -> None:
        """`accepted` has the valid options with their defaults."""
        super().__init__(text)
        self.accepted = dict(accepted or {})


def _hint(env_id: str) -> str:
    ids = available()
    near = difflib.get_close_matches(env_id, ids, n=1, cutoff=0.5)
    if not near:  # the right variant with the wrong family, or without one
        last = env_id.rpartition("/")[2]
        by_variant = {i.partition("/")[2]: i for i in reversed(ids)}
        near = [by_variant[v] for v in difflib.get_close_matches(last, by_variant, n=1, cutoff=0.6)]
    did_you_mean = f"did you mean {near[0]!r}? " if near else ""
    return f'{did_you_mean}run "jaxmarl-suite envs" for the list'


def _unknown(env_id: str, family: Family | None = None) -> str:
    pattern = f"; {family.name} accepts {family.pattern}" if family and family.pattern else ""
    return f"unknown environment {env_id!r}; {_hint(env_id)}{pattern}"
