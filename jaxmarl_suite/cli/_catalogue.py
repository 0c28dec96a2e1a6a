"""`envs` and `algos`: list environments and algorithms."""

import dataclasses
import difflib
import importlib
import inspect
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxmarl_suite.cli._console import print_table
from jaxmarl_suite.cli._parse import PROG, parse
from jaxmarl_suite.cli._session import Result, Session


@dataclasses.dataclass(frozen=True)
class EnvsArguments:
    """The arguments of `envs`."""

    family: Annotated[str | None, tyro.conf.arg(metavar="F")] = None
    """List only this family."""
    check: Annotated[str | None, tyro.conf.arg(metavar="MODULE:CLASS")] = None
    """Check whether this environment follows the protocol: an importable class (or function) without required
    arguments, an instance, or a registered id."""


def envs(argv: list[str], session: Session) -> Result:
    """Lists environments, or checks one."""
    given = parse(EnvsArguments, argv, "envs", "Lists environments, or checks whether one follows the protocol.")
    return _check(given.check, session) if given.check else _list(given.family, session)


def _list(only: str | None, session: Session) -> Result:
    import jaxmarl_envs
    from jaxmarl_envs import adapters

    families = {family.name: family for family in jaxmarl_envs.families()}
    if only is not None and only not in families:
        near = difflib.get_close_matches(only, families, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown family {only!r}; {hint}there are: {', '.join(families)}")
    console, found = session.console(), []
    for family in families.values():
        if only not in (None, family.name):
            continue
        console.print(f"[bold]{family.name}[/]  [dim]{family.summary}[/]")
        if family.package and only is None:  # importing the package takes seconds, and is not needed to list ids
            remark = f"details: {PROG} envs --family {family.name}"
            if not adapters.is_installed(family.package):
                remark = f"not installed: {adapters.installation(family.package)}"
            console.print("  ".join(f"{family.name}/{variant}" for variant in family.variants), markup=False)
            console.print(f"{remark}\n", style="dim", markup=False)
            found += [{"id": f"{family.name}/{variant}", "package": family.package} for variant in family.variants]
            continue
        entries = [_entry(f"{family.name}/{variant}") for variant in family.variants]
        columns = ("id", "agents", "actions", "obs", "state", "limit", "optimum", "remark")
        print_table(console, [{name: _cell(entry.get(name)) for name in columns} for entry in entries])
        if family.pattern:
            console.print(f"also: {family.pattern}", style="dim", markup=False)
        console.print()
        found += entries
    return {"environments": found}


def _entry(env_id: str) -> dict[str, Any]:
    import jaxmarl_envs

    try:
        spec = jaxmarl_envs.make(env_id).spec
    except (ImportError, ValueError) as error:  # an extra is missing
        return {"id": env_id, "remark": str(error).splitlines()[0]}
    return {
        "id": env_id,
        "agents": spec.n_agents,
        "actions": f"{spec.num_actions}" if spec.is_discrete else f"{spec.action_dim} real",
        "obs": "x".join(map(str, spec.obs_shape)),
        "state": spec.state_size,
        "limit": spec.episode_limit,
        "optimum": spec.optimum,
    }


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _check(target: str, session: Session) -> Result:
    from jaxmarl_envs import check_environment

    report = check_environment(_environment(target))
    session.console().print(str(report), markup=False)
    return {"ok": True, **dataclasses.asdict(report)}


def _environment(target: str) -> Any:
    """The environment named `family/variant`, `module:Class` or `module:instance`."""
    import jaxmarl_envs

    module_name, colon, path = target.partition(":")
    if not colon:
        if "/" in target:
            return jaxmarl_envs.make(target)
        raise ValueError(f"--check needs MODULE:CLASS or an id, got {target!r}")
    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"--check {target}: cannot import {module_name!r}: {error}") from None
    for name in path.split("."):
        if not hasattr(found, name):
            near = difflib.get_close_matches(name, dir(found), n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"--check {target}: no {name!r} in {module_name!r}{hint}")
        found = getattr(found, name)
    if not callable(found):
        return found
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise ValueError(f"--check {target}: cannot be made without arguments: {error}") from None
    return found()


@dataclasses.dataclass(frozen=True)
class AlgosArguments:
    """The arguments of `algos`."""

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = None
    """Show the settings of this algorithm."""


def algos(argv: list[str], session: Session) -> Result:
    """Lists algorithms, or the settings of one."""
    given = parse(AlgosArguments, argv, "algos", "Lists algorithms, or the settings of one.")
    from jaxmarl_envs.core import field_docs

    from jaxmarl_suite import algorithms

    console = session.console()
    if given.name is None:
        specs = [algorithms.get(name) for name in algorithms.names()]
        rows = [{"algorithm": s.name, "actions": ", ".join(s.actions), "summary": s.summary} for s in specs]
        print_table(console, rows)
        return {"algorithms": rows}
    spec = algorithms.get(given.name)
    default = spec.default_config
    help_texts, traced = field_docs(spec.config), algorithms.traced_fields(spec.config)
    settings = [
        {
            "field": field.name,
            "default": getattr(default, field.name),
            "in a sweep": "same program" if field.name in traced else "a program each",
            "meaning": help_texts.get(field.name, ""),
        }
        for field in dataclasses.fields(spec.config)
    ]
    console.print(f"[bold]{spec.name}[/]  {spec.summary}; {' and '.join(spec.actions)} actions")
    print_table(console, settings)
    return {"algorithm": spec.name, "summary": spec.summary, "actions": list(spec.actions), "settings": settings}
