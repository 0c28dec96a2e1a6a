"""The types between algorithms and the runner."""

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, TimeStep, pytree_dataclass
from jaxmarl_envs.core import documented

State = Any
Policy = Any
Carry = Any
_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def hyperparameters(cls: type[_T]) -> type[_T]:
    """A frozen dataclass whose `float` fields are traced and may differ between lanes; every other field is static.

    A float that must be static is declared with `field(metadata={"static": True})`.
    """
    cls = dataclasses.dataclass(frozen=True)(cls)
    traced = list(traced_fields(cls))
    static = [f.name for f in dataclasses.fields(cls) if f.name not in traced]  # type: ignore[arg-type]
    return jax.tree_util.register_dataclass(cls, data_fields=traced, meta_fields=static)


def field_types(config: Any) -> dict[str, Any]:
    """Types of a dataclass's fields by name, also where its module postpones annotations."""
    hints = typing.get_type_hints(config if isinstance(config, type) else type(config))
    return {f.name: hints[f.name] for f in dataclasses.fields(config)}


def traced_fields(config: Any) -> tuple[str, ...]:
    """Names of the fields of a `hyperparameters` dataclass (or its type) that may differ between lanes."""
    types = field_types(config)
    return tuple(
        f.name for f in dataclasses.fields(config) if types[f.name] is float and not f.metadata.get("static", False)
    )


@pytree_dataclass
class Context:
    """What an update may read but does not own."""

    hp: Any  # the algorithm's config with its floats traced; one value a lane
    env_params: Any  # parameters of the environment; one value a lane
    data: Any  # offline data, traces: shared by all lanes, never copied
    clock: jax.Array
    """[] int32, index of this update in the phase; never batched over lanes. In evaluations that of the update which made
    the policy (0 where an earlier phase did), and batched: best policies of lanes are of different updates."""
    horizon: jax.Array  # [] int32, updates in the phase; never batched over lanes
    played_before: jax.Array = dataclasses.field(default_factory=lambda: jnp.zeros((), jnp.int32))
    """[] int32, environment steps of the earlier phases whose state this one began with, and with it their experience; 0
    where it began with `init`. Never batched over lanes, so that a branch on it stays one, as on the clock. A phase
    whose `begin` keeps other experience than that, or none, replaces it in its own functions."""

    @property
    def progress(self) -> jax.Array:
        """[] float32 in [0, 1): how much of the phase is over."""
        return self.clock.astype(jnp.float32) / self.horizon.astype(jnp.float32)

    def played(self, steps_per_update: int) -> jax.Array:
        """[] int32, environment steps before this update, those of the phases that this one continues among them."""
        return self.played_before + self.clock * steps_per_update


@documented
class Average(NamedTuple):
    """A metric that is averaged with a weight; it is empty (null in the logs) where no weight was seen."""

    total: jax.Array  # [] float32
    weight: jax.Array  # [] float32


@documented
class Metrics(NamedTuple):
    """What an update reports, by source, so that no name of the one hides a name of the other.

    An algorithm that reports nothing of episodes may return its own numbers as a plain mapping: all are the learner's.
    """

    episodes: Mapping[str, Average]
    """Of the environment's episodes that ended (see `episode_metrics`). Rows show these names as they are."""
    learner: Mapping[str, jax.Array | Average]
    """What the algorithm computed. Rows show `learner/NAME`."""


Reported = Metrics | Mapping[str, jax.Array | Average]


def episode_metrics(led_to: TimeStep, counted: jax.Array | None = None) -> dict[str, Average]:
    """Every metric of the environment by its name in rows, averaged over the episodes that ended in a rollout.

    Args:
      led_to: [...] steps with what they led to.
      counted: [...] bool, steps to look at; None for all.
    """
    ended = led_to.done if counted is None else led_to.done & counted
    count = jnp.sum(ended.astype(jnp.float32))
    return {
        name: Average(jnp.sum(jnp.where(ended, value, 0.0)), count)
        for name, value in episode_names(led_to.metrics).items()
    }


def episode_names(metrics: Mapping[str, _T]) -> dict[str, _T]:
    """Metrics of an environment by their names in rows: `return` and `length` for what `EpisodeStatistics` counts.

    Raises:
      ValueError: where two metrics get the same name, or a name holds "/", which rows put between a source and a name.
    """
    named: dict[str, _T] = {}
    for name, value in metrics.items():
        shown = _ROW_NAMES.get(name, name)
        if "/" in shown:
            raise ValueError(f"the environment's metric {name!r} needs a name without '/'")
        if shown in named:
            raise ValueError(f"the environment has a metric {shown!r}, a name that rows use for {_COUNTED[shown]!r}")
        named[shown] = value
    return named


_ROW_NAMES = {"episode_return": "return", "episode_length": "length"}
_COUNTED = {shown: name for name, shown in _ROW_NAMES.items()}
ActFn = Callable[[Policy, Carry, TimeStep, jax.Array, Context], tuple[jax.Array, Carry]]


