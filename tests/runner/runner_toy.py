"""An environment and an algorithm that compile in no time and whose every number is known beforehand."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import EnvSpec, TimeStep, VectorEnv, VectorState, pytree_dataclass, restart, transition
from jaxmarl_envs.core import uniform_index

from jaxmarl_suite.algorithms import (
    Algorithm,
    AlgorithmSpec,
    Context,
    Metrics,
    Phase,
    episode_metrics,
    hyperparameters,
)

LIMIT = 6
AFTER_THE_END = -100.0
"""Reward of steps past the end: it shows in a return that does not stop there."""


@pytree_dataclass
class CountdownParams:
    """What may differ between lanes."""

    bonus: jax.Array  # [] float32, added to every reward


@pytree_dataclass
class CountdownState:
    """Steps left."""

    left: jax.Array  # [] int32


@dataclasses.dataclass(frozen=True)
class Countdown:
    """Agents; an episode lasts 1 to `longest` steps, drawn at reset, and every step pays the sum of the actions."""

    longest: int = 4
    agents: int = 2
    limited: bool = True
    default_params: Any = dataclasses.field(default=None, compare=False)

    @property
    def spec(self) -> EnvSpec:
        """Static description."""
        limit = LIMIT if self.limited else None
        return EnvSpec("counting/countdown", self.agents, (1,), num_actions=3, episode_limit=limit, metrics=("left",))

    def _obs(self, left: jax.Array) -> jax.Array:
        return jnp.full((self.agents, 1), left, jnp.float32)

    def reset(self, key: jax.Array, params: CountdownParams) -> tuple[CountdownState, TimeStep]:
        """A fresh episode."""
        left = 1 + uniform_index(key, self.longest)
        metrics = {"left": left.astype(jnp.float32)}
        return CountdownState(left), restart(self.spec, obs=self._obs(left), metrics=metrics)

    def step(
        self, key: jax.Array, state: CountdownState, action: jax.Array, params: CountdownParams
    ) -> tuple[CountdownState, TimeStep]:
        """One step less."""
        left = state.left - 1
        paid = jnp.where(left >= 0, action.sum().astype(jnp.float32) + params.bonus, AFTER_THE_END)
        metrics = {"left": left.astype(jnp.float32)}
        return CountdownState(left), transition(
            self.spec, obs=self._obs(left), reward=paid, terminated=left <= 0, metrics=metrics
        )


def make_env(variant: str, **options: Any) -> Countdown:
    """The family's `make`."""
    bonus: Any = options.pop("bonus", 0.0)
    return Countdown(
        limited=variant == "countdown", default_params=CountdownParams(jnp.asarray(bonus, jnp.float32)), **options
    )


@hyperparameters
class ToyConfig:
    """What the toy does, and when it fails."""

    num_envs: int = 4
    action: int = 1
    """What both agents play, except after `best_at` updates, when they play 2."""
    two_phases: bool = False
    step: float = 1.0
    best_at: float = -1.0
    bad_metric_at: float = -1.0
    """Update whose metric is NaN."""
    bad_state_at: float = -1.0
    """Update after which the state holds a NaN that no metric shows."""


@hyperparameters
class ToyConfigWithoutFloats:
    """Nothing to trace."""

    num_envs: int = 4


@pytree_dataclass
class ToyState:
    """A random walk beside some environments."""

    weights: jax.Array  # [3]
    updates: jax.Array  # [] float32, in all phases
    begun_with: jax.Array  # [] float32, `weights[0]` at the start of the phase
    hidden: jax.Array  # []
    env: VectorState  # [E, ...]
    key: jax.Array  # []


