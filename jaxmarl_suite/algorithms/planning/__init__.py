"""Planning for teams: search in a learned model or in the environment itself, on one core."""

from jaxmarl_suite.algorithms.planning._config import JointConfig, MAZeroConfig, PlanningConfig
from jaxmarl_suite.algorithms.planning._core import Models, Planning, PlanningState, make_planning
from jaxmarl_suite.algorithms.planning._losses import Losses, policy_loss, total_loss, unroll, unroll_losses
from jaxmarl_suite.algorithms.planning._parts import Batch, Method, TeamView, agents_apart, team_as_one
from jaxmarl_suite.algorithms.planning._targets import advantage_weights, steps_ahead, value_targets

__all__ = [
    "Batch",
    "JointConfig",
    "Losses",
    "MAZeroConfig",
    "Method",
    "Models",
    "Planning",
    "PlanningConfig",
    "PlanningState",
    "TeamView",
    "advantage_weights",
    "agents_apart",
    "make_planning",
    "policy_loss",
    "steps_ahead",
    "team_as_one",
    "total_loss",
    "unroll",
    "unroll_losses",
    "value_targets",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
