"""Measuring processes: flags of the compiler and the number of host devices are fixed once JAX has started."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Flags that the runner's `configure` sets.
_OURS = ("xla_force_host_platform_device_count", "xla_cpu_multi_thread_eigen", "xla_backend_extra_options")


def child_environment(*, keep_flags: bool = True, **more: str) -> dict[str, str]:
    """Environment variables of a process that can import the suite.

    Args:
      keep_flags: False takes away what the runner's `configure` would leave as it is: the process shows JAX as it is by
        itself, or what `configure` makes of it.
      more: set as they are.
    """
    env = dict(os.environ)
    paths = [str(ROOT), str(ROOT / "envs"), env.get("PYTHONPATH", "")]
    env["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
    if not keep_flags:
        flags = env.get("XLA_FLAGS", "").split()
        env["XLA_FLAGS"] = " ".join(flag for flag in flags if not any(name in flag for name in _OURS))
        env.pop("JAX_NUM_CPU_DEVICES", None)
    return env | more


def pin() -> None:
    """Keeps this process on one core, where the system can; before JAX counts cores and starts threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


class Worker:
    """A process that answers requests, one JSON object a line."""

    def __init__(self, module: str, task: Mapping[str, Any], env: Mapping[str, str]) -> None:
        """Starts `python -m MODULE --worker TASK`."""
        command = [sys.executable, "-m", module, "--worker", json.dumps(task)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, request: Mapping[str, Any]) -> Any:
        """The answer to one request.

        Raises:
          RuntimeError: the process ended instead.
        """
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a measuring process ended with exit code {self._process.wait()}")
        return json.loads(line)

    def __enter__(self) -> "Worker":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def is_worker() -> bool:
    """Whether this process was started by a `Worker`."""
    return sys.argv[1:2] == ["--worker"]


def serve(start: Callable[[dict[str, Any]], Callable[[dict[str, Any]], Any]]) -> None:
    """The other end of a `Worker`: `start(task)` gives what answers requests."""
    # Whatever else is printed must not come between answers, also by code that goes back to `sys.__stdout__`.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    answer = start(json.loads(sys.argv[2]))
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)
