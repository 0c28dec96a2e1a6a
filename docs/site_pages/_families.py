"""One page per environment family: variants with their spaces, options, rules and rewards, a picture."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import jaxmarl_envs
from jaxmarl_envs import Family, adapters
from jaxmarl_envs.core import check_drawable, field_docs

from jaxmarl_suite.cli._catalogue import envs
from jaxmarl_suite.cli._session import Session
from site_pages._links import slug
from site_pages._page import Page, code, joined, sentence, table
from site_pages._repository import read
from site_pages._silent import silent

COLUMNS = ("id", "agents", "actions", "obs", "state", "limit", "optimum", "remark")


def family_pages(*, foreign: bool) -> list[Page]:
    """The list of families, and a page for each."""
    families = jaxmarl_envs.families()
    rows = [
        {"family": f"[{one.name}](environments/{one.name}.md)", "": one.summary, "needs": code(one.package)}
        for one in families
    ]
    listing = joined(
        [
            "# Environments",
            table(rows),
            "![Episodes as eval --render draws them](docs/images/environments.png)",
            "`jaxmarl-suite envs` lists all ids. Speed: [benchmarks](benchmarks/README.md#environment-stepping).",
        ]
    )
    overview = Page("environments/index.md", "Overview", "Environments", listing, "./")
    return [
        overview,
        *(
            Page(f"environments/{one.name}.md", one.name, "Environments", family_text(one, foreign=foreign), "./")
            for one in families
        ),
    ]


def family_text(family: Family, *, foreign: bool) -> str:
    """The page of one family; without sizes and options for those of other packages, unless `foreign`."""
    return joined(
        [
            f"# {family.name}",
            sentence(family.summary),
            f"<!-- picture: {family.name} -->",
            *readme_rows(family.name),
            "## Variants and spaces",
            _variants(family, foreign=foreign),
            f"Also: {family.pattern}." if family.pattern else "",
            "`obs` is the shape of one agent's observation, `state` the size of the global state.",
            *(_made(family) if foreign or not family.package else ()),
            "## Making one",
            _docs(f"{family.make.__module__}.{family.make.__qualname__}"),
            "## Speed",
            _speed(family.name),
        ]
    )


def draw_families(folder: Path) -> dict[str, Path]:
    """A picture of a random episode's last step but one for every family that can be drawn and is installed."""
    found = {}
    for family in jaxmarl_envs.families():
        try:
            env = jaxmarl_envs.make(f"{family.name}/{family.variants[0]}")
            path = folder / f"{family.name}.png"
            check_drawable(env, path)
            episode = jaxmarl_envs.record_episode(env, jaxmarl_envs.seed_key(0), max_steps=12)
            found[family.name] = jaxmarl_envs.render(env, episode, path, frame=-2)
        except ValueError:  # not installed, or nothing to draw
            continue
    return found


def readme_rows(family: str) -> list[str]:
    """What the table of the README says about a family."""
    rows = [line.strip("|").split("|") for line in read("README.md").splitlines() if line.startswith("| `")]
    found = [(row[0].strip(), row[1].strip()) for row in rows if len(row) == 2 and f"`{family}/" in row[0]]
    return [table([{"environments": ids, "": text} for ids, text in found])] if found else []


def _variants(family: Family, *, foreign: bool) -> str:
    if family.package and not (foreign and adapters.is_installed(family.package)):
        ids = ", ".join(code(f"{family.name}/{variant}") for variant in family.variants)
        return f"{ids}. Sizes: `jaxmarl-suite envs --family {family.name}`; needs `{adapters.installation(family.package)}`."
    with silent():
        entries = envs(["--family", family.name], Session(quiet=True))["environments"]
    columns = [name for name in COLUMNS if any(entry.get(name) is not None for entry in entries)]
    return table([{name: code(_shown(entry.get(name))) for name in columns} for entry in entries])


def _shown(value: Any) -> Any:
    return "" if value is None else value


def _made(family: Family) -> list[str]:
    """Rules, options and traced numbers of every class of the family's environments, as of its first variant."""
    first: dict[type, str] = {}
    for variant in family.variants if not family.package else family.variants[:1]:
        try:
            made: Any = jaxmarl_envs.make(f"{family.name}/{variant}")
        except (ImportError, ValueError):
            continue
        first.setdefault(type(getattr(made, "unwrapped", made)), f"{family.name}/{variant}")
    parts = ["## Rules, observations, rewards, options"]
    if family.evaluation_options:
        changed = ", ".join(f"`{name}={value}`" for name, value in family.evaluation_options.items())
        parts.append(f"Options of evaluations, unless others are given: {changed}.")
    for kind, env_id in first.items():
        options = [{"option": code(k), "default": code(v)} for k, v in jaxmarl_envs.options(env_id).items()]
        given = f"Options of {code(env_id)}, `--env.NAME` on the command line:" if options else ""
        parts += [f"### {kind.__name__}", _docs(f"{kind.__module__}.{kind.__qualname__}"), given, table(options)]
        parts.append(_numbers(jaxmarl_envs.make(env_id).default_params))
    return parts


def _numbers(params: Any) -> str:
    """A table of the traced numbers of an environment, with their docs; shared data and tables are left out."""
    if not dataclasses.is_dataclass(params):
        return ""
    meaning = field_docs(type(params))
    rows = []
    for field in dataclasses.fields(params):
        value = getattr(params, field.name)
        if isinstance(value, bool | int | float) and not isinstance(value, bool):
            rows.append({"number": code(field.name), "default": code(value), "meaning": meaning.get(field.name, "")})
    text = "Traced numbers, which may differ between lanes of one program (`--grid env.NAME=...` in a sweep):"
    return joined([text, table(rows)]) if rows else ""


def _docs(name: str) -> str:
    """The place of an object's docstring."""
    return f"::: {name}\n    options:\n      members: false"


def _speed(family: str) -> str:
    path = "benchmarks/README.md"
    headings = re.findall(r"(?m)^## (.+)$", read(path))
    parts = re.split(r"(?m)^## .+$", read(path))[1:]
    word = re.compile(rf"(?<![\w-]){re.escape(family)}(?![\w-])", re.IGNORECASE)
    named = [heading for heading, text in zip(headings, parts, strict=True) if word.search(heading + text)]
    return "Measured in: " + ", ".join(f"[{h}]({path}#{slug(h)})" for h in named or ["Environment stepping"]) + "."
