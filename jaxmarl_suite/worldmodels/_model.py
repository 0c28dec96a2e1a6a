"""A world model: the models of states, outcomes and observations of one task.

Axes: B batch axes, N agents, X entries of an encoded action, G entries of the state.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxmarl_envs import EnvSpec, pytree_dataclass
from jaxmarl_envs.core import documented

from jaxmarl_suite.worldmodels._baselines import ensemble_model, token_model
from jaxmarl_suite.worldmodels._denoiser import SMALL_DENOISER, DenoiserSizes, make_denoiser
from jaxmarl_suite.worldmodels._diffusion import Order, Reveal
from jaxmarl_suite.worldmodels._normalizer import Normalizer
from jaxmarl_suite.worldmodels._observations import ObservationDecoder, coded_observations, exact_observations
from jaxmarl_suite.worldmodels._outcomes import SMALL_OUTCOMES, OutcomeModel, OutcomeSizes, make_outcome_model
from jaxmarl_suite.worldmodels._states import StateModel, diffusion_model

ModelKind = Literal["diffusion", "ensemble", "tokens"]
KINDS = ("diffusion", "ensemble", "tokens")


@documented
class WorldModel(NamedTuple):
    """The parts of a model of one task."""

    spec: EnvSpec
    """The task's."""
    states: StateModel
    """Predicts the next state."""
    outcomes: OutcomeModel
    """Predicts rewards and ends."""
    observations: ObservationDecoder
    """Finds what agents observe."""

    def init(self, key: jax.Array) -> "WorldParams":
        """Untrained parameters. Consumes `key`."""
        states_key, outcomes_key, observations_key = jax.random.split(key, 3)
        return WorldParams(
            states=self.states.init(states_key),
            outcomes=self.outcomes.init(outcomes_key),
            observations=self.observations.init(observations_key),
            normalizer=Normalizer.create(self.spec.state_size),
        )


@pytree_dataclass
class WorldParams:
    """Parameters of a `WorldModel`."""

    states: Any
    outcomes: Any
    observations: Any  # weights and codes
    normalizer: Normalizer  # of the states, [G]


def action_size(spec: EnvSpec) -> int:
    """X: entries of an encoded action."""
    return spec.num_actions or spec.action_dim


def encode_actions(spec: EnvSpec, action: jax.Array) -> jax.Array:
    """[*B, N, X] float32 of actions as the environment takes them: one-hot, or clipped and scaled to [-1, 1].

    NaN counts as the middle, and padded entries are zero, so that the model sees what the task sees. Unbounded actions
    are left as they are.
    """
    if spec.is_discrete:
        return jax.nn.one_hot(action, spec.num_actions, dtype=jnp.float32)
    low, high = spec.action_bounds
    encoded = jnp.clip(action, low, high)
    if np.isfinite(low) and np.isfinite(high):
        encoded = (encoded - (low + high) / 2) / ((high - low) / 2)
    real = jnp.broadcast_to(jnp.asarray(spec.real_actions), encoded.shape)
    return jnp.where(real & ~jnp.isnan(encoded), encoded, 0.0)


def make_world_model(
    spec: EnvSpec,
    *,
    kind: ModelKind = "diffusion",
    observe: Callable[[jax.Array], jax.Array] | None = None,
    history: int = 3,
    horizon: int = 15,
    reveal: Reveal = "single",
    order: Order = "descending",
    num_steps: int | None = None,
    windows: int = 3,
    denoiser: DenoiserSizes = SMALL_DENOISER,
    outcomes: OutcomeSizes = SMALL_OUTCOMES,
    hidden: tuple[int, ...] = (128, 128),
    members: int = 5,
    token_layers: int = 2,
    token_width: int = 64,
) -> WorldModel:
    """A world model of a task with a global state.

    Args:
      spec: the task's.
      kind: "diffusion" (DIMA), "ensemble" (Gaussian networks) or "tokens" (an autoregressive transformer).
      observe: `state [G] -> observations`, where they are a known function of the state; None to learn them.
      history: H, states that a prediction sees.
      horizon: the longest episode in the model.
      reveal: see `diffusion_model`.
      order: see `diffusion_model`.
      num_steps: see `diffusion_model`.
      windows: predictions in a row per training example.
      denoiser: sizes of the diffusion model's network.
      outcomes: sizes of the model of rewards and ends.
      hidden: widths of the ensemble's layers.
      members: networks of the ensemble.
      token_layers: layers of the token transformer.
      token_width: width of the token transformer.

    Raises:
      ValueError: no global state, an unknown kind, or sizes that cannot work.
    """
    if not spec.state_size:
        raise ValueError(f"a world model predicts the global state, but {spec.id!r} has none (state_size 0)")
    if horizon < 1:
        raise ValueError(f"a world model's horizon must be at least 1 step, got {horizon}")
    if spec.episode_limit is not None and history > spec.episode_limit:
        raise ValueError(
            f"a world model's history must not be longer than an episode of {spec.id!r} ({spec.episode_limit} steps), "
            f"got {history}"
        )
    sizes = (spec.state_size, spec.n_agents, action_size(spec))
    if kind == "diffusion":
        network = make_denoiser(*sizes, history=history, sizes=denoiser)
        how: Any = {"reveal": reveal, "order": order, "num_steps": num_steps}
        states = diffusion_model(network, spec.n_agents, history=history, windows=windows, **how)
    elif kind == "ensemble":
        states = ensemble_model(*sizes, history=history, windows=windows, members=members, hidden=hidden)
    elif kind == "tokens":
        states = token_model(*sizes, history=history, windows=windows, layers=token_layers, width=token_width)
    else:
        raise ValueError(f"kind of world model must be one of {', '.join(map(repr, KINDS))}, got {kind!r}")
    decoder = (
        exact_observations(observe) if observe else coded_observations(spec.state_size, spec.n_agents, spec.obs_shape)
    )
    return WorldModel(spec, states, make_outcome_model(*sizes, length=horizon, sizes=outcomes), decoder)
