"""The policy shared by PPO methods with independent actors."""

from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._views import local_view
from jaxmarl_suite.algorithms.ppo._actors import NetworkMaker, policy_head, policy_network
from jaxmarl_suite.algorithms.ppo._config import PPOConfig
from jaxmarl_suite.algorithms.ppo._policies import JointPolicy, independent_policy


def local_policy(config: PPOConfig, env: Environment, make: NetworkMaker | None = None) -> JointPolicy:
    """Every agent acts on its own observation (history); `make` for another network than `default_network`."""
    head = policy_head(config, env.spec)
    view = local_view(env.spec, agent_id=config.share_parameters)
    network = policy_network(config, env.spec, view, head, make)
    return independent_policy(network, view, head, shared=config.share_parameters)
