"""The two types of the environment interface: `EnvSpec` (static) and `TimeStep` (arrays)."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def pytree_dataclass(cls: type[_T]) -> type[_T]:
    """A frozen dataclass that is also a JAX pytree; mark static fields with `field(metadata={"static": True})`."""
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True)(cls))


def quantile_name(metric: str, level: float) -> str:
    """The name of a metric's quantile in rows: `ttft_p95`, `ttft_p99.9`."""
    return f"{metric}_p{100 * level:g}"


@dataclasses.dataclass(frozen=True)
class EntityBlock:
    """Columns of an observation for entities of one kind: the first feature of all of them, then the second, ...

    Feature f of entity j is column `start + f * count + j`; the columns of unseen entities are zero. `read` undoes
    this layout.
    """

    name: str
    """Name of their kind, e.g. self, enemies, allies."""
    start: int
    """Index of the first column."""
    count: int
    """Number of entities."""
    features: tuple[str, ...]
    """One name per feature."""

    def read(self, obs: jax.Array) -> jax.Array:
        """[*, count, features] of `obs` [*, D]."""
        columns = obs[..., self.start : self.start + self.count * len(self.features)]
        return jnp.swapaxes(columns.reshape(*obs.shape[:-1], len(self.features), self.count), -1, -2)


