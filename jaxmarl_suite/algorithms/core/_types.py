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
    """Types of a dataclass's fields by name, also if its module postpones annotations."""
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
    """What acting may read. In evaluations it describes the policy that acts and the environment that it acts in."""

    hp: Any  # the algorithm's config with its floats traced; one value per lane
    env_params: Any  # parameters of the environment; one value per lane, except for shared leaves
    clock: jax.Array
    """[] int32, index of this update in the phase; not batched over lanes during training. In evaluations it is the
    update that produced the policy, with the `horizon` and `played_before` of its phase; then it is batched, because
    the best policies of different lanes come from different updates."""
    horizon: jax.Array  # [] int32, updates in the phase; batched like the clock
    played_before: jax.Array = dataclasses.field(default_factory=lambda: jnp.zeros((), jnp.int32))
    """[] int32, environment steps in which the phase's initial experience was collected: those of earlier phases if it
    continues with their whole state, 0 if it begins with `init` or an artifact, unless `Phase.played_before` overrides
    it. Batched like the clock, so that a branch on it stays a branch."""

    @property
    def progress(self) -> jax.Array:
        """[] float32 in [0, 1): the fraction of the phase that is over."""
        return self.clock.astype(jnp.float32) / self.horizon.astype(jnp.float32)

    def played(self, steps_per_update: int) -> jax.Array:
        """[] int32, environment steps before this update, including those of earlier phases that this one continues."""
        return self.played_before + self.clock * steps_per_update


@pytree_dataclass
class Context(ActContext):
    """What an update may read but does not own."""

    data: Any = dataclasses.field(default=None, kw_only=True)
    """The result of `Phase.data` for this phase, shared by all lanes and never copied; None if the phase takes no data.
    Only `update` reads it: shapes of states must be known without it."""


@documented
class Average(NamedTuple):
    """A metric that is a weighted average; it is empty (null in the logs) if the total weight is 0."""

    total: jax.Array  # [] float32
    weight: jax.Array  # [] float32


@documented
class Metrics(NamedTuple):
    """The metrics of an update, by source, so that no name hides one of another source.

    An algorithm without episode metrics may return a plain mapping, which is treated as `learner`.
    """

    episodes: Mapping[str, Average]
    """Metrics of the environment's episodes that ended (see `episode_metrics`). Rows use these names unchanged."""
    learner: Mapping[str, jax.Array | Average]
    """Metrics that the algorithm computed. Rows use `learner/NAME`."""


Reported = Metrics | Mapping[str, jax.Array | Average]


def episode_metrics(next_timestep: TimeStep, counted: jax.Array | None = None) -> dict[str, Average]:
    """Every metric of the environment by its name in rows, averaged over the episodes that ended in a rollout.

    Args:
      next_timestep: [...] timesteps after the steps.
      counted: [...] bool, steps to include; None for all.
    """
    ended = next_timestep.done if counted is None else next_timestep.done & counted
    count = jnp.sum(ended.astype(jnp.float32))
    return {
        name: Average(jnp.sum(jnp.where(ended, value, 0.0)), count)
        for name, value in episode_names(next_timestep.metrics).items()
    }


