"""World models: learned models of tasks that are environments themselves.

A model of the global state (diffusion with one agent's action per denoising step, or a baseline), a model of rewards and
ends, and observations from states; `ModelEnvironment` makes an environment of them.
"""

from jaxmarl_suite.worldmodels._baselines import ensemble_model, token_model
from jaxmarl_suite.worldmodels._data import Played, Seen, read_segments, read_sequences, read_starts
from jaxmarl_suite.worldmodels._denoiser import SMALL_DENOISER, Denoiser, DenoiserSizes, make_denoiser
from jaxmarl_suite.worldmodels._diagnostics import Drift, action_gains, open_loop
from jaxmarl_suite.worldmodels._diffusion import (
    Preconditioning,
    Scales,
    agent_order,
    default_steps,
    exact_denoiser,
    karras_grid,
    sample_states,
    shown_agents,
    training_shown,
)
from jaxmarl_suite.worldmodels._environment import ModelEnvironment, ModelParams, ModelState, Starts
from jaxmarl_suite.worldmodels._model import (
    WorldModel,
    WorldParams,
    action_size,
    encode_actions,
    make_world_model,
)
from jaxmarl_suite.worldmodels._normalizer import Normalizer
from jaxmarl_suite.worldmodels._observations import (
    Codes,
    ObservationDecoder,
    coded_observations,
    exact_observations,
)
from jaxmarl_suite.worldmodels._outcomes import (
    SMALL_OUTCOMES,
    OutcomeCache,
    OutcomeModel,
    OutcomeSequences,
    OutcomeSizes,
    make_outcome_model,
)
from jaxmarl_suite.worldmodels._states import Segments, StateModel, diffusion_model

__all__ = [
    "SMALL_DENOISER",
    "SMALL_OUTCOMES",
    "Codes",
    "Denoiser",
    "DenoiserSizes",
    "Drift",
    "ModelEnvironment",
    "ModelParams",
    "ModelState",
    "Normalizer",
    "ObservationDecoder",
    "OutcomeCache",
    "OutcomeModel",
    "OutcomeSequences",
    "OutcomeSizes",
    "Played",
    "Preconditioning",
    "Scales",
    "Seen",
    "Segments",
    "Starts",
    "StateModel",
    "WorldModel",
    "WorldParams",
    "action_gains",
    "action_size",
    "agent_order",
    "coded_observations",
    "default_steps",
    "diffusion_model",
    "encode_actions",
    "ensemble_model",
    "exact_denoiser",
    "exact_observations",
    "karras_grid",
    "make_denoiser",
    "make_outcome_model",
    "make_world_model",
    "open_loop",
    "read_segments",
    "read_sequences",
    "read_starts",
    "sample_states",
    "shown_agents",
    "token_model",
    "training_shown",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