@dataclasses.dataclass(frozen=True)
class EnvSpec:
    """Everything about an environment that is fixed before compilation. Hashable.

    Sizes are those of the padded arrays; if agents differ, `agent_obs_sizes`, `agent_num_actions` and
    `agent_action_sizes` give the real ones. Exactly one of `num_actions` (discrete) and `action_dim` (continuous) is
    positive.
    """

    id: str = dataclasses.field(compare=False)
    """`family/variant`. Equality ignores it: environments that differ only in traced parameters, and perhaps in name,
    share one compiled program."""
    n_agents: int
    """N, number of agents."""
    obs_shape: tuple[int, ...]
    """Shape of one agent's observation."""
    num_actions: int = 0
    """A, number of discrete actions; 0 if actions are continuous."""
    action_dim: int = 0
    """D, size of a continuous action; 0 if actions are discrete."""
    state_size: int = 0
    """G, size of the flat global state; 0 if the environment has none."""
    episode_limit: int | None = None
    """Maximum number of steps in an episode, or None."""
    obs_bounds: tuple[float, float] = (-float("inf"), float("inf"))
    """Lowest and highest value of all observation and global-state entries."""
    action_bounds: tuple[float, float] = (-1.0, 1.0)
    """Lowest and highest value of a continuous action entry."""
    agent_names: tuple[str, ...] = ()
    """One name per agent, used only for display and conversion (viewers, tables, adapters)."""
    agent_obs_sizes: tuple[int, ...] = ()
    """Real (unpadded) observation sizes, if agents differ."""
    agent_num_actions: tuple[int, ...] = ()
    """Real (unpadded) numbers of actions, if agents differ."""
    agent_action_sizes: tuple[int, ...] = ()
    """Real (unpadded) sizes of continuous actions, if agents differ; the remaining entries, up to D, have no effect."""
    metrics: tuple[str, ...] = ()
    """Keys of `TimeStep.metrics`. Their values at an episode's last step are logged, so they must describe the episode
    so far (`EpisodeMetrics` sums and averages). The first one is shown beside the return. `return`, `length` and names
    with "/" are reserved."""
    quantiles: tuple[tuple[str, tuple[float, ...]], ...] = ()
    """Metrics for which evaluations report quantiles over episodes as well as the mean, each with its levels:
    `(("ttft", (0.5, 0.95)),)` adds `ttft_p50` and `ttft_p95`. `return` and `length` are allowed too."""
    reset_is_costly: bool = False
    """Whether a reset costs a large part of a step or more: `VectorEnv` then resets only where an episode ended. The
    results are the same either way."""
    entities: tuple[EntityBlock, ...] = ()
    """The columns of an observation that describe each entity, for networks that process entities one by one; empty if
    not declared. Wrappers that append columns keep it; the other columns belong to the agent itself."""
    dead_action: int | None = None
    """The action that agents must take once they are out of the game, and that no other agent may take; None if agents
    never drop out. `alive` reads it from masks."""
    optimum: float | None = dataclasses.field(default=None, compare=False)
    """Expected undiscounted return of an optimal joint policy with `default_params`, if known. Equality ignores it,
    like `id`."""

    def __post_init__(self) -> None:
        """Rejects impossible sizes."""
        if self.n_agents < 1:
            raise ValueError(f"environment {self.id!r}: n_agents must be at least 1, got {self.n_agents}")
        if (self.num_actions > 0) == (self.action_dim > 0):
            raise ValueError(
                f"environment {self.id!r}: exactly one of num_actions and action_dim must be positive, got "
                f"num_actions={self.num_actions}, action_dim={self.action_dim}"
            )
        if self.num_actions < 0 or self.action_dim < 0 or self.state_size < 0 or any(d < 1 for d in self.obs_shape):
            raise ValueError(
                f"environment {self.id!r}: sizes must not be negative (observation entries at least 1), got "
                f"obs_shape={self.obs_shape}, num_actions={self.num_actions}, action_dim={self.action_dim}, "
                f"state_size={self.state_size}"
            )
        if self.episode_limit is not None and self.episode_limit < 1:
            raise ValueError(f"environment {self.id!r}: episode_limit must be at least 1, got {self.episode_limit}")
        for field in ("agent_names", "agent_obs_sizes", "agent_num_actions", "agent_action_sizes"):
            value = getattr(self, field)
            if value and len(value) != self.n_agents:
                raise ValueError(
                    f"environment {self.id!r}: {field} needs one entry per agent ({self.n_agents}), got {value}"
                )

        for field, size in (("agent_num_actions", "num_actions"), ("agent_action_sizes", "action_dim")):
            value, most = getattr(self, field), getattr(self, size)
            if value and not all(1 <= count <= most for count in value):
                raise ValueError(f"environment {self.id!r}: {field} must be between 1 and {size}={most}, got {value}")
        self._check_quantiles()

    def _check_quantiles(self) -> None:
        known = {*self.metrics, "return", "length"}
        names = [name for name, _ in self.quantiles]
        for name, levels in self.quantiles:
            if name not in known or names.count(name) > 1:
                raise ValueError(
                    f"environment {self.id!r}: quantiles must name each metric at most once, got {name!r}; metrics are "
                    f"{', '.join(sorted(known))}"
                )
            if not levels or not all(0 <= level <= 1 for level in levels):
                raise ValueError(f"environment {self.id!r}: quantiles of {name!r} must be in 0..1, got {levels}")
            if taken := [quantile_name(name, level) for level in levels if quantile_name(name, level) in known]:
                raise ValueError(
                    f"environment {self.id!r}: its metric {taken[0]!r} has the name of a quantile of {name!r}; rename it"
                )

    @property
    def is_discrete(self) -> bool:
        """True if actions are integers in `0..num_actions-1`."""
        return self.num_actions > 0

    @property
    def names(self) -> tuple[str, ...]:
        """One name per agent."""
        return self.agent_names or tuple(f"agent_{i}" for i in range(self.n_agents))

    @property
    def actions_per_agent(self) -> tuple[int, ...]:
        """N real numbers of actions, or sizes of continuous actions."""
        size = self.num_actions or self.action_dim
        return self.agent_num_actions or self.agent_action_sizes or (size,) * self.n_agents

    @property
    def real_actions(self) -> np.ndarray:
        """[N, A] bool, or [N, D] for continuous actions: entries that are not padding."""
        return np.arange(self.num_actions or self.action_dim) < np.array(self.actions_per_agent)[:, None]

    def replace(self, **changes: Any) -> "EnvSpec":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


