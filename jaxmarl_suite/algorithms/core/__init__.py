"""Shared by all families of algorithms: types, registry, settings, learners, views, schedules, targets."""

from jaxmarl_suite.algorithms.core._checks import LARGEST_INTEGER, check_floats, check_integers
from jaxmarl_suite.algorithms.core._learner import (
    Learner,
    adam,
    by_agent,
    fit,
    fit_agents,
    gradient_step,
    learn_when,
    new_learner,
    to_sequences,
    zeros,
)
from jaxmarl_suite.algorithms.core._registry import get, names, register
from jaxmarl_suite.algorithms.core._rollout import Transitions, rollout
from jaxmarl_suite.algorithms.core._schedules import annealed, epsilon
from jaxmarl_suite.algorithms.core._settings import coerce, config, nearest_field, unknown_field
from jaxmarl_suite.algorithms.core._targets import copied_if, polyak
from jaxmarl_suite.algorithms.core._types import (
    ActContext,
    Algorithm,
    AlgorithmSpec,
    Average,
    Context,
    Metrics,
    Milestone,
    Phase,
    Stacked,
    episode_metrics,
    field_types,
    hyperparameters,
    traced_fields,
)
from jaxmarl_suite.algorithms.core._views import View, central_view, local_view, sequential_view

__all__ = [
    "LARGEST_INTEGER",
    "ActContext",
    "Algorithm",
    "AlgorithmSpec",
    "Average",
    "Context",
    "Learner",
    "Metrics",
    "Milestone",
    "Phase",
    "Stacked",
    "Transitions",
    "View",
    "adam",
    "annealed",
    "by_agent",
    "central_view",
    "check_floats",
    "check_integers",
    "coerce",
    "config",
    "copied_if",
    "episode_metrics",
    "epsilon",
    "field_types",
    "fit",
    "fit_agents",
    "get",
    "gradient_step",
    "hyperparameters",
    "learn_when",
    "local_view",
    "names",
    "nearest_field",
    "new_learner",
    "polyak",
    "register",
    "rollout",
    "sequential_view",
    "to_sequences",
    "traced_fields",
    "unknown_field",
    "zeros",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
