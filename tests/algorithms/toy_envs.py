"""Toy environments and helpers for tests of algorithms."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import EnvSpec, pytree_dataclass, restart, transition

from jaxmarl_suite.algorithms import Context


def context(
    config: Any, env: Any, *, clock: int = 0, horizon: int = 10, env_params: Any = None, data: Any = None
) -> Context:
    """One lane's context: the config's floats as arrays."""
    return Context(
        hp=jax.tree.map(jnp.float32, config),
        env_params=jax.tree.map(jnp.asarray, env.default_params if env_params is None else env_params),
        data=data,
        clock=jnp.int32(clock),
        horizon=jnp.int32(horizon),
    )


@pytree_dataclass
class NoisyState:
    mask: jax.Array  # [N, A] bool, shown last
    illegal: jax.Array  # [] float32, illegal actions so far


@dataclasses.dataclass(frozen=True)
class Noisy:
    """Nothing can be learned, everything can go wrong: random observations, states, masks, rewards and ends of both kinds.

    Action 0 is always forbidden to agent 1, and what is forbidden pays 10.
    """

    n_agents: int = 2
    has_state: bool = True
    default_params: Any = dataclasses.field(default=(), compare=False)

    @property
    def spec(self) -> EnvSpec:
        return EnvSpec(
            id="test/noisy",
            n_agents=self.n_agents,
            obs_shape=(2,),
            num_actions=3,
            state_size=2 if self.has_state else 0,
            metrics=("illegal",),
        )

    def _draw(self, key):
        """Observations, state, masks, reward and end from one draw of bits, which is quick to compile."""
        n = self.n_agents
        draws = jax.random.uniform(key, (6 * n + 4,))
        obs, view, loose, legal, rest = jnp.split(draws, [2 * n, 2 * n + 2, 5 * n + 2, 6 * n + 2])
        mask = (loose.reshape(n, 3) < 0.6) | jax.nn.one_hot(jnp.where(legal < 0.5, 1, 2), 3, dtype=bool)
        mask = mask.at[1:2, 0].set(False)
        return 4 * obs.reshape(n, 2) - 2, 4 * view - 2 if self.has_state else None, mask, 4 * rest[0] - 2, rest[1]

    def _is_legal(self, mask, action):
        return (mask & jax.nn.one_hot(action, 3, dtype=bool)).any(-1)

    def reset(self, key, params):
        obs, view, mask, _, _ = self._draw(key)
        zero = jnp.zeros(())
        return NoisyState(mask, zero), restart(
            self.spec, obs=obs, state=view, action_mask=mask, metrics={"illegal": zero}
        )

    def step(self, key, state, action, params):
        legal = self._is_legal(state.mask, action)
        illegal = state.illegal + (~legal).sum().astype(jnp.float32)
        obs, view, mask, reward, end = self._draw(key)
        return NoisyState(mask, illegal), transition(
            self.spec,
            obs=obs,
            state=view,
            action_mask=mask,
            reward=reward + action.sum().astype(jnp.float32) + jnp.where(legal.all(), 0.0, 10.0),
            terminated=end < 0.25,
            truncated=end > 0.75,
            metrics={"illegal": illegal},
        )


@pytree_dataclass
class ThreeStepsParams:
    terminates: jax.Array  # [] bool, else the time limit cuts


@pytree_dataclass
class ThreeStepsState:
    t: jax.Array  # [] int32


@dataclasses.dataclass(frozen=True)
class ThreeSteps:
    """Reward 1 a step for three steps, whatever is done; the third step terminates or truncates. Shows the step."""

    default_params: Any = dataclasses.field(
        default_factory=lambda: ThreeStepsParams(jnp.bool_(True)), compare=False, repr=False
    )
    spec = EnvSpec(id="test/three-steps", n_agents=2, obs_shape=(4,), num_actions=2, state_size=4)

    def _show(self, t):
        view = (jnp.arange(4) == t).astype(jnp.float32)
        return jnp.broadcast_to(view, (2, 4)), view

    def reset(self, key, params):
        obs, state = self._show(0)
        return ThreeStepsState(jnp.int32(0)), restart(self.spec, obs=obs, state=state)

    def step(self, key, state, action, params):
        t = state.t + 1
        obs, view = self._show(t)
        over = t >= 3
        return ThreeStepsState(t), transition(
            self.spec,
            obs=obs,
            state=view,
            reward=1.0,
            terminated=over & params.terminates,
            truncated=over & ~params.terminates,
        )


@dataclasses.dataclass(frozen=True)
class Continuous(Noisy):
    """`Noisy` with two real numbers an action, between bounds of which 0 is not the middle; beyond them is forbidden."""

    @property
    def spec(self) -> EnvSpec:
        return dataclasses.replace(
            super().spec, id="test/continuous", num_actions=0, action_dim=2, action_bounds=(-1.0, 3.0)
        )

    def _draw(self, key):
        obs, view, _, reward, end = super()._draw(key)
        return obs, view, jnp.ones((self.n_agents, 2), bool), reward, end

    def _is_legal(self, mask, action):
        return ((action >= -1.0) & (action <= 3.0)).all(-1)


@dataclasses.dataclass(frozen=True)
class Padded(Continuous):
    """`Continuous` where every other agent has one number only; other padding than the middle is forbidden."""

    @property
    def spec(self) -> EnvSpec:
        return dataclasses.replace(super().spec, agent_action_sizes=tuple(2 - i % 2 for i in range(self.n_agents)))

    def _draw(self, key):
        obs, view, _, reward, end = super()._draw(key)
        return obs, view, jnp.asarray(self.spec.real_actions), reward, end

    def _is_legal(self, mask, action):
        return super()._is_legal(mask, action) & (mask | (action == 1.0)).all(-1)


@pytree_dataclass
class QuadraticParams:
    total: jax.Array  # [] float32, what the actions should add up to


@dataclasses.dataclass(frozen=True)
class Quadratic:
    """Two agents, one number each, one step: pays -(a₁ + a₂ - c)² - (a₁ - a₂ - 0.7)² / 2, at most 0 where c is 0.5 and

    a = (0.6, -0.1). The first term couples the agents, the second tells them apart. Bounds of ±1.
    """

    default_params: Any = dataclasses.field(
        default_factory=lambda: QuadraticParams(jnp.float32(0.5)), compare=False, repr=False
    )
    spec = EnvSpec(
        id="test/quadratic", n_agents=2, obs_shape=(1,), action_dim=1, state_size=1, episode_limit=1,
        metrics=("pay",),
    )  # fmt: skip

    def reset(self, key, params):
        return (), restart(self.spec, obs=jnp.ones((2, 1)), state=jnp.ones(1))

    def step(self, key, state, action, params):
        first, second = action[0, 0], action[1, 0]
        pay = -jnp.square(first + second - params.total) - 0.5 * jnp.square(first - second - 0.7)
        return (), transition(
            self.spec, obs=jnp.ones((2, 1)), state=jnp.ones(1), reward=pay, terminated=True, metrics={"pay": pay}
        )
