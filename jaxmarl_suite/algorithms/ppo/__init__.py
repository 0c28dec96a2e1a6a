"""Multi-agent PPO: one core, and a short file per method."""

from jaxmarl_suite.algorithms.ppo._actors import NetworkMaker, default_network, policy_head, policy_network
from jaxmarl_suite.algorithms.ppo._config import PPOConfig
from jaxmarl_suite.algorithms.ppo._core import (
    PPO,
    Drawn,
    PPOLearners,
    PPOState,
    Trajectory,
    init_state,
    make_ppo,
    make_ppo_learner,
    update_state,
)
from jaxmarl_suite.algorithms.ppo._decentralized import local_policy
from jaxmarl_suite.algorithms.ppo._policies import JointPolicy, autoregressive_policy, independent_policy

__all__ = [
    "PPO",
    "Drawn",
    "JointPolicy",
    "NetworkMaker",
    "PPOConfig",
    "PPOLearners",
    "PPOState",
    "Trajectory",
    "autoregressive_policy",
    "default_network",
    "independent_policy",
    "init_state",
    "local_policy",
    "make_ppo",
    "make_ppo_learner",
    "policy_head",
    "policy_network",
    "update_state",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
