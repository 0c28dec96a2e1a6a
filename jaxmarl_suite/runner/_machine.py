"""The cores and memory that the process may use, including the limits of a container's control groups."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
_UNLIMITED = 2**60
"""Version 1 expresses "no limit" as a number of about 2**63."""


def usable_cores(root: Path = ROOT) -> int:
    """Cores that the process may run on, at least 1: those of the affinity mask, or fewer by the quotas of its control
    groups.

    Args:
      root: the folder that contains `proc` and `sys`.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _groups(root, "cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")  # version 2: "max 100000" without a limit
        if not quota:
            quota, period = (
                _read(folder / "cpu.cfs_quota_us"),
                _read(folder / "cpu.cfs_period_us"),
            )  # -1 without a limit
        if quota.isdecimal() and period.isdecimal() and int(period) > 0:
            cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    return cores


def available_memory(root: Path = ROOT) -> int | None:
    """Bytes that the process may still allocate: the machine's available memory, or less by its control groups' limits.

    Args:
      root: the folder that contains `proc` and `sys`.

    Returns:
      None if the system does not say.
    """
    found = []
    for line in _read(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            found.append(1024 * int(value.split()[0]))
    names = (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    )
    for folder in _groups(root, "memory"):
        for limit_name, usage_name, cache_name in names:
            limit, usage = _read(folder / limit_name), _read(folder / usage_name)
            if limit.isdecimal() and usage.isdecimal() and int(limit) < _UNLIMITED:
                rows = (line.split() for line in _read(folder / "memory.stat").splitlines())
                cached = sum(int(row[1]) for row in rows if len(row) == 2 and row[0] == cache_name)
                found.append(max(int(limit) - int(usage) + cached, 0))  # cached files are dropped when memory is needed
    return min(found) if found else None


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Existing folders of the process's control group and its ancestors, of both versions.

    Inside a container the group's path may be that of the host; then the root of the mount is the container's group.
    """
    mount = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        bases = [mount / controllers, mount / controller] if controllers else [mount, mount / "unified"]
        for base in dict.fromkeys(bases):
            below = Path(path.lstrip("/"))
            for folder in (base / below, *(base / parent for parent in below.parents)):
                if folder.is_dir():
                    yield folder


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