@documented
class Milestone(NamedTuple):
    """When something in an algorithm happens for the first time, where a setting in absolute units decides it."""

    setting: str
    """Field of the config that decides it."""
    event: str
    """What happens, as "the first gradient step"."""
    env_steps: float
    """Environment steps of the phase after which it has happened."""
    is_vital: bool = False
    """Nothing is learned before it: a run that ends earlier is refused. Others are warned of."""


@documented
class Algorithm(NamedTuple):
    """Pure functions of one learner; the runner maps them over lanes (seeds and hyper-parameter points).

    It has no loop over updates, no logging and no device code.
    """

    init: Callable[[jax.Array, Context], State]
    """`(key, ctx) -> state`."""
    update: Callable[[State, Context], tuple[State, Reported]]
    """`(state, ctx) -> (state, metrics)`: collects `env_steps_per_update` steps and learns from them."""
    policy: Callable[[State], Policy]
    """What acting needs: usually parameters only. Must have the same structure in all phases of a method."""
    init_carry: Callable[[int], Carry]
    """`n -> carry`: memory for acting in n environments, at the start of their episodes."""
    act: ActFn
    """`(policy, carry, timestep [n, ...], key, ctx) -> (action [n, N], carry)`: the method's policy as it is
    evaluated and deployed; greedy unless the method says otherwise."""
    env_steps_per_update: int
    """Environment steps (not agent steps) that one `update` takes."""
    extra_acts: Mapping[str, ActFn] = {}
    """Further policies to report beside `act`, by name: a teacher, a search-free variant. Rows show `NAME/return`."""
    milestones: Callable[[Any], tuple[Milestone, ...]] = lambda config: ()
    """`config of a lane -> milestones`, held against the length of the phase before anything is trained."""


@documented
class Phase(NamedTuple):
    """One stage of a method. Stages are joined outside compiled code."""

    name: str
    """How rows and messages call it."""
    algorithm: Algorithm
    """What learns in it."""
    fraction: float = 1.0
    """Share of the run's environment steps."""
    begin: Callable[[State, jax.Array, Context], State] | None = None
    """`(last state of the phase before, key, ctx) -> state`; None for the first phase, which uses `algorithm.init`."""
    trains_policy: bool = True
    """False where `act` does not learn yet (a student while its teacher is trained): figures leave it out there."""


@dataclasses.dataclass(frozen=True)
class AlgorithmSpec:
    """A registered method: its config type and how to build it for an environment."""

    name: str
    config: type
    make: Callable[[Any, Environment], tuple[Phase, ...]]
    """`(config, env) -> phases`; raises ValueError for an environment it does not support."""
    summary: str = ""
    actions: tuple[str, ...] = ("discrete",)
    """Kinds of actions supported: "discrete", "continuous"."""
    defaults: Any = None
    """The config a run starts from; `config()` if None."""
    make_stored: Callable[[Any, Environment], tuple[Phase, ...]] | None = None
    """`(config, env) -> phases` that learn from stored replay alone, `ctx.data`; None if it cannot. Only their updates read
    it: evaluations are made without."""
    read_stored: Callable[[Any, Environment, Any], Any] | None = None
    """`(config, env, dataset) -> ctx.data` for these phases; raises ValueError for data of something else."""
    record: Callable[[State], dict[str, Any]] | None = None
    """One lane's last state as items [M, ...] by name that `read_stored` of such methods can read; None for none."""

    @property
    def default_config(self) -> Any:
        """The config a run starts from."""
        return self.config() if self.defaults is None else self.defaults

    def build(self, config: Any, env: Environment) -> tuple[Phase, ...]:
        """The phases for `env`, after checking that the pairing is supported.

        Raises:
          ValueError: naming algorithm, environment and what is supported.
        """
        kind = "discrete" if env.spec.is_discrete else "continuous"
        if kind not in self.actions:
            raise ValueError(
                f"{self.name} supports {' and '.join(self.actions)} actions, but {env.spec.id!r} has {kind} ones"
            )
        return _check_names(self.name, self.make(config, env))

    def build_stored(self, config: Any, env: Environment) -> tuple[Phase, ...]:
        """The phases for `env` that learn from stored replay alone.

        Raises:
          ValueError: where the method learns from its own play only, or the pairing is not supported.
        """
        self.check_stored()
        self.build(config, env)  # refuses what is not supported either way
        assert self.make_stored is not None
        return _check_names(self.name, self.make_stored(config, env))

    def stored_data(self, config: Any, env: Environment, dataset: Any) -> Any:
        """The `ctx.data` that the phases of `build_stored` learn from.

        Raises:
          ValueError: where the method learns from its own play only, or the data is not of `env`.
        """
        self.check_stored()
        assert self.read_stored is not None
        return self.read_stored(config, env, dataset)

    def check_stored(self) -> None:
        """Refuses a method that cannot learn from stored replay."""
        if self.make_stored is None or self.read_stored is None:
            raise ValueError(f"{self.name} learns from its own play only, not from stored replay")


def _check_names(algorithm: str, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """The phases, unless a further policy has a name that rows could not tell from another source."""
    for name in (name for phase in phases for name in phase.algorithm.extra_acts):
        if not name or "/" in name or name == "learner":
            raise ValueError(
                f"{algorithm} has a policy {name!r} in extra_acts; accepted: any name without '/', except 'learner'"
            )
    return phases
