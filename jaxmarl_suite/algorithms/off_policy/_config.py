"""What the off-policy methods are configured by."""

import dataclasses
from typing import Literal

from jaxmarl_suite.algorithms.core._checks import check_floats, check_integers
from jaxmarl_suite.algorithms.core._types import hyperparameters


@hyperparameters
class OffPolicyConfig:
    """What every off-policy method is configured by. Floats may differ between the lanes of a sweep."""

    num_envs: int = 1
    """Environments stepped in parallel."""
    rollout_length: int = 50
    """Steps of each environment between two blocks of gradient steps."""
    gradient_steps: int = 50
    """Gradient steps of the critics in a block."""
    capacity: int = 100_000
    """Steps in the replay, of all environments together."""
    batch_size: int = 256
    """Steps a gradient step learns from."""
    warmup_steps: int = dataclasses.field(default=10_000, metadata={"least": 0})
    """Environment steps played uniformly at random before the first gradient step."""
    learning_rate: float = 3e-4
    """Step size of Adam, for all that is learned."""
    gamma: float = 0.99
    """Discount of one environment step."""
    target_rate: float = 0.005
    """Share of the networks that enters their averaged targets each time."""
    reward_scale: float = 1.0
    """What rewards are multiplied by before they are stored."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the networks' layers."""
    layer_norm: bool = False
    """Layers are normalized before their ReLU."""
    num_critics: int = 2
    """Critics that are trained."""
    critic_groups: int = 1
    """Groups that critics form in order; each group learns from the smallest of its own target critics."""

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
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
    """What the methods have beside whose targets are rewards of some steps and an estimate of what follows."""

    n_step: int = 1
    """Rewards summed before the critics' estimate follows; uncorrected for what the policy would do now."""

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
        super().__post_init__()
        if self.capacity // self.num_envs < self.n_step:
            raise ValueError(
                f"n_step must not exceed the {self.capacity // self.num_envs} steps kept of each environment "
                f"(capacity / num_envs), got {self.n_step}"
            )


@hyperparameters
class ActorCriticConfig(OffPolicyConfig):
    """What the methods with actors have beside."""

    policy_delay: int = 1
    """Gradient steps of the critics for each one of the actors; the averaged targets move with the actors."""
    action_twice: bool = False
    """Critics are shown the action a second time, after their first layer."""

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
        super().__post_init__()
        if self.action_twice and not self.hidden:
            raise ValueError("action_twice needs a first layer for the action to join, got hidden ()")


@hyperparameters
class TeamConfig(ActorCriticConfig):
    """What the methods for teams have beside."""

    share_parameters: bool = True
    """One actor for all agents, told which agent it acts for; otherwise one actor each."""
    context: Literal["auto", "state", "observations"] = "auto"
    """What critics are shown: the global state, all observations, or the state where there is one."""
    others: Literal["replay", "policy"] = "policy"
    """What the other agents do where an actor is improved: what they did in the replay (one joint action an agent), or
    what their own actors would do now (one joint action for all)."""

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
        super().__post_init__()
        for name, accepted in (("context", ("auto", "state", "observations")), ("others", ("replay", "policy"))):
            value = getattr(self, name)
            if value not in accepted:
                raise ValueError(f"{name} must be {' or '.join(map(repr, accepted))}, got {value!r}")
