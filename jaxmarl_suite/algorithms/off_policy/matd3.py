"""MATD3: TD3 for teams, with decentralized actors and critics of the global state and the joint action (Ackermann et
al. 2019).

MADDPG (Lowe et al. 2017) with TD3's twin critics, target smoothing and delay. With one agent it is `td3`.

Deliberate differences: one pair of critics learns the team's reward, where the papers have a pair for each agent's own
(rewards are common here, so these would learn the same); actors may share parameters. As in the papers, an actor is
improved with the others' actions taken from the replay (Lowe et al., eq. 5); `others="policy"` uses their current
actions, so that all actors maximize the same value (Peng et al. 2021, FACMAC's centralized policy gradient).
"""

from typing import Literal

from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._types import hyperparameters
from jaxmarl_suite.algorithms.off_policy._config import TeamConfig
from jaxmarl_suite.algorithms.off_policy._parts import Method, Team, make_team
from jaxmarl_suite.algorithms.off_policy._spec import off_policy_spec
from jaxmarl_suite.algorithms.off_policy.td3 import TD3Config, td3_method


@hyperparameters
class MATD3Config(TD3Config, TeamConfig):
    """TD3's fields and those of a team."""

    others: Literal["replay", "policy"] = "replay"
    """The other agents' actions when an actor is improved: from the replay (one joint action per agent), or from their
    current actors (one joint action for all)."""


def parts(config: MATD3Config, env: Environment) -> tuple[Team, Method]:
    """MATD3 for `env`."""
    team = make_team(
        config,
        env,
        outputs=env.spec.action_dim,
        share_parameters=config.share_parameters,
        context=config.context,
        others=config.others,
    )
    return team, td3_method(team, n_step=config.n_step)


SPEC = off_policy_spec("matd3", MATD3Config, parts, "td3 for teams: own observations, central critics")
