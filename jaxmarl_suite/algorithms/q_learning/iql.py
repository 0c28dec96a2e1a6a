"""IQL: every agent learns the values of its own actions from its own reward (Tan 1993; Tampuu et al. 2017)."""

from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.q_learning._config import QConfig
from jaxmarl_suite.algorithms.q_learning._methods import Method, Team, make_team, mixed
from jaxmarl_suite.algorithms.q_learning._spec import q_spec
from jaxmarl_suite.networks import independent_mixer


def parts(config: QConfig, env: Environment) -> tuple[Team, Method]:
    """IQL for `env`: no mixing; the loss is the mean of one TD error per agent."""
    team = make_team(config, env)
    return team, mixed(team, independent_mixer(env.spec.n_agents))


SPEC = q_spec("iql", QConfig, parts, "independent Q-learning", is_mixing=False)
