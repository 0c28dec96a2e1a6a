"""Configuration of the PPO methods."""

import dataclasses
from typing import Literal

from jaxmarl_suite.algorithms.core._checks import check_floats, check_integers
from jaxmarl_suite.algorithms.core._types import hyperparameters
from jaxmarl_suite.networks import ComputeDtype


@hyperparameters
class PPOConfig:
    """Settings of all PPO methods. Floats may differ between the lanes of a sweep."""

    num_envs: int = 64
    """Environments stepped in parallel."""
    rollout_length: int = 16
    """Steps of each environment per rollout."""
    epochs: int = 8
    """Passes over a rollout."""
    minibatches: int = 1
    """Gradient steps per pass."""
    learning_rate: float = 1e-3
    """Adam's step size for the actor."""
    critic_learning_rate: float = 1e-3
    """Adam's step size for the critic."""
    adam_eps: float = 1e-5
    """Adam's epsilon."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this global norm."""
    anneal_learning_rate: bool = False
    """Lower both step sizes linearly to 0 over the run."""
    gamma: float = 0.99
    """Discount of one environment step."""
    gae_lambda: float = 0.95
    """Trace decay of one environment step."""
    clip: float = 0.2
    """Clipping range of each agent's probability ratio around 1."""
    entropy: float = 0.01
    """Weight of the entropy bonus at the start."""
    entropy_end: float = 0.0
    """Weight of the entropy bonus at the end; linear in between."""
    value_loss: Literal["mse", "huber"] = "huber"
    """Loss function of the critic."""
    huber_delta: float = 10.0
    """Error at which the Huber loss becomes linear, in normalized units."""
    clip_value: bool = True
    """Also clip the change of a value in one update, in normalized units; needs `normalize_values`."""
    normalize_values: bool = True
    """Learn values in units of the mean and standard deviation of their targets."""
    value_norm_decay: float = 0.0
    """Decay of these moments from one update to the next; 0 uses the moments of each update's own batch. The critic
    then only has to learn how values differ, since their mean and scale are updated at once; with 0.99, as in MAPPO's
    code, they lag behind by about a hundred updates, which is most of a short run."""
    normalize_advantages: bool = True
    """Scale advantages to mean 0 and standard deviation 1 over the batch."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the tanh layers."""
    recurrent: bool = False
    """Use a GRU before the layers."""
    memory_size: int = 64
    """Width of the GRU."""
    chunk_length: int = 8
    """Steps of truncated back-propagation through time; must divide `rollout_length` (recurrent only)."""
    compute_dtype: ComputeDtype = "float32"
    """What the networks compute in. With "bfloat16", parameters, gradients, memories and losses stay float32."""
    distribution: Literal["gaussian", "tanh-normal"] = "gaussian"
    """Distribution of continuous actions: Gaussian, with samples clipped to the bounds, or Gaussian squashed into the
    bounds by tanh."""
    initial_std: float = dataclasses.field(default=0.5, metadata={"static": True})
    """Initial standard deviation of continuous actions, in units of half the range of the bounds (tanh-normal: before
    squashing). MAPPO's published code starts at 1, HAPPO's at 0.37."""
    std_from_network: bool = False
    """Let the standard deviation of continuous actions depend on the agent's input; otherwise it is a separate
    parameter for every entry of the action, as in MAPPO and HAPPO."""
    share_parameters: bool = True
    """One network for all agents, with the agent's index as input; otherwise one network per agent."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden must hold positive widths, got {self.hidden}")
        check_integers(self)
        check_floats(
            self,
            fractions=("gamma", "gae_lambda", "value_norm_decay"),
            amounts=(
                *("learning_rate", "critic_learning_rate", "adam_eps", "max_grad_norm"),
                *("clip", "entropy", "entropy_end"),
            ),
            positive=("huber_delta",),
        )
        if self.clip_value and not self.normalize_values:
            raise ValueError(
                "clip_value limits how far values move in units of their standard deviation, so it needs "
                "normalize_values; with normalize_values=False set clip_value=False, too"
            )
        if self.value_loss not in ("mse", "huber"):
            raise ValueError(f"value_loss must be 'mse' or 'huber', got {self.value_loss!r}")
        if self.compute_dtype not in ("float32", "bfloat16"):
            raise ValueError(f"compute_dtype must be 'float32' or 'bfloat16', got {self.compute_dtype!r}")
        if self.distribution not in ("gaussian", "tanh-normal"):
            raise ValueError(f"distribution must be 'gaussian' or 'tanh-normal', got {self.distribution!r}")
        if not 0.01 <= self.initial_std <= 5.0:
            raise ValueError(f"initial_std must lie between 0.01 and 5, got {self.initial_std}")
        if self.recurrent and self.rollout_length % self.chunk_length:
            raise ValueError(
                f"chunk_length must divide rollout_length, got {self.chunk_length} and {self.rollout_length}"
            )
        if self.num_sequences % self.minibatches:
            unit = "sequences" if self.recurrent else "steps"
            raise ValueError(
                f"minibatches must divide the {self.num_sequences} {unit} of a rollout, got {self.minibatches}"
            )

    @property
    def sequence_length(self) -> int:
        """Length of the sequences that minibatches consist of."""
        return self.chunk_length if self.recurrent else 1

    @property
    def num_sequences(self) -> int:
        """Number of sequences in a rollout, over which minibatches are drawn."""
        return self.rollout_length // self.sequence_length * self.num_envs

    @property
    def memory(self) -> int:
        """H, the size of the recurrent state; 0 for feed-forward networks."""
        return self.memory_size if self.recurrent else 0
