"""Configuration of the methods that learn policies in a world model."""

import dataclasses
import typing
from typing import Any, Literal

from jaxmarl_suite.algorithms.core import check_floats, hyperparameters
from jaxmarl_suite.algorithms.ppo import PPOConfig

ModelSize = Literal["tiny", "small", "full"]


@hyperparameters
class ImaginationConfig(PPOConfig):
    """Settings of all methods that learn policies in a world model: of the model, and of the PPO in it.

    `num_envs` and `rollout_length` are those of the task; PPO learns from `imagined_envs` episodes of `horizon` steps.
    """

    num_envs: int = 8
    """Environments of the task stepped in parallel."""
    rollout_length: int = 125
    """Steps of each environment per round: play, model updates, imagination."""
    horizon: int = 15
    """Steps of an episode in the model."""
    imagined_envs: int = 64
    """Episodes played in the model at a time; DIMA's code has 600."""
    imagined_rollouts: int = 5
    """Times per round that PPO learns from new episodes in the model."""
    warmup_steps: int = dataclasses.field(default=5000, metadata={"least": 0})
    """Environment steps before the first updates of the model."""
    warmup_rounds: int = dataclasses.field(default=9, metadata={"least": 0})
    """Rounds in which the model is updated, but not the policy."""
    capacity: int = 250_000
    """Capacity of the replay in steps, over all environments."""
    model_updates: int = 50
    """Gradient steps per round of each part of the model; DIMA's code has 200."""
    history: int = 3
    """States that the model sees when it predicts the next one."""
    windows: int = 3
    """Predictions in a row per training example of the model of states."""
    state_batch: int = 64
    """Training examples per gradient step of the model of states."""
    outcome_batch: int = 128
    """Sequences of `horizon` steps per gradient step of the model of rewards and ends."""
    observation_batch: int = 256
    """States per gradient step of the model of observations, if these are learned."""
    observations: Literal["auto", "exact", "learned"] = "auto"
    """Observations in the model: a known function of the state, learned with a discrete code, or ("auto") known where the
    environment declares them."""
    model_size: ModelSize = "small"
    """Widths and depths of the model: "full" for those of DIMA's code, "small" for CPUs, "tiny" for tests."""
    model_learning_rate: float = 1e-3
    """Learning rate of AdamW for the models of states, and of rewards and ends; DIMA's code has 1e-4, for four times as many
    gradient steps of larger networks."""
    model_weight_decay: float = 0.01
    """Weight decay of all parts of the model."""
    observation_learning_rate: float = 3e-4
    """Learning rate of AdamW for the model of observations."""
    samples_ends: bool = True
    """Whether episodes in the model may terminate as predicted; otherwise only the horizon ends them."""
    learning_rate: float = 5e-4
    """Adam's step size for the actor."""
    critic_learning_rate: float = 5e-4
    """Adam's step size for the critic."""
    epochs: int = 5
    """Passes over the imagined rollouts."""
    clip: float = 0.1
    """Clipping range of each agent's probability ratio around 1."""
    entropy: float = 0.001
    """Weight of the entropy bonus at the start."""
    entropy_end: float = 0.001
    """Weight of the entropy bonus at the end; linear in between."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the tanh layers of actor and critic."""
    initial_std: float = dataclasses.field(default=0.37, metadata={"static": True})
    """Initial standard deviation of continuous actions, in units of half the range of the bounds (tanh-normal: before
    squashing)."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        check_floats(self, amounts=("model_learning_rate", "model_weight_decay", "observation_learning_rate"))
        if self.recurrent:
            raise ValueError(
                "recurrent must be False: episodes in the model start in the middle of stored ones, where an actor's "
                "memory is not known; got True"
            )
        for name, accepted in (
            ("observations", ("auto", "exact", "learned")),
            ("model_size", ("tiny", "small", "full")),
        ):
            value = getattr(self, name)
            if value not in accepted:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, accepted))}, got {value!r}")
        kept, needed = self.capacity // self.num_envs, self.window_length
        if self.capacity < self.num_envs * max(self.rollout_length, needed):
            raise ValueError(
                f"capacity must hold a round and a window of {needed} steps of each of the {self.num_envs} environments, "
                f"got {self.capacity} steps, {kept} of each"
            )
        first = max(-(-self.warmup_steps // self.steps_per_round), 1) * self.rollout_length
        if first < needed:
            raise ValueError(
                f"the first updates of the model need windows of {needed} steps (history, windows, horizon), but only "
                f"{first} steps of each environment are stored by then; raise warmup_steps or rollout_length, got "
                f"{self.warmup_steps} and {self.rollout_length}"
            )

    @property
    def steps_per_round(self) -> int:
        """Environment steps per round."""
        return self.num_envs * self.rollout_length

    @property
    def segment_length(self) -> int:
        """Steps of a training example of the model of states."""
        return self.history + self.windows - 1

    @property
    def window_length(self) -> int:
        """Steps of the longest window that is read from the replay."""
        return max(self.segment_length, self.horizon)

    @property
    def num_sequences(self) -> int:
        """Number of steps in an imagined rollout, over which minibatches are drawn."""
        return self.horizon * self.imagined_envs

    def world_options(self) -> dict[str, Any]:
        """Arguments of `make_world_model` that depend on the kind of model."""
        raise NotImplementedError


@hyperparameters
class DimaConfig(ImaginationConfig):
    """Settings of DIMA."""

    reveal: Literal["single", "cumulative", "joint"] = "single"
    """Whose current actions a denoising step sees: the step's own agent ("single": DIMA), all agents so far
    ("cumulative"), or everyone ("joint")."""
    order: Literal["descending", "ascending", "random"] = "descending"
    """Order of the agents in the denoising steps."""
    denoising_steps: int = dataclasses.field(default=0, metadata={"least": 0})
    """Denoising steps of a prediction, a multiple of the number of agents; 0 for one per agent, or two in teams of up to
    two agents."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        hints = typing.get_type_hints(type(self))
        for name in ("reveal", "order"):
            accepted = typing.get_args(hints[name])
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, accepted))}, got {getattr(self, name)!r}")

    def world_options(self) -> dict[str, Any]:
        """The diffusion model."""
        return {
            "kind": "diffusion",
            "reveal": self.reveal,
            "order": self.order,
            "num_steps": self.denoising_steps or None,
        }


@hyperparameters
class EnsembleConfig(ImaginationConfig):
    """Settings of PPO in an ensemble of networks."""

    members: int = 5
    """Networks of the ensemble."""
    model_hidden: tuple[int, ...] = (128, 128)
    """Widths of the layers of each network."""

    def world_options(self) -> dict[str, Any]:
        """The ensemble."""
        return {"kind": "ensemble", "members": self.members, "hidden": self.model_hidden}


@hyperparameters
class TokenConfig(ImaginationConfig):
    """Settings of PPO in a token transformer."""

    token_layers: int = 2
    """Layers of the transformer."""
    token_width: int = 64
    """Width of the transformer; a multiple of 4, its number of heads."""

    def world_options(self) -> dict[str, Any]:
        """The transformer."""
        return {"kind": "tokens", "token_layers": self.token_layers, "token_width": self.token_width}