def make(config: ToyConfig, env: Any) -> tuple[Phase, ...]:
    """A walk of one environment step per update; with two phases the second takes two steps per update."""

    def algorithm(length: int) -> Algorithm:
        vector = VectorEnv(env, config.num_envs)

        def init(key: jax.Array, ctx: Context) -> ToyState:
            weights_key, env_key, key = jax.random.split(key, 3)
            weights = jax.random.normal(weights_key, (3,))
            zero = jnp.zeros(())
            return ToyState(weights, zero, weights[0], zero, vector.reset(env_key, ctx.env_params), key)

        def update(state: ToyState, ctx: Context) -> tuple[ToyState, Any]:
            step_key, env_key, key = jax.random.split(state.key, 3)
            weights = state.weights + ctx.hp.step * jax.random.uniform(step_key, (3,), minval=-1.0)
            action = jnp.full((config.num_envs, 2), weights[0] > weights[1], jnp.int32)
            env_state, _ = jax.lax.scan(
                lambda env_state, key: (vector.step(key, env_state, action, ctx.env_params), None),
                state.env,
                jax.random.split(env_key, length),
            )
            clock = ctx.clock.astype(jnp.float32)
            bad = jnp.where(clock == ctx.hp.bad_metric_at, jnp.nan, 0.0)
            hidden = jnp.where(clock == ctx.hp.bad_state_at, jnp.nan, state.hidden)
            learner = {"weight": weights[0] + bad, "reward": env_state.timestep.reward.mean(), "clock": clock}
            metrics = Metrics(episode_metrics(env_state.timestep), learner)
            return ToyState(weights, state.updates + 1, state.begun_with, hidden, env_state, key), metrics

        return Algorithm(
            init=init,
            update=update,
            policy=lambda state: {"updates": state.updates, "weights": state.weights},
            init_carry=lambda n: jnp.zeros((n, 0)),
            act=act,
            env_steps_per_update=config.num_envs * length,
            extra_acts={"lazy": lazy},
        )

    def act(policy: Any, carry: Any, timestep: TimeStep, key: jax.Array, ctx: Context) -> tuple[jax.Array, Any]:
        played = jnp.where(policy["updates"] == ctx.hp.best_at, 2, config.action)
        return jnp.broadcast_to(played, timestep.obs.shape[:2]), carry

    def lazy(policy: Any, carry: Any, timestep: TimeStep, key: jax.Array, ctx: Context) -> tuple[jax.Array, Any]:
        return jnp.zeros(timestep.obs.shape[:2], jnp.int32), carry

    second = algorithm(2)

    def begin(previous: ToyState, key: jax.Array, ctx: Context) -> ToyState:
        fresh = second.init(key, ctx)
        return dataclasses.replace(
            fresh, weights=previous.weights, updates=previous.updates, begun_with=previous.weights[0]
        )

    if config.two_phases:
        return Phase("first", algorithm(1), 0.7), Phase("second", second, 0.3, begin)
    return (Phase("only", algorithm(1)),)


def make_without_floats(config: ToyConfigWithoutFloats, env: Any) -> tuple[Phase, ...]:
    """An algorithm with nothing to tune and a policy of no numbers."""
    (phase,) = make(ToyConfig(num_envs=config.num_envs), env)
    inner = phase.algorithm

    def init(key: jax.Array, ctx: Context) -> ToyState:
        return inner.init(key, dataclasses.replace(ctx, hp=ToyConfig()))

    def update(state: ToyState, ctx: Context) -> tuple[ToyState, Any]:
        return inner.update(state, dataclasses.replace(ctx, hp=ToyConfig()))

    def act(policy: Any, carry: Any, timestep: TimeStep, key: jax.Array, ctx: Context) -> tuple[jax.Array, Any]:
        return jnp.ones(timestep.obs.shape[:2], jnp.int32), carry

    return (Phase("only", inner._replace(init=init, update=update, act=act, policy=lambda _: (), extra_acts={})),)


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """The toys by name, as a third party would add them.

    Algorithms `toy` and `toy-without-floats`, environments `counting/countdown` and `counting/endless`.
    """
    import jaxmarl_envs
    from jaxmarl_envs.core import _registry as environments

    from jaxmarl_suite.algorithms.core import _registry as algorithms

    jaxmarl_envs.register(jaxmarl_envs.Family("counting", make_env, ("countdown", "endless")))
    for spec in (
        AlgorithmSpec("toy", ToyConfig, make),
        AlgorithmSpec("toy-without-floats", ToyConfigWithoutFloats, make_without_floats),
    ):
        algorithms.register(spec)
    try:
        yield
    finally:
        del environments._registered["counting"]
        for name in ("toy", "toy-without-floats"):
            del algorithms._registered[name]
