"""Tree search over joint actions, in learned models and in the environments themselves.

>>> import jax, jaxmarl_envs
>>> from jaxmarl_suite import search
>>> env = jaxmarl_envs.make("matrix/M1")
>>> planner = search.sampled_search(search.environment_model(env), num_simulations=50)
>>> search.evaluate(planner, env, jax.random.key(0), num_episodes=2).returns.shape  # doctest: +SKIP
(2,)
"""

from jaxmarl_suite.search._candidates import (
    ENUMERATION_LIMIT,
    Candidates,
    enumerate_joint_actions,
    merge_duplicates,
    sample_candidates,
)
from jaxmarl_suite.search._enumerated import gumbel_search, muzero_search
from jaxmarl_suite.search._environment import (
    Evaluator,
    World,
    WorldParams,
    environment_model,
    rollout_evaluator,
    uniform_evaluator,
)
from jaxmarl_suite.search._learned import Observed, learned_model
from jaxmarl_suite.search._model import Model, Prediction, Root
from jaxmarl_suite.search._play import Played, evaluate
from jaxmarl_suite.search._result import Search, SearchResult, best_action, sample_action, uniform_action
from jaxmarl_suite.search._sampled import Node, sampled_search, sampled_tree

__all__ = [
    "ENUMERATION_LIMIT",
    "Candidates",
    "Evaluator",
    "Model",
    "Node",
    "Observed",
    "Played",
    "Prediction",
    "Root",
    "Search",
    "SearchResult",
    "World",
    "WorldParams",
    "best_action",
    "enumerate_joint_actions",
    "environment_model",
    "evaluate",
    "gumbel_search",
    "learned_model",
    "merge_duplicates",
    "muzero_search",
    "rollout_evaluator",
    "sample_action",
    "sample_candidates",
    "sampled_search",
    "sampled_tree",
    "uniform_action",
    "uniform_evaluator",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
