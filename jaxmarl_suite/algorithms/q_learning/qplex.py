"""QPLEX: values and advantages of the agents, weighted so that every function with the IGM property can be represented
(Wang et al. 2021, arXiv 2008.01062).
"""

from typing import Literal

from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._types import hyperparameters
from jaxmarl_suite.algorithms.q_learning._config import QConfig
from jaxmarl_suite.algorithms.q_learning._methods import Method, Team, make_team, mixed
from jaxmarl_suite.algorithms.q_learning._spec import q_spec
from jaxmarl_suite.networks import duplex_mixer


@hyperparameters
class QPLEXConfig(QConfig):
    """Q-learning's fields and those of the duplex mixer. Defaults are the authors' for matrix games; for
    micromanagement they use 4 heads of depth 1, with the transformation "qatten" in the online network.
    """

    heads: int = 10
    """Number of heads for the weights of advantages."""
    hyper_hidden: int = 64
    """Width of the networks that compute weights."""
    depth: int = 3
    """Layers of each head."""
    transformation: Literal["weighted-head", "qatten"] = "weighted-head"
    """How the state rescales utilities: one weight and bias per agent, or attention over agents."""
    stop_gradient: bool = True
    """Advantages train only their weights, not the utilities; without it the optima differ."""


def parts(config: QPLEXConfig, env: Environment) -> tuple[Team, Method]:
    """QPLEX for `env`."""
    team = make_team(config, env)
    spec = env.spec
    mixer = duplex_mixer(
        spec.n_agents,
        spec.num_actions,
        team.view.size,
        team.obs_size,
        heads=config.heads,
        hyper_hidden=config.hyper_hidden,
        depth=config.depth,
        transformation=config.transformation,
        stop_gradient=config.stop_gradient,
    )
    return team, mixed(team, mixer)


SPEC = q_spec("qplex", QPLEXConfig, parts, "Q-learning on duplex-mixed values and advantages")
