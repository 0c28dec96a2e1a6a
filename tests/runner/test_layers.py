"""Imports run downwards only: cli -> runner -> algorithms -> parts -> environments."""

import ast
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
    "cli": ("runner", "algorithms", "analysis", "theory", *PARTS),
    "runner": ("algorithms", *PARTS),
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


def imports(path: Path, root: Path) -> Iterator[str]:
    """Full names of the modules that a file imports anywhere, names taken out of them included."""
    package = [root.name, *path.relative_to(root).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ":" in node.value:
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
