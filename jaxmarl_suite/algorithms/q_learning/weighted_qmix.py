"""CW-QMIX and OW-QMIX: QMIX fitted with more weight where it would underestimate, to the targets of an unrestricted
value (Rashid et al. 2020).

With recurrent agents, the central agents start every sequence with an empty memory, since the replay stores only that
of the acting agents.
"""

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment

from jaxmarl_suite.algorithms.core._checks import check_floats
from jaxmarl_suite.algorithms.core._types import Context, hyperparameters
from jaxmarl_suite.algorithms.q_learning._agents import Sequences
from jaxmarl_suite.algorithms.q_learning._methods import Method, Team, Terms, bootstrap, make_team
from jaxmarl_suite.algorithms.q_learning._spec import q_spec
from jaxmarl_suite.algorithms.q_learning.qmix import QMIXConfig
from jaxmarl_suite.networks import central_mixer, monotonic_mixer
from jaxmarl_suite.ops import greedy, legal_max, take


@hyperparameters
class WeightedQMIXConfig(QMIXConfig):
    """QMIX's fields, and those of the weighting and the unrestricted value."""

    alpha: float = 0.1
    """Weight of steps that are not fitted fully."""
    central_hidden: int = 256
    """Width of the unrestricted mixer."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        check_floats(self, fractions=("alpha",))


def parts(
    config: WeightedQMIXConfig, env: Environment, *, weighting: Literal["central", "optimistic"]
) -> tuple[Team, Method]:
    """Weighted QMIX for `env`: L = (Q̂ - y)² + w (Q_tot - y)² with y = r + γ Q̂⁻(s', argmax of the utilities).

    optimistic: w = 1 where Q_tot < y, else alpha. central: w = 1 where all agents acted greedily or y exceeds
    Q̂⁻(s, greedy), else alpha.
    """
    team, n = make_team(config, env), env.spec.n_agents
    agents = team.agents
    mixer = monotonic_mixer(n, team.view.size, embed=config.embed, hyper_hidden=config.hyper_hidden)
    central = central_mixer(n, team.view.size, hidden=config.central_hidden)

    def init(key: jax.Array) -> dict[str, Any]:
        mixer_key, agents_key, central_key = jax.random.split(key, 3)
        return {
            "mixer": mixer.init(mixer_key),
            "central_agents": agents.network.init(agents_key),
            "central": central.init(central_key),
        }

    def terms(params: Any, target: Any, batch: Sequences, ctx: Context) -> Terms:
        steps = batch.steps
        context, obs = team.context(steps.obs, steps.state), team.flat_obs(steps.obs)
        own, old = agents.unroll(params["agents"], batch), agents.unroll(target["agents"], batch)
        hidden = agents.network.initial_carry(batch.memory.last_action.shape)
        fresh = dataclasses.replace(batch.memory, hidden=hidden)
        unremembered = dataclasses.replace(batch, memory=fresh)
        own_central = agents.unroll(params["central_agents"], unremembered)
        old_central = agents.unroll(target["central_agents"], unremembered)

        def joint(mix: Any, mix_params: Any, q: jax.Array, mask: jax.Array, action: jax.Array, at: Any) -> jax.Array:
            return mix(mix_params, take(q, action), legal_max(q, mask), action, *at)[0][..., 0]

        next_action = team.next_action(own.next_q, old.next_q, steps.next_mask)
        at_next = (team.context(steps.next_obs, steps.next_state), team.flat_obs(steps.next_obs))
        next_q = joint(central.mix, target["central"], old_central.next_q, steps.next_mask, next_action, at_next)
        y = bootstrap(steps, next_q[..., None], ctx)[..., 0]

        at = (context, obs)
        q_hat = joint(central.mix, params["central"], own_central.q, steps.mask, steps.action, at)
        q_tot = joint(mixer.mix, params["mixer"], own.q, steps.mask, steps.action, at)
        if weighting == "optimistic":
            is_full = q_tot < y
        else:
            best = greedy(own.q, steps.mask)
            best_q = joint(central.mix, target["central"], old_central.q, steps.mask, best, at)
            is_full = (steps.action == best).all(-1) | (y > best_q)
        weight = jax.lax.stop_gradient(jnp.where(is_full, 1.0, ctx.hp.alpha))
        loss = jnp.square(q_hat - y) + weight * jnp.square(q_tot - y)
        return Terms(loss, jnp.abs(q_tot - y), q_tot, jnp.zeros((), jnp.float32))

    return team, Method(init, terms)


CW_SPEC = q_spec("cw-qmix", WeightedQMIXConfig, partial(parts, weighting="central"), "QMIX, centrally weighted")
OW_SPEC = q_spec("ow-qmix", WeightedQMIXConfig, partial(parts, weighting="optimistic"), "QMIX, optimistically weighted")