def episode_names(metrics: Mapping[str, _T]) -> dict[str, _T]:
    """Metrics of an environment by their names in rows: those of `EpisodeStatistics` become `return` and `length`.

    Raises:
      ValueError: two metrics get the same name, or a name contains "/", which separates source and name in rows.
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
    """K policies of equal structure (a library), evaluated by one program whatever K is."""

    act: ActFn
    """Acts with one member, like `Algorithm.act` with a policy."""
    members: Callable[[Policy], Any]
    """`policy -> members`: a pytree whose leaves have a leading [K]."""
    init_carry: Callable[[int], Carry] | None = None
    """`n -> carry` of one member; None to use that of the algorithm."""


@documented
class Milestone(NamedTuple):
    """The first occurrence of an event in an algorithm whose time is set in absolute units."""

    setting: str
    """Field of the config that determines the time."""
    event: str
    """What happens, e.g. "the first gradient step"."""
    env_steps: float
    """Environment steps of the phase after which it has happened."""
    is_vital: bool = False
    """Whether nothing is learned before it: runs that end earlier are rejected. Otherwise there is a warning."""


@documented
class Algorithm(NamedTuple):
    """The pure functions of a learner; the runner maps them over lanes (seeds and hyperparameter points).

    They contain no loop over updates, no logging and no device code.
    """

    init: Callable[[jax.Array, Context], State]
    """`(key, ctx) -> state`."""
    update: Callable[[State, Context], tuple[State, Reported]]
    """`(state, ctx) -> (state, metrics)`: collects `env_steps_per_update` steps and learns from them."""
    policy: Callable[[State], Policy]
    """What acting needs: usually only parameters. Must have the same structure in all phases of a method."""
    init_carry: Callable[[int], Carry]
    """`n -> carry`: initial carry for acting in n environments at the start of their episodes."""
    act: ActFn
    """`(policy, carry, timestep [n, ...], key, ctx) -> (action [n, N], carry)`: the method's policy for evaluation and
    deployment; greedy unless the method says otherwise."""
    env_steps_per_update: int
    """Environment steps (not agent steps) that one `update` takes; 0 for one that never acts (see `Phase.updates`)."""
    extra_acts: Mapping[str, ActFn | Stacked] = {}
    """Other policies to report in addition to `act`, by name: a teacher, a variant without search. Rows use
    `NAME/return`; for the members of a stack `NAME-0/return`, `NAME-1/return`, ..."""
    milestones: Callable[[Any], tuple[Milestone, ...]] = lambda config: ()
    """`config of a lane -> milestones`, compared with the length of the phase before training."""
    explore: ActFn | None = None
    """Like `act`, but as experience is collected after any warm-up: sampled, or with noise. Datasets are played with it;
    None to use `act`."""
    sees_state: bool = False
    """For policies that plan in the environment itself: in evaluations, `act` and the other policies are given
    `(the environment's state [n, ...], timestep)` instead of the timestep."""


@documented
class Phase(NamedTuple):
    """One stage of a method. Phases are joined outside compiled code."""

    name: str
    """Its name in rows and messages."""
    algorithm: Algorithm
    """The algorithm that runs in this phase."""
    fraction: float = 1.0
    """Share of the run's environment steps, among the phases that take environment steps."""
    begin: Callable[[Any, jax.Array, Context], State] | None = None
    """`(handed, key, ctx) -> state`, where `handed` is the artifact of the previous phase if it has one, otherwise its
    whole last state; None for `algorithm.init`."""
    trains_policy: bool = True
    """False if `act` does not learn in this phase (a student while its teacher is trained); figures then leave it out."""
    updates: int | None = None
    """Length of a phase that takes no environment steps (`env_steps_per_update` 0); None for one that does."""
    data: Callable[[Any], Any] | None = None
    """`dataset -> ctx.data` of a phase that learns from stored data (`--data`); raises ValueError for data that do not fit.
    None for a phase that takes none."""
    artifact: Callable[[State], Any] | None = None
    """`last state -> pytree`: the result of the phase, such as a teacher, a library or a model. It is kept in the run
    folder, and the next phase begins with it alone, in this run or another one (`--start-from`). None if the next phase
    takes the whole state."""
    fits_any_task: bool = False
    """Whether the artifact may be used in other environments, as long as the shapes agree."""
    played_before: int | None = None
    """Environment steps in which the experience in the first state was collected, if it does not follow from `begin`
    (see `Context.played_before`): for a store that came as an artifact, or was filled from data."""


@dataclasses.dataclass(frozen=True)
class AlgorithmSpec:
    """A registered method: its config type and how to build it for an environment."""

    name: str
    config: type
    make: Callable[..., tuple[Phase, ...]]
    """`(config, env) -> phases`, or `(config, env, has_data) -> phases` if `takes_data`. Raises ValueError for an
    unsupported environment."""
    summary: str = ""
    actions: tuple[str, ...] = ("discrete",)
    """Kinds of actions supported: "discrete", "continuous"."""
    defaults: Any = None
    """The config a run starts from; `config()` if None."""
    takes_data: bool = False
    """Whether the method can learn from stored data: `make` is then told whether there is any, and some phase has
    `data`."""
    record: Callable[[Any, Environment, State], Any] | None = None
    """`(config, env, state) -> replay.Recorded`: the replay in one lane's state as a dataset of steps; None if the method
    keeps none."""
    diagnose: Callable[..., Any] | None = None
    """`(config, env, state, ctx, key, *, samples, steps) -> ModelQuality`: tests the world model in one lane's last state
    against the environment; None if the method has none. Pure and compiled by the caller."""

    @property
    def default_config(self) -> Any:
        """The config a run starts from."""
        return self.config() if self.defaults is None else self.defaults

    def build(self, config: Any, env: Environment, *, has_data: bool = False) -> tuple[Phase, ...]:
        """The phases for `env`, after checking that the algorithm supports it.

        Args:
          config: static sizes and settings.
          env: one instance.
          has_data: whether stored data is given.

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
        """Rejects a method that cannot learn from stored data."""
        if not self.takes_data:
            raise ValueError(f"{self.name} learns from its own play only, not from stored replay")


def _check_names(algorithm: str, phases: tuple[Phase, ...]) -> None:
    """Rejects extra policies whose names would be ambiguous in rows, and phases with the same name."""
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
    """Rejects phases whose length is given neither in environment steps nor in updates, or in both."""
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
