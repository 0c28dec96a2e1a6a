"""`summary.json`: the status of a run, and the last evaluations of its lanes."""

import time
from typing import Any

from jaxmarl_suite.runner._folder import TIMINGS, RunFolder


class Summary:
    """The contents of a run's summary, over all processes that have trained it; the time of a killed one is not known."""

    def __init__(self, folder: RunFolder) -> None:
        """Continues from the summary in the folder."""
        self._folder, self._before = folder, folder.summary()
        self._started = time.perf_counter()
        self.timings = {"compile_seconds": 0.0} | {k: self._before[k] for k in TIMINGS if k in self._before}
        self._lanes: dict[int, dict[str, Any]] = {}
        self.note(folder.rows())

    @property
    def seconds(self) -> float:
        """Seconds since this process began with the run."""
        return time.perf_counter() - self._started

    @property
    def was_finished(self) -> bool:
        """Whether an earlier process has finished the run."""
        return self._before.get("status") == "finished"

    def note(self, rows: list[dict[str, Any]]) -> None:
        """Records the newest evaluation of each lane."""
        for row in rows:
            if row["kind"] in ("eval", "absolute"):
                lane = self._lanes.setdefault(row["lane"], {name: row[name] for name in ("lane", "seed", "point")})
                lane[row["kind"]] = {name: row[name] for name in ("env_steps", "metrics", "cut") if name in row}

    def write(self, status: str, **more: Any) -> None:
        """Writes the summary into the folder."""
        content = {
            "status": status,
            "seconds": round(self._before.get("seconds", 0.0) + self.seconds, 3),
            **{name: round(seconds, 3) for name, seconds in self.timings.items()},
            **more,
            "lanes": [self._lanes[index] for index in sorted(self._lanes)],
        }
        self._folder.write("summary.json", content)
