"""Exact tabular laboratories: policy gradients on matrix games, the sequential transformation of finite MMDPs, value
factorization (best fits, fitted Q-iteration and gradient descent on the tables), the targets of episodic memory, and
what random rewards express.

But for the last two, which are about noise and data, nothing here samples. Expected returns, advantages, gradients and
values are computed from the whole payoff or transition table, so what goes wrong in these runs is a property of the
method and not of its estimators.
"""

from jaxmarl_suite.theory._ascent import Ascent, AscentResult, init_logits
from jaxmarl_suite.theory._descent import DescentResult, FactorizedDescent
from jaxmarl_suite.theory._episodic import (
    StoppingValues,
    TabularMemory,
    TabularResult,
    best_case_values,
    expected_stopping,
    propagate,
    random_deterministic_mdp,
    sample_stopping,
)
from jaxmarl_suite.theory._exact import advantages, expected_return, factorize, joint_distribution, policy_gradient
from jaxmarl_suite.theory._factorization import (
    Factorization,
    counterfactual_credit,
    igm_complete,
    linear_closed_form,
    linear_least_squares,
    product_data,
)
from jaxmarl_suite.theory._fitted_q import EpsilonGreedy, FittedQ, fitted_q_iteration
from jaxmarl_suite.theory._intents import (
    effective_rank,
    grid_world,
    intent_of,
    pessimistic_values,
    projection_error,
    random_labels,
    sample_dynamics,
    steps_to_learn,
)
from jaxmarl_suite.theory._mdp import FiniteMDP, Solution, evaluate, expected_gae, greedy, value_iteration
from jaxmarl_suite.theory._mmdp import FiniteMMDP, SequentialMDP, sequentialize
from jaxmarl_suite.theory._monotone import monotone_least_squares

__all__ = [
    "Ascent",
    "AscentResult",
    "DescentResult",
    "EpsilonGreedy",
    "Factorization",
    "FactorizedDescent",
    "FiniteMDP",
    "FiniteMMDP",
    "FittedQ",
    "SequentialMDP",
    "Solution",
    "StoppingValues",
    "TabularMemory",
    "TabularResult",
    "advantages",
    "best_case_values",
    "counterfactual_credit",
    "effective_rank",
    "evaluate",
    "expected_gae",
    "expected_return",
    "expected_stopping",
    "factorize",
    "fitted_q_iteration",
    "greedy",
    "grid_world",
    "igm_complete",
    "init_logits",
    "intent_of",
    "joint_distribution",
    "linear_closed_form",
    "linear_least_squares",
    "monotone_least_squares",
    "pessimistic_values",
    "policy_gradient",
    "product_data",
    "projection_error",
    "propagate",
    "random_deterministic_mdp",
    "random_labels",
    "sample_dynamics",
    "sample_stopping",
    "sequentialize",
    "steps_to_learn",
    "value_iteration",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
