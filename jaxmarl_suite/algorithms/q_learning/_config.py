"""What the Q-learning methods are configured by."""

import dataclasses
from typing import Literal

from jaxmarl_suite.algorithms.core._checks import check_floats, check_integers
from jaxmarl_suite.algorithms.core._types import hyperparameters
from jaxmarl_suite.networks import ComputeDtype


@hyperparameters
class QConfig:
    """What every Q-learning method is configured by. Floats may differ between the lanes of a sweep."""

    num_envs: int = 16
    """Environments stepped in parallel; each adds one sequence per update."""
    rollout_length: int = 32
    """Steps of a sequence: of each environment between two updates, and of what is learned from at once."""
    whole_episodes: bool = False
    """Every sequence is one episode from its start, and nothing is learned from steps after its end (they are environment
    steps all the same); `rollout_length` must then reach the episode limit. Otherwise sequences follow each other and
    episodes may end and start inside."""
    capacity: int = 2000
    """Sequences in the replay, rounded up to a multiple of `num_envs`."""
    batch_size: int = 32
    """Sequences a gradient step."""
    gradient_steps: int = 2
    """Gradient steps per update."""
    learning_starts: int = dataclasses.field(default=64, metadata={"least": 0})
    """Sequences collected before the first gradient step."""
    prioritized: bool = False
    """Draw sequences in proportion to their TD error instead of uniformly. Not for stored replay."""
    priority_exponent: float = dataclasses.field(default=0.6, metadata={"static": True})
    """How much priorities matter; 0 is uniform."""
    importance_exponent: float = 0.4
    """How much of the bias of prioritized drawing is corrected; 1 is all."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """RMSprop as in PyTorch with decay 0.99, or Adam."""
    learning_rate: float = 5e-4
    """Step size."""
    optimizer_eps: float = 1e-5
    """The optimizer's epsilon, outside the root."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this global norm."""
    gamma: float = 0.99
    """Discount of one environment step."""
    double_q: bool = True
    """Targets take the online agents' greedy actions at the target networks' values; otherwise the target's own."""
    target_period: int = dataclasses.field(default=20, metadata={"least": 0})
    """Gradient steps between copies of the networks into their targets; 0 for averages instead."""
    target_rate: float = 0.01
    """Share of the networks that enters the averaged targets in every gradient step (`target_period` 0 only)."""
    epsilon_start: float = 1.0
    """Probability of a random action at the start."""
    epsilon_end: float = 0.05
    """Probability of a random action from `epsilon_steps` on."""
    epsilon_steps: float = 50_000.0
    """Environment steps over which it falls linearly."""
    recurrent: bool = True
    """Agents with a GRU."""
    width: int = 64
    """Units of the agents' layers."""
    compute_dtype: ComputeDtype = "float32"
    """What the agents' networks compute in. With "bfloat16", parameters, gradients, memories, mixers and losses stay
    float32."""
    share_parameters: bool = True
    """One network for all agents, told which agent it acts for; otherwise one network each."""
    last_action: bool = True
    """Agents are shown their own last action."""
    context: Literal["auto", "state", "observations"] = "auto"
    """What mixers are shown: the global state, all observations, or the state where there is one."""

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
        check_integers(self)
        check_floats(
            self,
            fractions=(
                *("gamma", "target_rate", "epsilon_start", "epsilon_end"),
                *("importance_exponent", "priority_exponent"),
            ),
            amounts=("learning_rate", "optimizer_eps", "max_grad_norm", "epsilon_steps"),
        )
        if self.optimizer not in ("rmsprop", "adam"):
            raise ValueError(f"optimizer must be 'rmsprop' or 'adam', got {self.optimizer!r}")
        if self.compute_dtype not in ("float32", "bfloat16"):
            raise ValueError(f"compute_dtype must be 'float32' or 'bfloat16', got {self.compute_dtype!r}")
        if self.context not in ("auto", "state", "observations"):
            raise ValueError(f"context must be 'auto', 'state' or 'observations', got {self.context!r}")
        for name, what in (("batch_size", "a batch"), ("num_envs", "the sequences of one update")):
            if self.capacity < getattr(self, name):
                raise ValueError(
                    f"capacity must hold {what} ({name} {getattr(self, name)}), got {self.capacity} sequences"
                )
