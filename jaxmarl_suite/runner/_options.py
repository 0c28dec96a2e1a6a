"""How long, how often, how many: the options of a run."""

import dataclasses
import math
import typing
from typing import Any

from jaxmarl_suite.algorithms import check_integers
from jaxmarl_suite.runner._values import plain_value

MAX_LANES = 100_000
"""Most lanes of an experiment: more is taken for a slip of the keyboard."""
MAX_EPISODES = 10**7
"""Most episodes of an evaluation."""
MAX_ROWS = 100_000
"""Most rows of a kind that a lane may log."""
MACHINE_OPTIONS = ("checkpoint_seconds", "keep_checkpoints", "devices", "memory_gib")
"""Fields of `TrainOptions` that may differ when a run is resumed: they change no result."""


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """How long, how often, how many: everything about a run that is not the algorithm's."""

    total_steps: int = 100_000
    """Environment steps of every lane, all phases together."""
    seeds: int = dataclasses.field(default=1, metadata={"most": None})  # bounded together with `first_seed`
    """Independent repetitions of every grid point."""
    first_seed: int = dataclasses.field(default=0, metadata={"least": 0})
    """Seeds are `first_seed, first_seed + 1, ...`."""
    evaluations: int = dataclasses.field(default=20, metadata={"most": MAX_ROWS})
    """Evaluations, at equal intervals of environment steps."""
    eval_episodes: int = dataclasses.field(default=32, metadata={"most": MAX_EPISODES})
    """Greedy episodes an evaluation."""
    absolute_episodes: int = dataclasses.field(default=320, metadata={"least": 0, "most": MAX_EPISODES})
    """Greedy episodes of the best policy at the end (the absolute metric); 0 for none."""
    eval_max_steps: int = dataclasses.field(default=1000, metadata={"most": 10**7})
    """Steps after which an evaluation episode is cut where the environment has no limit of its own."""
    log_rows: int = dataclasses.field(default=100, metadata={"most": MAX_ROWS})
    """Rows of training metrics a lane."""
    checkpoint_seconds: float = 60.0
    """Least time between two checkpoints; besides, one is written at the end and on an interrupt, and lasting ones."""
    keep_checkpoints: int = 3
    """How many of the newest checkpoints stay."""
    lasting_checkpoints: int = dataclasses.field(default=0, metadata={"least": 0})
    """So many evaluations, at equal distances and always the last, leave a checkpoint that stays: `eval --step`."""
    lanes_at_once: int | None = None
    """Lanes that run together; None for as many as fit in memory. The others follow in waves of the same program."""
    lane_mode: typing.Literal["auto", "map", "vmap", "envs"] = "auto"
    """Lanes of one device one after another ("map"), batched ("vmap"), or one batch with its environments spread over the
    devices ("envs"). "auto": "map" on CPU, "vmap" elsewhere."""
    devices: int | None = None
    """Most devices to use; None for all."""
    data: str | None = None
    """Folder of stored replay to learn from; "jaxmarl-suite record RUN FOLDER" makes one. Q-learning then never plays, and
    environment steps are counted as if its updates had."""
    start_from: str | None = None
    """Run whose artifact (a teacher, a library) this one starts from: it begins with the phase after it, and total_steps are
    those of the phases that are left. Lane i takes the artifact of lane i."""
    start_lane: int | None = dataclasses.field(default=None, metadata={"least": 0})
    """With start_from: the lane whose artifact all lanes take."""
    start_phase: str | None = None
    """With start_from: the phase to begin with; None for the last one that can begin so."""
    memory_gib: float | None = None
    """Memory that training may use, in GiB; None for 80 % of what is there. Copies for checkpoints come on top."""

    def __post_init__(self) -> None:
        """Makes Python's own values of the fields, and refuses sizes that cannot work."""
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, plain_value(field.name, getattr(self, field.name)))
        for name in ("checkpoint_seconds", "memory_gib"):
            _number_or_none(name, getattr(self, name), may_be_none=name == "memory_gib")
        for name, kind in (("data", "path of a folder"), ("start_from", "path of a run"), ("start_phase", "name")):
            if not isinstance(getattr(self, name), str | None):
                raise ValueError(f"{name} must be the {kind}, got {getattr(self, name)!r}")
        for name in ("start_lane", "start_phase"):
            if self.start_from is None and getattr(self, name) is not None:
                raise ValueError(f"{name} needs start_from, the run to start from; got {getattr(self, name)!r} without")
        check_integers(self)
        if self.lasting_checkpoints > self.evaluations:
            raise ValueError(
                f"lasting_checkpoints must not exceed the {self.evaluations} evaluations, got {self.lasting_checkpoints}"
            )
        if self.first_seed + self.seeds > 2**31:
            raise ValueError(f"seeds must stay below 2**31, got {self.first_seed + self.seeds - 1}")
        if not 0 <= self.checkpoint_seconds < math.inf:
            raise ValueError(f"checkpoint_seconds must be finite and not negative, got {self.checkpoint_seconds}")
        if self.memory_gib is not None and not 0 < self.memory_gib < math.inf:
            raise ValueError(f"memory_gib must be finite and positive, got {self.memory_gib}")
        if self.lane_mode not in ("auto", "map", "vmap", "envs"):
            raise ValueError(f"lane_mode must be one of auto, map, vmap, envs, got {self.lane_mode!r}")


def _number_or_none(name: str, value: Any, *, may_be_none: bool) -> None:
    if (value is not None or not may_be_none) and type(value) not in (int, float):
        raise ValueError(f"{name} must be a number, got {value!r}")
