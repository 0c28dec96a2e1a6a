"""MAPPO: PPO with local actors and one critic on the global state (Yu et al. 2022)."""

from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._types import AlgorithmSpec, Phase
from jaxmarl_suite.algorithms.core._views import central_view
from jaxmarl_suite.algorithms.ppo._actors import KINDS
from jaxmarl_suite.algorithms.ppo._config import PPOConfig
from jaxmarl_suite.algorithms.ppo._core import PPO, make_ppo, make_ppo_learner
from jaxmarl_suite.algorithms.ppo._decentralized import local_policy


def parts(config: PPOConfig, env: Environment) -> PPO:
    """MAPPO's learner for `env`."""
    return make_ppo_learner(config, env.spec, local_policy(config, env), central_view(env.spec))


def make(config: PPOConfig, env: Environment) -> tuple[Phase, ...]:
    """MAPPO for `env`."""
    return (Phase("ppo", make_ppo(parts(config, env), env)),)


SPEC = AlgorithmSpec("mappo", PPOConfig, make, "PPO with local actors and a central critic", actions=KINDS)
