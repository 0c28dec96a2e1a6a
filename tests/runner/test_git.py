"""The commit in versions.json: that of the folder one works in, and never a reason to fail."""

import shutil
import subprocess
from pathlib import Path

import pytest

from jaxmarl_suite.runner import _git
from jaxmarl_suite.runner._folder import versions
from jaxmarl_suite.runner._git import git_state

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git")


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in no checkout, whatever contains it."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("GIT_DIR", raising=False)
    return tmp_path


@needs_git
def test_commit_and_changes_of_a_checkout(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = outside / "deep" / "down"
    inside.mkdir(parents=True)
    git(outside, "init", "-q")
    assert git_state(inside) == {"commit": None, "dirty": False}
    (outside / "train.py").write_text("1")
    git(outside, "add", "train.py")
    git(outside, "commit", "-q", "-m", "first")
    commit = git(outside, "rev-parse", "HEAD")
    (inside / "metrics.jsonl").write_text("{}")  # not tracked
    assert git_state(inside) == {"commit": commit, "dirty": False}
    (outside / "train.py").write_text("2")
    assert git_state(inside) == {"commit": commit, "dirty": True}
    monkeypatch.chdir(inside)
    assert versions()["git"] == {"commit": commit, "dirty": True}


@needs_git
def test_no_checkout(outside: Path) -> None:
    assert git_state(outside) is None
    (outside / ".git").write_text("gitdir: nowhere")
    assert git_state(outside) is None


def test_git_that_fails_is_no_failure(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bin_folder = outside / "bin"
    bin_folder.mkdir()
    monkeypatch.setenv("PATH", str(bin_folder))
    assert git_state(outside) is None, "none is installed"
    (bin_folder / "git").write_text("#!/bin/sh\nread x < /dev/tty; exec /bin/sleep 60\n")
    (bin_folder / "git").chmod(0o755)
    monkeypatch.setattr(_git, "_SECONDS", 0.2)
    assert git_state(outside) is None, "it hangs"
    monkeypatch.setattr(_git, "_SECONDS", 5.0)
    (bin_folder / "git").write_text("#!/bin/sh\necho '# branch.oid abc'; exit 3\n")
    assert git_state(outside) is None, "it fails"
