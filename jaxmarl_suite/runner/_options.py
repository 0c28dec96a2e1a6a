"""The options of a run: how long, how often, how many."""

import dataclasses
import math
import typing
from typing import Any

from jaxmarl_suite.algorithms import check_integers
from jaxmarl_suite.runner._values import plain_value

MAX_LANES = 100_000
"""Maximum number of lanes in an experiment; larger numbers are taken for typing errors."""
MAX_EPISODES = 10**7
"""Maximum number of episodes in an evaluation."""
MAX_ROWS = 100_000
"""Maximum number of rows of one kind that a lane may log."""
MACHINE_OPTIONS = ("checkpoint_seconds", "keep_checkpoints", "devices", "memory_gib")
"""Fields of `TrainOptions` that may differ when a run is resumed: they do not affect results."""


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """How long, how often, how many: all settings of a run that do not belong to the algorithm."""

    total_steps: int = 100_000
    """Environment steps per lane, over all phases."""
    seeds: int = dataclasses.field(default=1, metadata={"most": None})  # limited together with `first_seed`
    """Independent repetitions of every grid point."""
    first_seed: int = dataclasses.field(default=0, metadata={"least": 0})
    """Seeds are `first_seed, first_seed + 1, ...`."""
    evaluations: int = dataclasses.field(default=20, metadata={"most": MAX_ROWS})
    """Number of evaluations, at equal intervals of environment steps."""
    eval_episodes: int = dataclasses.field(default=32, metadata={"most": MAX_EPISODES})
    """Greedy episodes per evaluation."""
    absolute_episodes: int = dataclasses.field(default=320, metadata={"least": 0, "most": MAX_EPISODES})
    """Greedy episodes of the best policy at the end (the absolute metric); 0 for none."""
    eval_max_steps: int = dataclasses.field(default=1000, metadata={"most": 10**7})
    """Steps after which an evaluation episode is cut if the environment has no limit of its own."""
    log_rows: int = dataclasses.field(default=100, metadata={"most": MAX_ROWS})
    """Rows of training metrics per lane."""
    checkpoint_seconds: float = 60.0
    """Minimum time between two checkpoints. One is also written at the end, on an interrupt, and for
    lasting_checkpoints."""
    keep_checkpoints: int = 3
    """Number of newest checkpoints to keep."""
    lasting_checkpoints: int = dataclasses.field(default=0, metadata={"least": 0})
    """Number of evaluations, equally spaced and including the last, whose checkpoint is kept for `eval --step`."""
    lanes_at_once: int | None = None
    """Lanes that run together; None for as many as fit in memory. The others follow in waves of the same program."""
    lane_mode: typing.Literal["auto", "map", "vmap", "envs"] = "auto"
    """How lanes run: one after another on each device ("map"), as a batch ("vmap"), or as one batch with the
    environments divided among the devices ("envs"). "auto": "map" on CPU, "vmap" elsewhere."""
    devices: int | None = None
    """Maximum number of devices to use; None for all."""
    data: str | None = None
    """Folder of stored replay to learn from, as made by "jaxmarl-suite dataset make RUN FOLDER". Q-learning then never
    plays; environment steps are counted as if its updates had played them."""
    start_from: str | None = None
    """Run whose artifact (a teacher, a library) this one starts from: it begins with the phase after it, and
    total_steps counts only the remaining phases. Lane i takes the artifact of lane i."""
    start_lane: int | None = dataclasses.field(default=None, metadata={"least": 0})
    """With start_from: the lane whose artifact all lanes take."""
    start_phase: str | None = None
    """With start_from: the phase to begin with; None for the last one that can begin from an artifact."""
    memory_gib: float | None = None
    """Memory that training may use, in GiB; None for 80 % of what is available. Copies for checkpoints need extra
    memory."""

    def __post_init__(self) -> None:
        """Converts the fields to plain Python values, and rejects invalid sizes."""
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


@dataclasses.dataclass(frozen=True)
class WandbOptions:
    """Where the `wandb` sink puts a run."""

    project: str = "jaxmarl-suite"
    """The W&B project."""
    group: str | None = None
    """The W&B group. Default: none, or with run_per_seed the name of the run folder."""
    tags: tuple[str, ...] = ()
    """W&B tags."""
    run_per_seed: bool = False
    """One W&B run for each lane (a seed of a setting), instead of one for all."""

    def __post_init__(self) -> None:
        """Rejects what is no text."""
        if isinstance(self.tags, str) or not all(isinstance(tag, str) and tag for tag in self.tags):
            raise ValueError(f"wandb tags must be a list of text, got {self.tags!r}")
        object.__setattr__(self, "tags", tuple(self.tags))
        if not isinstance(self.project, str) or not self.project:
            raise ValueError(f"wandb project must be a name, got {self.project!r}")
        if self.group is not None and (not isinstance(self.group, str) or not self.group):
            raise ValueError(f"wandb group must be a name or None, got {self.group!r}")
        if not isinstance(self.run_per_seed, bool):
            raise ValueError(f"wandb run_per_seed must be True or False, got {self.run_per_seed!r}")


def _number_or_none(name: str, value: Any, *, may_be_none: bool) -> None:
    if (value is not None or not may_be_none) and type(value) not in (int, float):
        raise ValueError(f"{name} must be a number, got {value!r}")
