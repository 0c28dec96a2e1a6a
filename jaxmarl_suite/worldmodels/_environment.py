"""A trained world model as an environment: episodes that start where stored ones were, and go on in the model.

Axes: M starts, H history, G entries of the state, N agents, X entries of an encoded action.
"""

import dataclasses
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import EnvSpec, TimeStep, pytree_dataclass
from jaxmarl_envs.core import restart, transition

from jaxmarl_suite.worldmodels._model import WorldModel, WorldParams, encode_actions
from jaxmarl_suite.worldmodels._outcomes import OutcomeCache


@pytree_dataclass
class Starts:
    """M histories from which episodes in a model may start, in the task's units."""

    state: jax.Array  # [M, H, G], the last one is where the episode starts
    action: jax.Array  # [M, H - 1, N, X] encoded, in between
    is_known: jax.Array  # [M, H] bool, False before the stored episode


@pytree_dataclass
class ModelParams:
    """Parameters of a `ModelEnvironment`. They may be shared by all lanes or differ, like any environment's."""

    world: WorldParams
    starts: Starts


@pytree_dataclass
class ModelState:
    """The state of an episode in a model."""

    states: jax.Array  # [H, G] normalized, zero before the stored episode
    actions: jax.Array  # [H - 1, N, X]
    cache: OutcomeCache
    t: jax.Array  # [] int32, steps taken
    terminated: jax.Array  # [] bool
    truncated: jax.Array  # [] bool


@dataclasses.dataclass(frozen=True)
class ModelEnvironment:
    """The task as its world model knows it, with the same observations, global states and actions.

    - start: one of the stored histories in the parameters, drawn uniformly;
    - step: the reward and the probability of termination given states and joint actions of the episode, then a sample of the
      next state given the last H states and joint actions;
    - truncation after `horizon` steps. A finished episode stands still.

    Legal actions are not predicted: all of an agent's actions are allowed. There are no metrics.
    """

    model: WorldModel
    horizon: int
    """Steps of an episode."""
    default_params: ModelParams = dataclasses.field(compare=False, repr=False)
    samples_ends: bool = True
    """Whether episodes may terminate; otherwise only the horizon ends them."""

    def __post_init__(self) -> None:
        """Rejects horizons that the model's memory does not hold."""
        if not 1 <= self.horizon <= self.model.outcomes.length:
            raise ValueError(
                f"the horizon of a model environment must lie between 1 and {self.model.outcomes.length}, the length of "
                f"the sequences that rewards are predicted for; got {self.horizon}"
            )

    @cached_property
    def spec(self) -> EnvSpec:
        """The task's, with the horizon as limit, without bounds of observations."""
        spec = self.model.spec
        return spec.replace(
            id=f"model of {spec.id}",
            episode_limit=self.horizon,
            obs_bounds=(-float("inf"), float("inf")),
            metrics=(),
            quantiles=(),
            optimum=None,
            dead_action=None,
            reset_is_costly=False,
        )

    def reset(self, key: jax.Array, params: ModelParams) -> tuple[ModelState, TimeStep]:
        """A stored history. Consumes `key`."""
        starts = params.starts
        index = jax.random.randint(key, (), 0, starts.state.shape[0], jnp.int32)
        raw, known = starts.state[index], starts.is_known[index]
        states = jnp.where(known[:, None], params.world.normalizer.normalize(raw), 0.0)
        over = jnp.zeros((), bool)
        cache = self.model.outcomes.empty()
        state = ModelState(states, starts.action[index], cache, jnp.zeros((), jnp.int32), over, over)
        return state, restart(self.spec, **self._views(params, states[-1]))

    def step(
        self, key: jax.Array, state: ModelState, action: jax.Array, params: ModelParams
    ) -> tuple[ModelState, TimeStep]:
        """One predicted step. `action`: as in the task. Consumes `key`."""
        state_key, end_key = jax.random.split(key)
        model, world = self.model, params.world
        encoded = encode_actions(model.spec, action)
        reward, end, cache = model.outcomes.step(world.outcomes, state.cache, state.states[-1], encoded)
        actions = jnp.concatenate([state.actions, encoded[None]])
        following = model.states.predict(world.states, state_key, state.states, actions)
        t = state.t + 1
        terminated = jnp.zeros((), bool)
        if self.samples_ends:
            terminated = jax.random.bernoulli(end_key, jax.nn.sigmoid(end))
        states = jnp.concatenate([state.states[1:], following[None]])
        new = ModelState(states, actions[1:], cache, t, terminated, (t >= self.horizon) & ~terminated)
        over = state.terminated | state.truncated
        new = jax.tree.map(lambda old, new: jnp.where(over, old, new), state, new)
        return new, transition(
            self.spec,
            **self._views(params, new.states[-1]),
            reward=jnp.where(over, 0.0, reward),
            terminated=new.terminated,
            truncated=new.truncated,
        )

    def _views(self, params: ModelParams, normalized: jax.Array) -> dict[str, Any]:
        """Observations and global state."""
        raw = params.world.normalizer.denormalize(normalized)
        return {"obs": self.model.observations.decode(params.world.observations, normalized, raw), "state": raw}
