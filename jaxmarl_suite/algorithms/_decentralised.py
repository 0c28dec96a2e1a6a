"""The part that PPO methods with independent actors share."""

from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms._policies import JointPolicy, independent_policy
from jaxmarl_suite.algorithms._ppo import PPOConfig
from jaxmarl_suite.algorithms._views import local_view
from jaxmarl_suite.networks import make_network
from jaxmarl_suite.ops import categorical

NEAR_UNIFORM = 0.01
"""Gain of the policy's last layer at the start."""


def local_policy(config: PPOConfig, env: Environment) -> JointPolicy:
    """Every agent acts on its own observation (history)."""
    head = categorical(env.spec.num_actions)
    view = local_view(env.spec, agent_id=config.share_parameters)
    network = make_network(
        view.size, head.num_outputs, hidden=config.hidden, memory_size=config.memory, out_scale=NEAR_UNIFORM
    )
    return independent_policy(network, view, head, shared=config.share_parameters)
