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
class ActContext:
    """What acting may read. In evaluations all of it is of the policy that acts, and of the environment that it acts in."""

    hp: Any  # the algorithm's config with its floats traced; one value per lane
    env_params: Any  # parameters of the environment; one value per lane, but for leaves that all lanes share
    clock: jax.Array
    """[] int32, index of this update in the phase; never batched over lanes while training. In evaluations that of the
    update which made the policy, with the horizon and the steps before of its phase, and batched: best policies of lanes
    are of different updates."""
    horizon: jax.Array  # [] int32, updates in the phase; batched as the clock is
    played_before: jax.Array = dataclasses.field(default_factory=lambda: jnp.zeros((), jnp.int32))
    """[] int32, environment steps in which the experience was played that the phase began with: those of the earlier phases
    whose whole state it goes on with; 0 where it began with `init` or an artifact. `Phase.played_before` says otherwise.
    Batched as the clock is, so that a branch on it stays one."""

    @property
    def progress(self) -> jax.Array:
        """[] float32 in [0, 1): how much of the phase is over."""
        return self.clock.astype(jnp.float32) / self.horizon.astype(jnp.float32)

    def played(self, steps_per_update: int) -> jax.Array:
        """[] int32, environment steps before this update, those of the phases that this one continues among them."""
        return self.played_before + self.clock * steps_per_update


@pytree_dataclass
class Context(ActContext):
    """What an update may read but does not own."""

    data: Any = dataclasses.field(default=None, kw_only=True)
    """What `Phase.data` made for this phase, shared by all lanes and never copied; None where it takes none. Only `update`
    reads it: shapes of states are known without."""


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


