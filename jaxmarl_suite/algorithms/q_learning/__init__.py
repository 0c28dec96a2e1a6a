"""Deep Q-learning for teams: one core, and a short file per method."""

from jaxmarl_suite.algorithms.q_learning._agents import Agents, Memory, Sequences, Steps, make_agents
from jaxmarl_suite.algorithms.q_learning._config import QConfig
from jaxmarl_suite.algorithms.q_learning._core import QState, make_q_learning
from jaxmarl_suite.algorithms.q_learning._learner import QBatch, QLearners, QLearning
from jaxmarl_suite.algorithms.q_learning._methods import Method, Team, Terms, make_team, mixed
from jaxmarl_suite.algorithms.q_learning._spec import q_spec

__all__ = [
    "Agents",
    "Memory",
    "Method",
    "QBatch",
    "QConfig",
    "QLearners",
    "QLearning",
    "QState",
    "Sequences",
    "Steps",
    "Team",
    "Terms",
    "make_agents",
    "make_q_learning",
    "make_team",
    "mixed",
    "q_spec",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
