"""Building blocks of algorithms, each checked against an oracle: distributions, returns, normalization."""

from jaxmarl_suite.ops._action_values import epsilon_greedy, greedy, legal, legal_max, random_legal, take
from jaxmarl_suite.ops._continuous_heads import diagonal_gaussian, tanh_normal
from jaxmarl_suite.ops._episodic import (
    asymmetric_loss,
    capped_episodic_targets,
    critic_targets,
    episodic_targets,
    group_minimum,
    mean_episodic_targets,
    target_jump,
)
from jaxmarl_suite.ops._heads import ActionHead, categorical
from jaxmarl_suite.ops._masking import weighted, weighted_mean
from jaxmarl_suite.ops._returns import NStepReturn, generalized_advantage, n_step_return, sequential_advantage
from jaxmarl_suite.ops._two_hot import ScalarBins, compress_scalar, expand_scalar
from jaxmarl_suite.ops._values import ValueNorm, value_loss

__all__ = [
    "ActionHead",
    "NStepReturn",
    "ScalarBins",
    "ValueNorm",
    "asymmetric_loss",
    "capped_episodic_targets",
    "categorical",
    "compress_scalar",
    "critic_targets",
    "diagonal_gaussian",
    "episodic_targets",
    "epsilon_greedy",
    "expand_scalar",
    "generalized_advantage",
    "greedy",
    "group_minimum",
    "legal",
    "legal_max",
    "mean_episodic_targets",
    "n_step_return",
    "random_legal",
    "sequential_advantage",
    "take",
    "tanh_normal",
    "target_jump",
    "value_loss",
    "weighted",
    "weighted_mean",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
