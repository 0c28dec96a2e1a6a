"""Networks and mixers as tuples of pure functions, with one type for feed-forward and recurrent networks."""

from jaxmarl_suite.networks._action_values import ActionValues, make_action_values
from jaxmarl_suite.networks._attention import KeyValueCache, attend, attention_over_agents, attention_over_time
from jaxmarl_suite.networks._critics import Critics, make_critics
from jaxmarl_suite.networks._joint_value import ValueNetwork, joint_value, state_value
from jaxmarl_suite.networks._mixers import (
    Mixer,
    central_mixer,
    duplex_mixer,
    independent_mixer,
    monotonic_mixer,
    sum_mixer,
)
from jaxmarl_suite.networks._network import (
    ComputeDtype,
    Network,
    append_parameters,
    computed_in,
    make_network,
    per_agent,
)
from jaxmarl_suite.networks._team_model import TeamModel, make_team_model

__all__ = [
    "ActionValues",
    "ComputeDtype",
    "Critics",
    "KeyValueCache",
    "Mixer",
    "Network",
    "TeamModel",
    "ValueNetwork",
    "append_parameters",
    "attend",
    "attention_over_agents",
    "attention_over_time",
    "central_mixer",
    "computed_in",
    "duplex_mixer",
    "independent_mixer",
    "joint_value",
    "make_action_values",
    "make_critics",
    "make_network",
    "make_team_model",
    "monotonic_mixer",
    "per_agent",
    "state_value",
    "sum_mixer",
]


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
