"""Building blocks of algorithms, each checked against an oracle: distributions, returns, normalisation."""

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
from jaxmarl_suite.ops._returns import generalized_advantage, sequential_advantage
from jaxmarl_suite.ops._values import ValueNorm, value_loss

__all__ = [
    "ActionHead",
    "ValueNorm",
    "asymmetric_loss",
    "capped_episodic_targets",
    "categorical",
    "critic_targets",
    "episodic_targets",
    "generalized_advantage",
    "group_minimum",
    "mean_episodic_targets",
    "sequential_advantage",
    "target_jump",
    "value_loss",
]
