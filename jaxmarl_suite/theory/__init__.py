"""Exact tabular laboratories: policy gradients on matrix games, and the sequential transformation of finite MMDPs.

Nothing here samples. Expected returns, advantages, gradients and values are computed from the whole payoff or
transition table, so what goes wrong in these runs is a property of the method and not of its estimators.
"""

from jaxmarl_suite.theory._ascent import Ascent, AscentResult, init_logits
from jaxmarl_suite.theory._exact import advantages, expected_return, factorise, joint_distribution, policy_gradient
from jaxmarl_suite.theory._mdp import FiniteMDP, Solution, evaluate, expected_gae, greedy, value_iteration
from jaxmarl_suite.theory._mmdp import FiniteMMDP, SequentialMDP, sequentialize

__all__ = [
    "Ascent",
    "AscentResult",
    "FiniteMDP",
    "FiniteMMDP",
    "SequentialMDP",
    "Solution",
    "advantages",
    "evaluate",
    "expected_gae",
    "expected_return",
    "factorise",
    "greedy",
    "init_logits",
    "joint_distribution",
    "policy_gradient",
    "sequentialize",
    "value_iteration",
]
