"""Configuration of the Q-learning methods."""

import dataclasses
from typing import Literal

from jaxmarl_suite.algorithms.core._checks import check_floats, check_integers
from jaxmarl_suite.algorithms.core._types import hyperparameters
from jaxmarl_suite.networks import ComputeDtype


@hyperparameters
class QConfig:
    """Settings of all Q-learning methods. Floats may differ between the lanes of a sweep."""

    num_envs: int = 16
    """Environments stepped in parallel; each adds one sequence per update."""
    rollout_length: int = 32
    """Length of a sequence: steps of each environment between two updates, and of the sequences that are learned from."""
    whole_episodes: bool = False
    """Every sequence is one episode from its first step, and nothing is learned from steps after its end (which still
    count as environment steps); `rollout_length` must then be at least the episode limit. Otherwise sequences follow
    one another, and episodes may end and start inside."""
    capacity: int = 2000
    """Capacity of the replay in sequences, rounded up to a multiple of `num_envs`."""
    batch_size: int = 32
    """Sequences per gradient step."""
    gradient_steps: int = 2
    """Gradient steps per update."""
    learning_starts: int = dataclasses.field(default=64, metadata={"least": 0})
    """Sequences to collect before the first gradient step."""
    prioritized: bool = False
    """Sample sequences in proportion to their TD error instead of uniformly. Not for stored replay."""
    priority_exponent: float = dataclasses.field(default=0.6, metadata={"static": True})
    """Exponent of the priorities; 0 is uniform."""
    importance_exponent: float = 0.4
    """Exponent of the importance weights; 1 corrects the bias of prioritized sampling fully."""
    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """RMSprop as in PyTorch with decay 0.99, or Adam."""
    learning_rate: float = 5e-4
    """Learning rate."""
    optimizer_eps: float = 1e-5
    """The optimizer's epsilon, outside the square root."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this global norm."""
    gamma: float = 0.99
    """Discount of one environment step."""
    trace_decay: float = dataclasses.field(default=0.0, metadata={"static": True})
    """λ of Peng's Q(λ) (Peng & Williams 1994): targets mix the returns after 1, 2, ... steps of the sequence with weights
    (1 - λ) λⁿ; 0 for one-step targets. PyMARL2 has 0.6. Actions are not corrected for exploration."""
    double_q: bool = True
    """Double Q-learning: targets use the target networks' values of the online agents' greedy actions."""
    target_period: int = dataclasses.field(default=20, metadata={"least": 0})
    """Gradient steps between copies of the networks into the target networks; 0 for averaged targets instead."""
    target_rate: float = 0.01
    """Rate at which averaged targets move towards the networks in every gradient step (only with `target_period` 0)."""
    epsilon_start: float = 1.0
    """Probability of a random action at the start."""
    epsilon_end: float = 0.05
    """Probability of a random action after `epsilon_steps`."""
    epsilon_steps: float = 50_000.0
    """Environment steps over which epsilon falls linearly."""
    recurrent: bool = True
    """Use agents with a GRU."""
    width: int = 64
    """Width of the agents' layers."""
    compute_dtype: ComputeDtype = "float32"
    """Precision of the agents' networks. With "bfloat16", parameters, gradients, memories and losses stay float32."""
    share_parameters: bool = True
    """One network for all agents, with the agent's index as input; otherwise one network per agent."""
    last_action: bool = True
    """Include each agent's last action in its input."""
    context: Literal["auto", "state", "observations"] = "auto"
    """Input of mixers: the global state, all observations, or ("auto") the state if there is one."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        check_integers(self)
        check_floats(
            self,
            fractions=(
                *("gamma", "target_rate", "epsilon_start", "epsilon_end"),
                *("importance_exponent", "priority_exponent", "trace_decay"),
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
