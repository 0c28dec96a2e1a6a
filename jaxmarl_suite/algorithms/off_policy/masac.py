"""MASAC: SAC for teams, with decentralized stochastic actors and critics of the global state and the joint action.

SAC (Haarnoja et al. 2018) in MADDPG's setting (Lowe et al. 2017). There is no single paper to follow. The choices here:
the joint policy is π(a|o) = Π_i π_i(a_i|o_i), so that its entropy is the sum of the agents', Σ_i H(π_i(·|o_i)); one
temperature weighs this sum, which is held near -1 nat for every entry of every agent's action; one pair of critics
learns the team's soft value; all actors maximize the same value, of the joint action that they all sample from their
current policies (`others="replay"` takes the others' actions from the replay instead). With one agent it is `sac`.
"""

from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._types import hyperparameters
from jaxmarl_suite.algorithms.off_policy._config import TeamConfig
from jaxmarl_suite.algorithms.off_policy._parts import Method, Team, make_team
from jaxmarl_suite.algorithms.off_policy._spec import off_policy_spec
from jaxmarl_suite.algorithms.off_policy.sac import SACConfig, sac_method
from jaxmarl_suite.ops import tanh_normal


@hyperparameters
class MASACConfig(SACConfig, TeamConfig):
    """SAC's fields and those of a team."""


def parts(config: MASACConfig, env: Environment) -> tuple[Team, Method]:
    """MASAC for `env`."""
    team = make_team(
        config,
        env,
        outputs=tanh_normal(env.spec.action_dim).num_outputs,
        share_parameters=config.share_parameters,
        context=config.context,
        others=config.others,
    )
    return team, sac_method(team)


SPEC = off_policy_spec("masac", MASACConfig, parts, "sac for teams: own observations, central critics")
