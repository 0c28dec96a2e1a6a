"""VDN: the joint value is the sum of the agents' utilities (Sunehag et al. 2018)."""

from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.q_learning._config import QConfig
from jaxmarl_suite.algorithms.q_learning._methods import Method, Team, make_team, mixed
from jaxmarl_suite.algorithms.q_learning._spec import q_spec
from jaxmarl_suite.networks import sum_mixer


def parts(config: QConfig, env: Environment) -> tuple[Team, Method]:
    """VDN for `env`."""
    team = make_team(config, env)
    return team, mixed(team, sum_mixer())


SPEC = q_spec("vdn", QConfig, parts, "Q-learning on the sum of utilities", is_mixing=False)
