"""One start of the command line, with the clock at the borders of its stages: `OUT COMMAND [...]`."""

import json
import sys
import time
from pathlib import Path
from typing import Any

marks = {"python": (time.monotonic(), time.process_time())}
compiler = {"programs": 0.0, "other": 0.0, "cache_hits": 0, "cache_misses": 0}


def mark(name: str) -> None:
    """Notes when something happened first: seconds of a clock that all processes share, CPU seconds of this one."""
    marks.setdefault(name, (time.monotonic(), time.process_time()))


def main(out: Path, argv: list[str]) -> int:
    """Runs the command."""
    import jax

    mark("jax")
    from jaxmarl_suite import algorithms, cli
    from jaxmarl_suite.runner import _sinks, _train

    algorithms.get(argv[1])
    mark("suite")

    choose, write = _train.choose_wave, _sinks.JsonlSink.write

    def choose_wave(*args: Any) -> Any:
        mark("programs")
        result = choose(*args)
        mark("compiled")
        return result

    def write_rows(self: Any, rows: Any) -> None:
        write(self, rows)
        if rows:
            mark("row")

    def duration(event: str, seconds: float, **_: Any) -> None:
        # Reading a program from the cache counts here, too.
        if event == "/jax/core/compile/backend_compile_duration" and "row" not in marks:
            is_program = "programs" in marks and "compiled" not in marks
            compiler["programs" if is_program else "other"] += seconds

    def event(name: str, **_: Any) -> None:
        kind = name.rpartition("/")[2]
        if name.startswith("/jax/compilation_cache/") and kind in compiler:
            compiler[kind] += 1

    _train.choose_wave = choose_wave
    _sinks.JsonlSink.write = write_rows
    jax.monitoring.register_event_duration_secs_listener(duration)
    jax.monitoring.register_event_listener(event)
    code = cli.main(argv)
    mark("end")
    out.write_text(json.dumps({"marks": marks, "compiler": compiler}), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
