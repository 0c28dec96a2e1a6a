"""IPPO: every agent is a separate PPO learner, with actor and critic on its own observation (de Witt et al. 2020)."""

from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._types import AlgorithmSpec, Phase
from jaxmarl_suite.algorithms.core._views import local_view
from jaxmarl_suite.algorithms.ppo._actors import KINDS
from jaxmarl_suite.algorithms.ppo._config import PPOConfig
from jaxmarl_suite.algorithms.ppo._core import make_ppo
from jaxmarl_suite.algorithms.ppo._decentralized import local_policy


def make(config: PPOConfig, env: Environment) -> tuple[Phase, ...]:
    """IPPO for `env`."""
    policy = local_policy(config, env)
    critic = local_view(env.spec, agent_id=config.share_parameters)
    return (Phase("ppo", make_ppo(config, env, policy, critic, share_critic=config.share_parameters)),)


SPEC = AlgorithmSpec("ippo", PPOConfig, make, "independent PPO: local actors, local critics", actions=KINDS)
