"""Cores and memory of containers, read from small trees of files like those of Linux."""

import os
from pathlib import Path

import pytest

from jaxmarl_suite.runner._machine import available_memory, usable_cores

GIB = 2**30


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


BOX = "sys/fs/cgroup/pod/box"
DOCKER = "sys/fs/cgroup/cpu/docker/a"
MACHINE = {"proc/meminfo": f"MemTotal: {64 * 2**20} kB\nMemAvailable: {32 * 2**20} kB\n"}
SECOND = MACHINE | {"proc/self/cgroup": "0::/pod/box\n"}
FIRST = MACHINE | {"proc/self/cgroup": "9:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n"}


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("files", "gib"),
    [
        (MACHINE, 32),
        (SECOND | {f"{BOX}/memory.max": "max", f"{BOX}/memory.current": "5"}, 32),
        (SECOND | {f"{BOX}/memory.max": f"{4 * GIB}\n", f"{BOX}/memory.current": f"{GIB}\n"}, 3),
        # A limit of a group above, some of whose memory is cached files.
        (
            SECOND
            | {
                "sys/fs/cgroup/pod/memory.max": f"{4 * GIB}",
                "sys/fs/cgroup/pod/memory.current": f"{3 * GIB}",
                "sys/fs/cgroup/pod/memory.stat": f"anon 7\ninactive_file {GIB}\n",
            },
            2,
        ),
        # Within a container the group's path is not there; the mount's root is the container's.
        (SECOND | {"sys/fs/cgroup/memory.max": f"{2 * GIB}", "sys/fs/cgroup/memory.current": "0"}, 2),
        (
            FIRST
            | {
                "sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes": f"{8 * GIB}",
                "sys/fs/cgroup/memory/docker/a/memory.usage_in_bytes": f"{3 * GIB}",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "1",
            },
            5,
        ),
        # More is in use than the limit allows.
        (SECOND | {"sys/fs/cgroup/memory.max": "5", "sys/fs/cgroup/memory.current": "9"}, 0),
    ],
)  # fmt: skip
def test_memory(files: dict[str, str], gib: float, tmp_path: Path) -> None:
    assert available_memory(tree(tmp_path, files)) == gib * GIB


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        (SECOND | {f"{BOX}/cpu.max": "max 100000"}, 8),
        (SECOND | {f"{BOX}/cpu.max": "150000 100000"}, 2),
        (SECOND | {"sys/fs/cgroup/pod/cpu.max": "10000 100000", f"{BOX}/cpu.max": "max 100000"}, 1),
        (SECOND | {"sys/fs/cgroup/cpu.max": "1600000 100000"}, 8),
        (
            FIRST
            | {
                "sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        (
            FIRST
            | {f"{DOCKER}/cpu.cfs_quota_us": "-1", f"{DOCKER}/cpu.cfs_period_us": "100000"},
            8,
        ),
    ],
)  # fmt: skip
def test_cores(files: dict[str, str], cores: int, tmp_path: Path) -> None:
    assert usable_cores(tree(tmp_path, files)) == cores


def test_this_machine() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert (available_memory() or 1) > 0
