"""Building blocks of algorithms, each checked against an oracle: distributions, returns, normalisation."""

from jaxmarl_suite.ops._continuous_heads import diagonal_gaussian, tanh_normal
from jaxmarl_suite.ops._heads import ActionHead, categorical
from jaxmarl_suite.ops._returns import generalized_advantage, sequential_advantage
from jaxmarl_suite.ops._values import ValueNorm, value_loss

__all__ = [
    "ActionHead",
    "ValueNorm",
    "categorical",
    "diagonal_gaussian",
    "generalized_advantage",
    "sequential_advantage",
    "tanh_normal",
    "value_loss",
]
