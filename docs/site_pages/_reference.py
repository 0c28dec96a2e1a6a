"""The reference: a page per public package, with the docstrings of its public names."""

import ast
from collections.abc import Iterator
from pathlib import Path

from site_pages._page import ROOT, Page, joined

PACKAGES = {"jaxmarl_suite": "jaxmarl_suite", "jaxmarl_envs": "envs/jaxmarl_envs"}
"""Packages and their folders."""


def reference_pages() -> list[Page]:
    """A page for each package with a list of public names, and for each public module beside them."""
    pages = []
    for root, folder in PACKAGES.items():
        for name, names in _interfaces(root, ROOT / folder):
            options = "".join(f"\n        - {public}" for public in names)
            text = f"::: {name}\n    options:\n      members:{options}"
            pages.append(Page(f"reference/{name}.md", name, "Reference", joined([f"# {name}", text]), "./"))
    return pages


def _interfaces(name: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    names = public_names(folder / "__init__.py")
    if names:
        yield name, names
    for path in sorted(folder.iterdir()):
        public = not path.name.startswith(("_", "."))
        if public and path.suffix == ".py" and (names := public_names(path)):
            yield f"{name}.{path.stem}", names
        if public and (path / "__init__.py").exists():
            yield from _interfaces(f"{name}.{path.name}", path)


def public_names(path: Path) -> list[str]:
    """`__all__` of a file; empty if it has none."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return []
