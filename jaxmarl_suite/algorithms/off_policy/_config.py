"""Configuration of the off-policy methods."""

import dataclasses
from typing import Literal

from jaxmarl_suite.algorithms.core._checks import check_floats, check_integers
from jaxmarl_suite.algorithms.core._types import hyperparameters


@hyperparameters
class OffPolicyConfig:
    """Settings of all off-policy methods. Floats may differ between the lanes of a sweep."""

    num_envs: int = 1
    """Environments stepped in parallel."""
    rollout_length: int = 50
    """Steps of each environment between two blocks of gradient steps."""
    gradient_steps: int = 50
    """Gradient steps of the critics per block."""
    capacity: int = 100_000
    """Capacity of the replay in steps, over all environments."""
    batch_size: int = 256
    """Steps per gradient step."""
    warmup_steps: int = dataclasses.field(default=10_000, metadata={"least": 0})
    """Environment steps with uniformly random actions before the first gradient step."""
    learning_rate: float = 3e-4
    """Learning rate of Adam, for all networks."""
    gamma: float = 0.99
    """Discount of one environment step."""
    target_rate: float = 0.005
    """Rate at which averaged target networks move towards the networks, per update of the targets."""
    reward_scale: float = 1.0
    """Factor by which rewards are multiplied before they are stored."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the networks' layers."""
    layer_norm: bool = False
    """Use layer normalization before each ReLU."""
    num_critics: int = 2
    """Number of critics."""
    critic_groups: int = 1
    """Number of groups into which critics are divided, in order; each group uses the minimum of its own target critics."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden must hold positive widths, got {self.hidden}")
        check_integers(self)
        check_floats(self, fractions=("gamma", "target_rate"), amounts=("learning_rate",), finite=("reward_scale",))
        if self.num_critics % self.critic_groups:
            raise ValueError(
                f"critic_groups must divide the {self.num_critics} critics (num_critics), got {self.critic_groups}"
            )
        if self.capacity < self.num_envs * self.rollout_length:
            raise ValueError(
                f"capacity must hold the {self.num_envs * self.rollout_length} steps of one update "
                f"(num_envs {self.num_envs} x rollout_length {self.rollout_length}), got {self.capacity}"
            )
        if self.capacity % self.num_envs:
            raise ValueError(
                f"capacity must be a multiple of num_envs, whose replay it is divided into, got {self.capacity} and "
                f"{self.num_envs}"
            )


@hyperparameters
class NStepConfig(OffPolicyConfig):
    """Additional settings of methods whose targets sum several rewards before they bootstrap."""

    n_step: int = 1
    """Rewards summed before bootstrapping; without off-policy correction."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        if self.capacity // self.num_envs < self.n_step:
            raise ValueError(
                f"n_step must not exceed the {self.capacity // self.num_envs} steps kept of each environment "
                f"(capacity / num_envs), got {self.n_step}"
            )


@hyperparameters
class ActorCriticConfig(OffPolicyConfig):
    """Additional settings of methods with actors."""

    policy_delay: int = 1
    """Gradient steps of the critics per gradient step of the actors; the averaged targets move together with the
    actors."""
    action_twice: bool = False
    """Feed the action to critics a second time, after their first layer."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        if self.action_twice and not self.hidden:
            raise ValueError("action_twice needs a first layer for the action to join, got hidden ()")


@hyperparameters
class TeamConfig(ActorCriticConfig):
    """Additional settings of methods for teams."""

    share_parameters: bool = True
    """One actor for all agents, with the agent's index as input; otherwise one actor per agent."""
    context: Literal["auto", "state", "observations"] = "auto"
    """Input of critics: the global state, all observations, or ("auto") the state if there is one."""
    others: Literal["replay", "policy"] = "policy"
    """The other agents' actions when an actor is improved: from the replay (one joint action per agent), or from their
    current actors (one joint action for all)."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        for name, accepted in (("context", ("auto", "state", "observations")), ("others", ("replay", "policy"))):
            value = getattr(self, name)
            if value not in accepted:
                raise ValueError(f"{name} must be {' or '.join(map(repr, accepted))}, got {value!r}")
