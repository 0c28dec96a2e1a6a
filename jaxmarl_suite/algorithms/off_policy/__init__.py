"""Off-policy learning from single steps: one core, and a short file per method."""

from jaxmarl_suite.algorithms.off_policy._config import ActorCriticConfig, NStepConfig, OffPolicyConfig, TeamConfig
from jaxmarl_suite.algorithms.off_policy._core import Learners, OffPolicy, OffPolicyState, make_off_policy
from jaxmarl_suite.algorithms.off_policy._memory import MemoryConfig
from jaxmarl_suite.algorithms.off_policy._parts import Batch, Done, Method, Setup, Shown, Team, make_team
from jaxmarl_suite.algorithms.off_policy._spec import off_policy_spec

__all__ = [
    "ActorCriticConfig",
    "Batch",
    "Done",
    "Learners",
    "MemoryConfig",
    "Method",
    "NStepConfig",
    "OffPolicy",
    "OffPolicyConfig",
    "OffPolicyState",
    "Setup",
    "Shown",
    "Team",
    "TeamConfig",
    "make_off_policy",
    "make_team",
    "off_policy_spec",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