@pytree_dataclass
class TimeStep:
    """The result of `reset` or `step` for one instance; `vmap` adds a leading [E].

    After the end of an episode, an auto-resetting environment returns the next episode's first `obs`, `state` and
    `action_mask`, while `reward`, `terminated`, `truncated`, `metrics` and the `final_` fields still belong to the
    step just taken. Without auto-reset `final_obs` equals `obs`.
    """

    obs: jax.Array  # [N, *obs_shape] float32, one row per agent
    state: jax.Array  # [G] float32, global state (G = 0 if there is none)
    action_mask: jax.Array  # [N, A] bool, legal actions; [N, D] `spec.real_actions` for continuous actions
    reward: jax.Array  # [N] float32, the team reward repeated in cooperative tasks
    terminated: jax.Array  # [] bool, the task ended: values after it are zero
    truncated: jax.Array  # [] bool, the time limit cut the episode: bootstrap from `final_obs`
    final_obs: jax.Array  # [N, *obs_shape] float32
    final_state: jax.Array  # [G] float32
    final_mask: jax.Array  # [N, A] bool
    metrics: dict[str, jax.Array]  # fixed keys, [] float32, of the episode so far; at its end, of the whole episode

    @property
    def done(self) -> jax.Array:
        """[] bool: the episode is over, by termination or truncation."""
        return self.terminated | self.truncated

    def replace(self, **changes: Any) -> "TimeStep":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


def alive(spec: EnvSpec, action_mask: jax.Array) -> jax.Array:
    """[*, N] bool: which agents are still in the game, from masks [*, N, A]; all if agents never drop out."""
    if spec.dead_action is None:
        return jnp.ones(action_mask.shape[:-1], bool)
    return ~action_mask[..., spec.dead_action]


def transition(
    spec: EnvSpec,
    *,
    obs: jax.Array,
    reward: jax.Array | float,
    terminated: jax.Array | bool,
    truncated: jax.Array | bool = False,
    state: jax.Array | None = None,
    action_mask: jax.Array | None = None,
    metrics: Mapping[str, jax.Array] | None = None,
) -> TimeStep:
    """The `TimeStep` after a step, with everything optional filled in.

    Args:
      spec: the environment's spec; gives N, A and dtypes.
      obs: [N, *obs_shape].
      reward: [] team reward, repeated for each agent, or [N].
      terminated: [] bool.
      truncated: [] bool.
      state: [G]; an empty vector if None.
      action_mask: [N, A] bool; `spec.real_actions` if None.
      metrics: one scalar for each of `spec.metrics`.
    """
    obs = jnp.asarray(obs, jnp.float32)
    state = jnp.zeros((0,), jnp.float32) if state is None else jnp.asarray(state, jnp.float32)
    if action_mask is None:
        action_mask = jnp.asarray(spec.real_actions)
    return TimeStep(
        obs=obs,
        state=state,
        action_mask=action_mask,
        reward=jnp.broadcast_to(jnp.asarray(reward, jnp.float32), (spec.n_agents,)),
        terminated=jnp.asarray(terminated, bool),
        truncated=jnp.asarray(truncated, bool),
        final_obs=obs,
        final_state=state,
        final_mask=action_mask,
        metrics={k: jnp.asarray(v, jnp.float32) for k, v in (metrics or {}).items()},
    )


def restart(
    spec: EnvSpec,
    *,
    obs: jax.Array,
    state: jax.Array | None = None,
    action_mask: jax.Array | None = None,
    metrics: Mapping[str, jax.Array] | None = None,
) -> TimeStep:
    """The first `TimeStep` of an episode: zero reward, not ended. Arguments as for `transition`."""
    metrics = {name: jnp.zeros((), jnp.float32) for name in spec.metrics} if metrics is None else metrics
    return transition(
        spec, obs=obs, reward=0.0, terminated=False, state=state, action_mask=action_mask, metrics=metrics
    )
