"""Configuration of the off-policy methods."""

import dataclasses
from typing import Any, Literal

from jaxmarl_suite.algorithms.core._checks import check_floats, check_integers
from jaxmarl_suite.algorithms.core._types import hyperparameters


@hyperparameters
class GradientConfig:
    """Settings of gradient steps, wherever the data comes from. Floats may differ between the lanes of a sweep."""

    gradient_steps: int = 50
    """Gradient steps per update; of the critics, if there are any."""
    batch_size: int = 256
    """Steps per gradient step."""
    learning_rate: float = 3e-4
    """Learning rate of Adam, for all networks."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the networks' layers."""
    layer_norm: bool = False
    """Use layer normalization before each ReLU."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden must hold positive widths, got {self.hidden}")
        check_integers(self)
        check_floats(self, amounts=("learning_rate",))


@hyperparameters
class CriticConfig(GradientConfig):
    """Additional settings of methods with critics."""

    gamma: float = 0.99
    """Discount of one environment step."""
    target_rate: float = 0.005
    """Rate at which averaged target networks move towards the networks, per update of the targets."""
    num_critics: int = 2
    """Number of critics."""
    critic_groups: int = 1
    """Number of groups into which critics are divided, in order; each group uses the minimum of its own target critics."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        check_floats(self, fractions=("gamma", "target_rate"))
        if self.num_critics % self.critic_groups:
            raise ValueError(
                f"critic_groups must divide the {self.num_critics} critics (num_critics), got {self.critic_groups}"
            )


@hyperparameters
class OffPolicyConfig(CriticConfig):
    """Additional settings of methods that collect their own experience."""

    num_envs: int = 1
    """Environments stepped in parallel."""
    rollout_length: int = 50
    """Steps of each environment between two blocks of gradient steps."""
    capacity: int = 100_000
    """Capacity of the replay in steps, over all environments."""
    warmup_steps: int = dataclasses.field(default=10_000, metadata={"least": 0})
    """Environment steps with uniformly random actions before the first gradient step."""
    reward_scale: float = 1.0
    """Factor by which rewards are multiplied before they are stored."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        check_floats(self, finite=("reward_scale",))
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
class OfflineConfig(GradientConfig):
    """Additional settings of methods that learn from stored data and never act."""

    gradient_steps: int = 100
    """Gradient steps per update; of the critics, if there are any."""
    total_gradient_steps: int = 100_000
    """Length of the training in gradient steps, rounded up to whole updates; papers take 500,000 to 1,000,000."""


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
class ActorConfig(CriticConfig):
    """Additional settings of methods with actors and critics."""

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
class ActorCriticConfig(ActorConfig, OffPolicyConfig):
    """The fields of actors and critics that collect their own experience."""


@hyperparameters
class SharingConfig(GradientConfig):
    """Additional settings of actors of teams."""

    share_parameters: bool = True
    """One actor for all agents, with the agent's index as input; otherwise one actor per agent."""


@hyperparameters
class ContextConfig(SharingConfig, ActorConfig):
    """Additional settings of critics of teams."""

    context: Literal["auto", "state", "observations"] = "auto"
    """Input of critics: the global state, all observations, or ("auto") the state of teams that have one."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        _check_choice(self, "context", ("auto", "state", "observations"))


@hyperparameters
class TeamFields(ContextConfig):
    """Additional settings of methods that improve the actors of teams with their critics."""

    others: Literal["replay", "policy"] = "policy"
    """The other agents' actions when an actor is improved: from the replay (one joint action per agent), or from their
    current actors (one joint action for all)."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        _check_choice(self, "others", ("replay", "policy"))


@hyperparameters
class TeamConfig(TeamFields, ActorCriticConfig):
    """The fields of teams that collect their own experience."""


def _check_choice(config: Any, name: str, accepted: tuple[str, ...]) -> None:
    value = getattr(config, name)
    if value not in accepted:
        raise ValueError(f"{name} must be {' or '.join(map(repr, accepted))}, got {value!r}")