def episode_metrics(next_timestep: TimeStep, counted: jax.Array | None = None) -> dict[str, Average]:
    """Every metric of the environment by its name in rows, averaged over the episodes that ended in a rollout.

    Args:
      next_timestep: [...] what the steps led to.
      counted: [...] bool, steps to look at; None for all.
    """
    ended = next_timestep.done if counted is None else next_timestep.done & counted
    count = jnp.sum(ended.astype(jnp.float32))
    return {
        name: Average(jnp.sum(jnp.where(ended, value, 0.0)), count)
        for name, value in episode_names(next_timestep.metrics).items()
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
ActFn = Callable[[Policy, Carry, TimeStep, jax.Array, ActContext], tuple[jax.Array, Carry]]


@documented
class Stacked(NamedTuple):
    """K policies of equal structure, evaluated by one program however many there are: a library."""

    act: ActFn
    """Acts with one member, as `Algorithm.act` does with a policy."""
    members: Callable[[Policy], Any]
    """`policy -> members`: a pytree whose leaves have [K] in front."""
    init_carry: Callable[[int], Carry] | None = None
    """`n -> carry` of one member; None for the algorithm's own."""


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
    """Environment steps (not agent steps) that one `update` takes; 0 for one that never acts (see `Phase.updates`)."""
    extra_acts: Mapping[str, ActFn | Stacked] = {}
    """Further policies to report beside `act`, by name: a teacher, a search-free variant. Rows show `NAME/return`, of the
    members of a stack `NAME-0/return`, `NAME-1/return`, ..."""
    milestones: Callable[[Any], tuple[Milestone, ...]] = lambda config: ()
    """`config of a lane -> milestones`, held against the length of the phase before anything is trained."""
    sees_state: bool = False
    """Policies that plan in the environment itself: in evaluations, `act` and the further policies are given
    `(the environment's state [n, ...], timestep)` in place of the timestep."""


@documented
class Phase(NamedTuple):
    """One stage of a method. Stages are joined outside compiled code."""

    name: str
    """How rows and messages call it."""
    algorithm: Algorithm
    """What learns in it."""
    fraction: float = 1.0
    """Share of the run's environment steps, among the phases that take some."""
    begin: Callable[[Any, jax.Array, Context], State] | None = None
    """`(handed, key, ctx) -> state`, where `handed` is the artifact of the phase before if it has one, and its whole last
    state if not; None for `algorithm.init`."""
    trains_policy: bool = True
    """False where `act` does not learn yet (a student while its teacher is trained): figures leave it out there."""
    updates: int | None = None
    """Length of a phase that takes no environment steps (`env_steps_per_update` 0); None for one that does."""
    data: Callable[[Any], Any] | None = None
    """`dataset -> ctx.data` of a phase that learns from stored data (`--data`); raises ValueError for data that do not fit.
    None for a phase that takes none."""
    artifact: Callable[[State], Any] | None = None
    """`last state -> pytree`: what is left when the phase is over, as a teacher, a library or a model. It is kept in the run
    folder, and the next phase begins with it alone, in this run or in another one (`--start-from`). None where the
    next phase takes the whole state."""
    fits_any_task: bool = False
    """Whether other environments than the phase's may take its artifact, so long as its shapes are theirs."""
    played_before: int | None = None
    """Environment steps in which the experience was played that the first state holds, where it is not what follows from
    `begin` (see `Context.played_before`): of a store that came as an artifact, or was filled from data."""


@dataclasses.dataclass(frozen=True)
class AlgorithmSpec:
    """A registered method: its config type and how to build it for an environment."""

    name: str
    config: type
    make: Callable[..., tuple[Phase, ...]]
    """`(config, env) -> phases`; `(config, env, has_data) -> phases` where it `takes_data`. Raises ValueError for an
    environment that it does not support."""
    summary: str = ""
    actions: tuple[str, ...] = ("discrete",)
    """Kinds of actions supported: "discrete", "continuous"."""
    defaults: Any = None
    """The config a run starts from; `config()` if None."""
    takes_data: bool = False
    """Whether stored data may be given: `make` is then told whether they are, and some phase has `data`."""
    record: Callable[[Any, Environment, State], dict[str, Any]] | None = None
    """`(config, env, state) -> items`: one lane's last state as items [M, ...] by name, which `Phase.data` of other methods
    can read; None for none."""

    @property
    def default_config(self) -> Any:
        """The config a run starts from."""
        return self.config() if self.defaults is None else self.defaults

    def build(self, config: Any, env: Environment, *, has_data: bool = False) -> tuple[Phase, ...]:
        """The phases for `env`, after checking that the pairing is supported.

        Args:
          config: static sizes and settings.
          env: one instance.
          has_data: stored data are given.

        Raises:
          ValueError: naming algorithm, environment and what is supported.
        """
        kind = "discrete" if env.spec.is_discrete else "continuous"
        if kind not in self.actions:
            raise ValueError(
                f"{self.name} supports {' and '.join(self.actions)} actions, but {env.spec.id!r} has {kind} ones"
            )
        if has_data:
            self.check_takes_data()
        phases = self.make(config, env, has_data) if self.takes_data else self.make(config, env)
        _check_names(self.name, phases)
        _check_budgets(self.name, phases)
        return phases

    def check_takes_data(self) -> None:
        """Refuses a method that cannot learn from stored data."""
        if not self.takes_data:
            raise ValueError(f"{self.name} learns from its own play only, not from stored replay")


def _check_names(algorithm: str, phases: tuple[Phase, ...]) -> None:
    """Refuses a further policy whose name rows could not tell from another source, and two phases of one name."""
    for acts in (phase.algorithm.extra_acts for phase in phases):
        for name in acts:
            if not name or "/" in name or name == "learner":
                raise ValueError(
                    f"{algorithm} has a policy {name!r} in extra_acts; accepted: any name without '/', except 'learner'"
                )
            stack, _, index = name.rpartition("-")
            if isinstance(acts.get(stack), Stacked) and index.isdigit():
                raise ValueError(
                    f"{algorithm} has a policy {name!r} in extra_acts, which is the name of a member of {stack!r}; rename it"
                )
    names = [phase.name for phase in phases]
    if len(set(names)) < len(names):
        raise ValueError(f"{algorithm} has phases {', '.join(map(repr, names))}; each needs a name of its own")


def _check_budgets(algorithm: str, phases: tuple[Phase, ...]) -> None:
    """Refuses phases that are counted neither in environment steps nor in updates, or in both."""
    for name, phase in ((phase.name, phase) for phase in phases):
        takes_steps, updates = phase.algorithm.env_steps_per_update > 0, phase.updates
        if takes_steps and updates is not None:
            raise ValueError(
                f"phase {name!r} of {algorithm} takes environment steps, so its length is a fraction of the run's; "
                f"updates must be None, got {updates}"
            )
        if not takes_steps and not (isinstance(updates, int) and updates >= 1):
            raise ValueError(
                f"phase {name!r} of {algorithm} takes no environment steps: updates must be at least 1, got {updates}"
            )
