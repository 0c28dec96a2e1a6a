"""What is shipped, what it imports, and what importing it does."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# What each part may import of this repository, besides itself.
LAYERS = {
    "jaxmarl_envs": set(),
    "jaxmarl_suite.ops": {"jaxmarl_envs"},
    "jaxmarl_suite.networks": {"jaxmarl_envs", "jaxmarl_suite.ops"},
    "jaxmarl_suite.algorithms": {"jaxmarl_envs", "jaxmarl_suite.networks", "jaxmarl_suite.ops"},
    "jaxmarl_suite.runner": {"jaxmarl_envs", "jaxmarl_suite.algorithms"},
    "jaxmarl_suite.analysis": set(),
    "jaxmarl_suite.theory": {"jaxmarl_envs"},
    "jaxmarl_suite.cli": {
        *("jaxmarl_envs", "jaxmarl_suite.algorithms", "jaxmarl_suite.analysis", "jaxmarl_suite.runner"),
        "benchmarks",
    },
}


def sources(package):
    folder = ROOT / "envs" / package if package == "jaxmarl_envs" else ROOT / package.replace(".", "/")
    return sorted(folder.rglob("*.py"))


def imported(path):
    """Full names of everything that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_inside(name, package):
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("package", LAYERS)
def test_imports_point_downwards(package):
    allowed = {package, *LAYERS[package]}
    files = sources(package)
    assert files
    for path in files:
        for name in imported(path):
            if name.split(".")[0] in ("jaxmarl_envs", "jaxmarl_suite", "benchmarks", "experiments", "tests"):
                assert any(is_inside(name, other) for other in allowed), f"{path} imports {name}"


def test_layers_name_every_package():
    found = {f"jaxmarl_suite.{path.parent.name}" for path in (ROOT / "jaxmarl_suite").glob("*/__init__.py")}
    assert found | {"jaxmarl_envs"} == set(LAYERS)


def test_nothing_that_learns_knows_a_family():
    families = [path.parent.name for path in (ROOT / "envs" / "jaxmarl_envs").glob("*/_family.py")]
    assert {"matrix", "hallway"} <= set(families)
    for package in ("algorithms", "networks", "ops", "runner", "theory"):
        for path in sources(f"jaxmarl_suite.{package}"):
            for name in imported(path):
                assert not any(is_inside(name, f"jaxmarl_envs.{family}") for family in families), f"{path}: {name}"


def test_analysis_needs_no_jax():
    for path in sources("jaxmarl_suite.analysis"):
        assert not [name for name in imported(path) if name.split(".")[0] in ("jax", "flax", "optax", "chex")], path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without isolation and without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_both_packages_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for package, folder in (("jaxmarl_suite", ROOT), ("jaxmarl_envs", ROOT / "envs")):
        assert f"{package}/py.typed" in names
        expected = {str(path.relative_to(folder)) for path in (folder / package).rglob("*.py")}
        assert expected == {name for name in names if name.startswith(f"{package}/") and name.endswith(".py")}
    roots = {name.split("/")[0] for name in names}
    assert roots == {"jaxmarl_suite", "jaxmarl_envs", f"jaxmarl_suite-{PROJECT['version']}.dist-info"}


# An import that opens a socket fails; what is printed, and whether a backend was started, is looked at afterwards.
IMPORT = """
import socket, sys
def refuse(*args, **kwargs): raise RuntimeError("network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
{code}
if "jax" in sys.modules:
    from jax._src import xla_bridge
    assert not xla_bridge.backends_are_initialized(), "a JAX backend was started"
assert {module}.__file__.startswith(sys.path[1]), {module}.__file__
for name in {absent}: assert name not in sys.modules, name
"""
MAKE_ALL = "import jaxmarl_envs\nfor name in jaxmarl_envs.available(): jaxmarl_envs.make(name).spec"


@pytest.mark.parametrize(
    ("module", "code", "absent"),
    [
        ("jaxmarl_envs", "import jaxmarl_envs", ("jaxmarl_suite", "flax", "optax", "orbax", "matplotlib")),
        ("jaxmarl_envs", MAKE_ALL, ("jaxmarl_suite", "flax", "optax", "orbax", "matplotlib")),
        ("jaxmarl_suite", "import jaxmarl_suite", ("jax", "numpy", "flax", "matplotlib")),
        ("jaxmarl_suite", "import jaxmarl_suite\njaxmarl_suite.train", ("matplotlib", "wandb")),
        ("jaxmarl_suite", "import jaxmarl_suite.analysis", ("jax",)),
        ("jaxmarl_suite", "import jaxmarl_suite.cli", ("jax", "numpy", "tyro")),
    ],
)
def test_importing_from_the_wheel_does_nothing_else(wheel, tmp_path, module, code, absent):
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    script = IMPORT.format(code=code, module=module, absent=absent)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_versions_agree(wheel):
    version = PROJECT["version"]
    assert importlib.metadata.version(PROJECT["name"]) == version
    with zipfile.ZipFile(wheel) as file:
        metadata = file.read(f"jaxmarl_suite-{version}.dist-info/METADATA").decode()
    assert f"\nVersion: {version}\n" in metadata
    released = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert released[0] == version


def test_constraints_cover_the_dependencies():
    def plain(requirement):
        return re.split(r"[\[<>=!~ ]", requirement)[0].lower().replace("_", "-")

    pinned = {plain(line) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    extras = PROJECT["optional-dependencies"]
    assert {plain(r) for r in [*PROJECT["dependencies"], *extras["dev"], *extras["tensorboard"]]} <= pinned
