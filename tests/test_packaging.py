"""What is shipped, and what importing it does (what may import what: `runner/test_layers.py`)."""

import importlib
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
    assert "jaxmarl_envs/rag/trace/calibration.json" in names
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
# Environments of other projects start a backend when they are made; those of this one do not, and neither does listing.
MAKE_ALL = """
import jaxmarl_envs
jaxmarl_envs.available()
for family in jaxmarl_envs.families():
    for variant in family.variants if not family.package else ():
        jaxmarl_envs.make(f"{family.name}/{variant}").spec
"""
FOREIGN = ("gymnax", "jaxmarl", "jumanji", "pettingzoo", "brax", "mujoco")


@pytest.mark.parametrize(
    ("module", "code", "absent"),
    [
        ("jaxmarl_envs", "import jaxmarl_envs", ("jaxmarl_suite", "flax", "optax", "orbax", "matplotlib")),
        ("jaxmarl_envs", MAKE_ALL, ("jaxmarl_suite", "flax", "optax", "orbax", "matplotlib", *FOREIGN)),
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
    tested = [r for name in ("dev", "tensorboard", "gymnax", "jaxmarl", "pettingzoo") for r in extras[name]]
    assert {plain(r) for r in [*PROJECT["dependencies"], *tested]} - {PROJECT["name"]} <= pinned  # dev takes in extras


PARTS = ("algorithms", "analysis", "cli", "networks", "ops", "replay", "runner", "search", "theory")
PUBLIC = ("jaxmarl_suite", "jaxmarl_envs", "jaxmarl_envs.core", "jaxmarl_envs.adapters", "jaxmarl_envs.palette")


@pytest.mark.parametrize("name", [*PUBLIC, *(f"jaxmarl_suite.{part}" for part in PARTS)])
def test_dir_of_a_package_is_its_interface(name: str) -> None:
    package = importlib.import_module(name)
    assert dir(package) == sorted(package.__all__)
    assert all(hasattr(package, public) for public in dir(package))


@pytest.mark.parametrize("name", [*PUBLIC, *(f"jaxmarl_suite.{part}" for part in PARTS)])
def test_fields_of_public_tuples_have_docs(name: str) -> None:
    package = importlib.import_module(name)
    for cls in (getattr(package, public) for public in dir(package)):
        for field in getattr(cls, "_fields", ()):
            text = getattr(cls, field).__doc__
            assert text and not text.startswith("Alias for field"), f"{cls.__name__}.{field}"


def test_docs_are_those_of_the_source() -> None:
    from jaxmarl_suite.algorithms import Average, Phase

    assert Average.weight.__doc__ == "[] float32"
    assert str(Phase.fraction.__doc__).startswith("Share of the run's environment steps")
