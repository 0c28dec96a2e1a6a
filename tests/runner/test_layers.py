"""Imports run downwards only: cli -> runner -> algorithms -> parts -> environments."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jaxmarl_envs
import pytest

import jaxmarl_suite

SUITE = Path(jaxmarl_suite.__file__).parent
ENVS = Path(jaxmarl_envs.__file__).parent
PARTS = ("networks", "replay", "search", "worldmodels", "ops")
# What each folder of the suite may import from the suite, besides itself.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "cli": ("tuning", "runner", "recipes", "algorithms", "analysis", "theory", *PARTS),
    "tuning": ("runner", "analysis", "algorithms"),
    "runner": ("recipes", "algorithms", *PARTS),
    "recipes": (),
    "algorithms": PARTS,
    "networks": ("ops",),
    "replay": ("ops",),
    "search": ("networks", "ops"),
    "worldmodels": ("networks", "replay", "ops"),
    "ops": (),
    "theory": ("ops",),
    "analysis": (),
}
FAMILIES = tuple(p.name for p in ENVS.iterdir() if p.is_dir() and p.name not in ("core", "adapters", "__pycache__"))


def imports(path: Path, root: Path, *, by_name: bool = True) -> Iterator[str]:
    """Full names of the modules that a file imports anywhere, names taken out of them included.

    With `by_name` also those that a registry has as text.
    """
    package = [root.name, *path.relative_to(root).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif by_name and isinstance(node, ast.Constant) and isinstance(node.value, str) and ":" in node.value:
            yield node.value.split(":")[0]  # "package.module:NAME", imported by name


def files(folder: Path) -> list[Path]:
    """Every Python file below a folder."""
    return sorted(folder.rglob("*.py"))


def layer(name: str) -> str | None:
    """The folder of the suite that a module is in."""
    parts = name.split(".")
    return parts[1] if parts[0] == "jaxmarl_suite" and len(parts) > 1 else None


def layers_on_disk() -> list[str]:
    """Folders and modules right below the suite."""
    found = {p.stem for p in SUITE.iterdir() if p.suffix == ".py" or (p.is_dir() and p.name != "__pycache__")}
    return sorted(found - {"__init__", "__main__"})


@pytest.mark.parametrize("name", layers_on_disk())
def test_imports_run_downwards(name: str) -> None:
    assert name in MAY_IMPORT, f"say in this test where {name!r} stands"
    paths = files(SUITE / name) if (SUITE / name).is_dir() else [SUITE / f"{name}.py"]
    wrong = [
        f"{path.relative_to(SUITE)} imports {imported}"
        for path in paths
        for imported in imports(path, SUITE)
        if (target := layer(imported)) in MAY_IMPORT and target not in (name, *MAY_IMPORT[name])
    ]
    assert wrong == []


@pytest.mark.parametrize("name", ["algorithms", "runner", *PARTS])
def test_no_environment_family_is_imported(name: str) -> None:
    wrong = [
        f"{path.relative_to(SUITE)} imports {imported}"
        for path in files(SUITE / name)
        for imported in imports(path, SUITE)
        if any(f"{imported}.".startswith(f"jaxmarl_envs.{family}.") for family in (*FAMILIES, "adapters"))
    ]
    assert wrong == []


def test_environments_stand_alone() -> None:
    assert {"matrix", "hallway"} <= set(FAMILIES)
    wrong = [
        f"{path.relative_to(ENVS)} imports {imported}"
        for path in files(ENVS)
        for imported in imports(path, ENVS)
        if imported.split(".")[0] == "jaxmarl_suite"
    ]
    assert wrong == []


BUILT_ON = {"imagination": {"ppo"}}
"""Families that are built on others."""


@pytest.mark.parametrize("family", ["core", "ppo", "q_learning", "off_policy", "planning", "imagination"])
def test_families_of_algorithms_know_the_core_only(family: str) -> None:
    on_disk = {p.name for p in (SUITE / "algorithms").iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert family in on_disk
    allowed = {family, "core", *BUILT_ON.get(family, ())}
    wrong = [
        f"{path.relative_to(SUITE)} imports {imported}"
        for path in files(SUITE / "algorithms" / family)
        for imported in imports(path, SUITE)
        if imported.startswith("jaxmarl_suite.algorithms")
        and (family, path.name) != ("core", "_registry.py")  # names every built-in method
        and [*imported.split("."), ""][2] not in allowed
    ]
    assert wrong == []


def circles(roots: tuple[Path, ...]) -> list[str] | None:
    """Modules that import each other in a circle, also inside functions or for types only; None for no circle."""
    paths = {path: root for root in roots for path in files(root)}
    named = {}
    for path, root in paths.items():
        parts = [root.name, *path.relative_to(root).with_suffix("").parts]
        named[".".join(parts).removesuffix(".__init__")] = path
    graph: dict[str, set[str]] = {name: set() for name in named}
    for name, path in named.items():
        for imported in imports(path, paths[path], by_name=False):
            known = imported if imported in named else imported.rpartition(".")[0]
            # A package's own face loads its modules; they may name the package that they are in.
            if known in named and known != name and not name.startswith(f"{known}."):
                graph[name].add(known)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return None


def test_no_modules_import_each_other() -> None:
    assert circles((SUITE, ENVS)) is None


def test_a_circle_is_found(tmp_path: Path) -> None:
    root = tmp_path / "jaxmarl_envs"
    root.mkdir()
    (root / "a.py").write_text("def draw():\n    from jaxmarl_envs.b import x\n")
    (root / "b.py").write_text("from jaxmarl_envs.a import draw\n")
    found = circles((root,))
    assert found is not None and set(found) == {"jaxmarl_envs.a", "jaxmarl_envs.b"}


def test_the_checks_see_a_wrong_import(tmp_path: Path) -> None:
    path = SUITE / "ops" / "imagined.py"
    source = "from jaxmarl_suite.runner import train\nfrom ..algorithms import x\nimport jaxmarl_envs.matrix\n"
    copy = tmp_path / "jaxmarl_suite" / "ops" / path.name
    copy.parent.mkdir(parents=True)
    copy.write_text(source)
    assert [layer(name) for name in imports(copy, tmp_path / "jaxmarl_suite")] == ["runner", "algorithms", None]


def test_analysis_needs_no_jax() -> None:
    code = "import sys, jaxmarl_suite.analysis; print('jax' in sys.modules, 'jaxmarl_suite.runner' in sys.modules)"
    path = ":".join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path, "PATH": ""}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("folder", ["algorithms", "runner"])
def test_functions_are_short(folder: str) -> None:
    lengths = {
        f"{path.relative_to(SUITE)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for path in files(SUITE / folder)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.end_lineno
    }
    assert len(lengths) > 100 and {name: n for name, n in lengths.items() if n > 80} == {}
