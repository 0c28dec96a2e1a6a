"""Multi-agent PPO: one core, and a short file per method."""

from jaxmarl_suite.algorithms.ppo._actors import policy_head, policy_network
from jaxmarl_suite.algorithms.ppo._config import PPOConfig
from jaxmarl_suite.algorithms.ppo._core import PPOState, make_ppo
from jaxmarl_suite.algorithms.ppo._decentralized import local_policy
from jaxmarl_suite.algorithms.ppo._policies import JointPolicy, autoregressive_policy, independent_policy

__all__ = [
    "JointPolicy",
    "PPOConfig",
    "PPOState",
    "autoregressive_policy",
    "independent_policy",
    "local_policy",
    "make_ppo",
    "policy_head",
    "policy_network",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
