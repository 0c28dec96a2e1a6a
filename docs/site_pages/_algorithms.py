"""One page per registered algorithm: equations and their functions, settings, results, deviations."""

import inspect
import re
import sys

from jaxmarl_suite import algorithms, recipes
from jaxmarl_suite.algorithms import AlgorithmSpec
from jaxmarl_suite.cli._catalogue import algos
from jaxmarl_suite.cli._session import Session
from site_pages._equations import equations_of, method_module, repository_path
from site_pages._page import Page, code, joined, sentence, table
from site_pages._repository import read, study_names, title_of
from site_pages._silent import silent


def algorithm_pages() -> list[Page]:
    """The list of algorithms, and a page for each."""
    specs = [algorithms.get(name) for name in algorithms.names()]
    rows = [
        {"algorithm": f"[{spec.name}](algorithms/{spec.name}.md)", "actions": ", ".join(spec.actions), "": spec.summary}
        for spec in specs
    ]
    listing = joined(
        ["# Algorithms", table(rows), "Papers and notes: [what is implemented](README.md#what-is-implemented)."]
    )
    overview = Page("algorithms/index.md", "Overview", "Algorithms", listing, "./")
    return [overview, *(Page(f"algorithms/{s.name}.md", s.name, "Algorithms", algorithm_text(s), "./") for s in specs)]


def algorithm_text(spec: AlgorithmSpec) -> str:
    """The page of one algorithm."""
    module = method_module(spec.make)
    package = module.rpartition(".")[0]
    path = repository_path(module)
    file = f"[{path}]({path})" if path else code(module)
    return joined(
        [
            f"# {spec.name}",
            f"{sentence(spec.summary)} Actions: {' and '.join(spec.actions)}. The method's file: {file}.",
            readme_row(spec.name),
            f"    jaxmarl-suite train {spec.name} --env ID",
            "## Method and deviations",
            document(module),
            _shared(module, package),
            "## Equations and functions",
            _equations(spec),
            "## Settings",
            "Settings with the same program in a sweep are traced: they may differ between lanes of one compiled program.",
            _settings(spec.name),
            "## Results",
            _results(spec.name),
        ]
    )


def document(module: str) -> str:
    """The docstring of a module, as Markdown."""
    return inspect.getdoc(sys.modules[module]) or ""


def readme_row(name: str) -> str:
    """Paper and notes of an algorithm, from the table of the README; nothing if it has no row."""
    for line in read("README.md").splitlines():
        first, *others = [part.strip() for part in line.strip("|").split("|")]
        if line.startswith("| `") and f"`{name}`" in re.findall(r"`[^`]+`", first) and len(others) == 2:
            return "; ".join(part for part in others if part) + "."
    return ""


def _shared(module: str, package: str) -> str:
    core = f"{package}._core"
    if core not in sys.modules or core == module:
        return ""
    return joined(
        [f"What it shares with its family ([{repository_path(core)}]({repository_path(core)})):", document(core)]
    )


def _equations(spec: AlgorithmSpec) -> str:
    found = equations_of(spec.make)
    if not found:
        return "Its functions have no formulas of their own."
    text = (
        "As the functions that its code may call state them: its own first, then those of its family, then shared ones."
    )
    parts = [text]
    for one in found:
        path = repository_path(one.module)
        parts += [f"[{code(one.name)}]({path}#__codelineno-0-{one.line}) in `{path}`:", one.text]
    return joined(parts)


def _settings(name: str) -> str:
    with silent():
        settings = algos([name], Session(quiet=True))["settings"]
    return table(
        [
            {
                "setting": code(s["field"]),
                "default": code(s["default"]),
                "in a sweep": s["in a sweep"],
                "meaning": s["meaning"],
            }
            for s in settings
        ]
    )


def _results(name: str) -> str:
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])", re.IGNORECASE)
    lines = []
    for study in study_names():
        path = f"experiments/{study}/README.md"
        if word.search(read(path)):
            lines.append(f"- [{study}]({path}): {title_of(read(path))}")
    for recipe in recipes.RECIPES.values():
        if recipe.algorithm == name:
            measured = "; ".join(f"{r.env}: {r.metric} {r.value:g} [{r.low:g}, {r.high:g}]" for r in recipe.results())
            lines.append(f"- recipe {code(recipe.name)}: {measured or 'no results stored'}")
    return "Studies that name it, and its recipes:\n\n" + "\n".join(lines) if lines else "No study names it."
