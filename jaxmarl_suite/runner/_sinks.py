"""Where rows go: JSONL always, TensorBoard and Weights & Biases on request, behind one interface."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

Row = Mapping[str, Any]


class Sink(Protocol):
    """Takes the rows of a run as they come (see `analysis.load_run` for their fields)."""

    def write(self, rows: Sequence[Row]) -> None:
        """Takes some rows."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class JsonlSink:
    """One JSON object a line, flushed after every call."""

    def __init__(self, path: Path) -> None:
        """Appends to `path`."""
        self._file = path.open("a", encoding="utf-8")

    def write(self, rows: Sequence[Row]) -> None:
        """Appends the rows; numbers that JSON does not have become null."""
        for row in rows:
            metrics = {k: v if v is not None and math.isfinite(v) else None for k, v in row["metrics"].items()}
            self._file.write(json.dumps({**row, "metrics": metrics}, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TensorBoardSink:
    """One TensorBoard run a lane, below `DIRECTORY/tensorboard`. Needs the extra `tensorboard`."""

    def __init__(self, directory: Path) -> None:
        """Imports tensorboardX; raises ValueError naming the extra where it is missing."""
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ValueError(
                'the tensorboard sink needs tensorboardX: pip install "jaxmarl-suite[tensorboard]"'
            ) from None
        self._make = lambda lane: SummaryWriter(str(directory / "tensorboard" / f"lane-{lane:04d}"))
        self._writers: dict[int, Any] = {}

    def write(self, rows: Sequence[Row]) -> None:
        """Adds every metric as a scalar over environment steps."""
        for row in rows:
            writer = self._writers.setdefault(row["lane"], None) or self._make(row["lane"])
            self._writers[row["lane"]] = writer
            for name, value in row["metrics"].items():
                if value is not None:
                    writer.add_scalar(f"{row['kind']}/{name}", value, row["env_steps"])

    def close(self) -> None:
        """Flushes every lane."""
        for writer in self._writers.values():
            writer.close()


class WandbSink:
    """One Weights & Biases run; a lane's metrics are prefixed with its index. Needs the extra `wandb`."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        """Imports wandb; raises ValueError naming the extra where it is missing. Obeys WANDB_MODE=offline."""
        try:
            import wandb
        except ImportError:
            raise ValueError('the wandb sink needs wandb: pip install "jaxmarl-suite[wandb]"') from None
        self._run = wandb.init(project="jaxmarl-suite", dir=str(directory), config=dict(config), name=directory.name)

    def write(self, rows: Sequence[Row]) -> None:
        """Logs rows of the same environment step together."""
        by_step: dict[int, dict[str, Any]] = {}
        for row in rows:
            prefix = f"lane-{row['lane']:04d}/{row['kind']}"
            entry = by_step.setdefault(row["env_steps"], {})
            entry |= {f"{prefix}/{k}": v for k, v in row["metrics"].items() if v is not None}
        for step, metrics in sorted(by_step.items()):
            self._run.log({**metrics, "env_steps": step})

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


def make_sinks(names: tuple[str, ...], directory: Path, config: Mapping[str, Any]) -> list[Sink]:
    """The sinks called `names`, after the JSONL one.

    Raises:
      ValueError: for an unknown name, or where a sink's package is missing.
    """
    known: dict[str, Callable[[], Sink]] = {
        "tensorboard": lambda: TensorBoardSink(directory),
        "wandb": lambda: WandbSink(directory, config),
    }
    for name in names:
        if name not in known:
            raise ValueError(f"unknown sink {name!r}; there are: {', '.join(known)} (JSONL is always written)")
    extra: list[Sink] = [known[name]() for name in names]
    return [JsonlSink(directory / "metrics.jsonl"), *extra]
