"""Cheap control tasks and a sparse chain, for tests and studies on few cores."""

from jaxmarl_envs.toy._cart_pole import CartPole, CartPoleParams, CartPoleState
from jaxmarl_envs.toy._chain import Chain, ChainParams, ChainState
from jaxmarl_envs.toy._family import FAMILY
from jaxmarl_envs.toy._handover import Handover, HandoverParams, HandoverState
from jaxmarl_envs.toy._linear_team import LinearTeam, LinearTeamParams, LinearTeamState, Regulator, draw_system, lqr
from jaxmarl_envs.toy._pendulum import Pendulum, PendulumParams, PendulumState
from jaxmarl_envs.toy._point_mass import PointMass, PointMassParams, PointMassState
from jaxmarl_envs.toy._puck import Puck, PuckParams, PuckState

__all__ = [
    "FAMILY",
    "CartPole",
    "CartPoleParams",
    "CartPoleState",
    "Chain",
    "ChainParams",
    "ChainState",
    "Handover",
    "HandoverParams",
    "HandoverState",
    "LinearTeam",
    "LinearTeamParams",
    "LinearTeamState",
    "Pendulum",
    "PendulumParams",
    "PendulumState",
    "PointMass",
    "PointMassParams",
    "PointMassState",
    "Puck",
    "PuckParams",
    "PuckState",
    "Regulator",
    "draw_system",
    "lqr",
]
