"""Building blocks of algorithms, each checked against an oracle: distributions, returns, normalisation."""

from jaxmarl_suite.ops._continuous_heads import diagonal_gaussian, tanh_normal
from jaxmarl_suite.ops._heads import ActionHead, categorical
from jaxmarl_suite.ops._returns import NStepReturn, generalized_advantage, n_step_return, sequential_advantage
from jaxmarl_suite.ops._values import ValueNorm, value_loss

__all__ = [
    "ActionHead",
    "NStepReturn",
    "ValueNorm",
    "categorical",
    "diagonal_gaussian",
    "generalized_advantage",
    "n_step_return",
    "sequential_advantage",
    "tanh_normal",
    "value_loss",
]
