"""QMIX: the joint value is a monotone function of the utilities, with weights computed from the state (Rashid et al.
2018).
"""

from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._types import hyperparameters
from jaxmarl_suite.algorithms.q_learning._config import QConfig
from jaxmarl_suite.algorithms.q_learning._methods import Method, Team, make_team, mixed
from jaxmarl_suite.algorithms.q_learning._spec import q_spec
from jaxmarl_suite.networks import monotonic_mixer


@hyperparameters
class QMIXConfig(QConfig):
    """Q-learning's fields and those of the mixing network."""

    embed: int = 32
    """Width of the mixing network."""
    hyper_hidden: int = 64
    """Width of the networks that compute its weights."""


def parts(config: QMIXConfig, env: Environment) -> tuple[Team, Method]:
    """QMIX for `env`."""
    team = make_team(config, env)
    mixer = monotonic_mixer(env.spec.n_agents, team.view.size, embed=config.embed, hyper_hidden=config.hyper_hidden)
    return team, mixed(team, mixer)


SPEC = q_spec("qmix", QMIXConfig, parts, "Q-learning on a monotone mixture of utilities")
