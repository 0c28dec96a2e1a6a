"""IPPO: every agent is a separate PPO learner, with actor and critic on its own observation (de Witt et al. 2020)."""

from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._types import AlgorithmSpec, Phase
from jaxmarl_suite.algorithms.core._views import local_view
from jaxmarl_suite.algorithms.ppo._actors import KINDS
from jaxmarl_suite.algorithms.ppo._config import PPOConfig
from jaxmarl_suite.algorithms.ppo._core import PPO, make_ppo, make_ppo_learner
from jaxmarl_suite.algorithms.ppo._decentralized import local_policy


def parts(config: PPOConfig, env: Environment) -> PPO:
    """IPPO's learner for `env`."""
    policy, critic_view = local_policy(config, env), local_view(env.spec, agent_id=config.share_parameters)
    return make_ppo_learner(config, env.spec, policy, critic_view, share_critic=config.share_parameters)


def make(config: PPOConfig, env: Environment) -> tuple[Phase, ...]:
    """IPPO for `env`."""
    return (Phase("ppo", make_ppo(parts(config, env), env)),)


SPEC = AlgorithmSpec("ippo", PPOConfig, make, "independent PPO: local actors, local critics", actions=KINDS)
