"""UBER: behaviors extracted from data without rewards by random intents, then reused online (Hu et al. 2023,
"Unsupervised Behavior Extraction via Random Intent Priors", arXiv 2310.18687).

Phase "library", offline: N random reward functions label the data, and N learners of TD3+BC learn from one each
(`_library.py`). Its artifact is the library of their actors, which also fits other tasks of the same shapes
(`--start-from`). Phase "online": TD3 (or SAC, `online="sac"`) from scratch, which at every step may play what its own
target critics like best (policy expansion, Zhang et al. 2023, arXiv 2302.00935; `_expansion.py`):

    A(s) = {μ_1(s), ..., μ_N(s), π(s)},  P(i|s) ∝ exp(α min_k Q_k⁻(s, a_i)),  i ~ P,  a = clip(a_i + N(0, σ²), ±1)

Evaluations sample i, too, without noise. Everything else is TD3: targets use π⁻, the replay starts empty, as the data has
no rewards; the actor maximizes λ Q_1 with λ as offline. SAC's own candidate is drawn from its policy, and no noise is
added. With `reuse="guide"` (critic-guided policy reuse, Zhang et al.
2022) π acts alone, and the actor's loss has 0.1 ‖π(s) - a_g‖² in addition, a_g the best candidate in the eyes of the
critics. Deviations: critics and actors share one `target_rate`; the guide is chosen by the critics, not by their averages.

Reported are the composite policy, `own/...` (π alone), and during the first phase every policy of the library,
`library-0/...`. `acts_own` is the share of steps at which π acts, `acts_most` that of the most frequent candidate.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, TimeStep, VectorEnv, pytree_dataclass

from jaxmarl_suite.algorithms.core._checks import check_floats
from jaxmarl_suite.algorithms.core._types import (
    ActContext,
    ActFn,
    Algorithm,
    AlgorithmSpec,
    Context,
    Metrics,
    Phase,
    Stacked,
    hyperparameters,
)
from jaxmarl_suite.algorithms.off_policy._core import OffPolicyState, init_state, milestones, update_state
from jaxmarl_suite.algorithms.off_policy._expansion import Expansion, guided
from jaxmarl_suite.algorithms.off_policy._library import KINDS, LibraryLearner
from jaxmarl_suite.algorithms.off_policy._parts import Batch, Method, Team, make_team
from jaxmarl_suite.algorithms.off_policy._parts import Metrics as Losses
from jaxmarl_suite.algorithms.off_policy.masac import MASACConfig
from jaxmarl_suite.algorithms.off_policy.matd3 import MATD3Config
from jaxmarl_suite.algorithms.off_policy.sac import sac_method
from jaxmarl_suite.algorithms.off_policy.td3 import deterministic, td3_method
from jaxmarl_suite.algorithms.off_policy.td3_bc import TD3BCConfig, scale_of_values
from jaxmarl_suite.ops import tanh_normal

_CHOICES = {
    "library": KINDS,
    "head_mode": ("auto", "map", "vmap"),
    "online": ("td3", "sac"),
    "reuse": ("expansion", "guide"),
}


@hyperparameters
class UberConfig(TD3BCConfig, MATD3Config, MASACConfig):
    """The fields of TD3+BC, of TD3 and SAC, of the library and of its reuse."""

    gradient_steps: int = 50
    """Gradient steps of the critics per update, in both phases."""
    num_intents: int = 16
    """N, policies in the library; the paper has 100 to 256."""
    library: Literal["intents", "reward", "constant", "imitation", "untrained"] = "intents"
    """What the library learns from: random intents, the task's reward, a constant reward, the stored actions only, or
    nothing."""
    intent_hidden: tuple[int, ...] = (256, 256)
    """Widths of the layers of intents."""
    head_mode: Literal["auto", "map", "vmap"] = "auto"
    """How the N learners run: one after another ("map"), or as a batch ("vmap"), which is faster for small networks, but
    then last digits may depend on how many seeds are trained together. "auto": "map" on CPU, "vmap" elsewhere."""
    label_scale: float = 1.0
    """Standard deviation of labels."""
    label_shift: float = 0.0
    """Mean of labels: 0 for tasks that never terminate, 1 (a bonus for survival) for those that do."""
    online: Literal["td3", "sac"] = "td3"
    """What learns in the second phase."""
    reuse: Literal["expansion", "guide"] = "expansion"
    """How the library is used: its policies act, or the own policy is drawn towards them."""
    inverse_temperature: float = 10.0
    """How strongly candidates of higher value are preferred."""
    guide_weight: float = 0.1
    """Weight of imitating the best candidate, with `reuse="guide"`."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        check_floats(self, amounts=("label_scale", "inverse_temperature", "guide_weight"), finite=("label_shift",))
        if any(width < 1 for width in self.intent_hidden):
            raise ValueError(f"intent_hidden must hold positive widths, got {self.intent_hidden}")
        for name, accepted in _CHOICES.items():
            value = getattr(self, name)
            if value not in accepted:
                raise ValueError(f"{name} must be {' or '.join(map(repr, accepted))}, got {value!r}")


@pytree_dataclass
class OnlineState:
    """The state of the second phase between updates."""

    library: Any  # actors [N, ...], never changed
    online: OffPolicyState


def online_method(team: Team, behaviors: Team, library: Any) -> Method:
    """The learner of the second phase: SAC, or TD3 whose actor maximizes λ Q; with `reuse="guide"` it also imitates."""
    config: Any = team.config
    base = sac_method(team) if config.online == "sac" else _scaled(team, td3_method(team, n_step=config.n_step))
    return guided(team, behaviors, library, base) if config.reuse == "guide" else base


def _scaled(team: Team, base: Method) -> Method:
    """TD3 whose actor maximizes λ Q."""
    config: Any = team.config

    def actor_loss(actor: Any, critic: Any, batch: Batch, key: jax.Array, ctx: Context) -> tuple[jax.Array, Losses]:
        joint = team.joint_actions(deterministic(team, actor, batch.obs), batch.action)
        climbed = critic if config.climb == "mean" else jax.tree.map(lambda x: x[:1], critic)
        values = team.values(climbed, batch.obs, batch.state, joint)
        loss = -ctx.hp.alpha / scale_of_values(values) * jnp.sum(values.mean((0, 2)))
        return loss, {"actor_loss": loss}

    return base._replace(actor_loss=actor_loss)


def make_uber_team(config: UberConfig, env: Environment, *, outputs: int) -> Team:
    """Actors with this number of outputs, and critics."""
    return make_team(
        config,
        env,
        outputs=outputs,
        share_parameters=config.share_parameters,
        context=config.context,
        others=config.others,
    )


def behavior_team(config: UberConfig, env: Environment) -> Team:
    """The deterministic actors and the critics of the first phase."""
    return make_uber_team(config, env, outputs=env.spec.action_dim)


def online_team(config: UberConfig, env: Environment) -> Team:
    """The actors and critics of the second phase."""
    if config.online == "td3":
        return behavior_team(config, env)
    return make_uber_team(config, env, outputs=tanh_normal(env.spec.action_dim).num_outputs)


class Acts(NamedTuple):
    """How the policies of both phases act."""

    chosen: ActFn
    """As its own policy or a member of the library, whichever is chosen."""
    explore: ActFn
    """The same in play that is learned from."""
    own: ActFn
    """As its own policy."""
    alone: ActFn
    """As one member of the library, whose parameters are the policy."""


def make_acts(expansion: Expansion) -> Acts:
    """How policies act that are `{"library": [N, ...], "own": actor, "critic": critics}`."""
    to_env = expansion.behaviors.actions.to_env

    def act(policy: Any, carry: Any, timestep: TimeStep, key: jax.Array, ctx: ActContext) -> tuple[jax.Array, Any]:
        chosen = expansion.chosen(policy, expansion.greedy(policy, timestep), timestep, key, ctx)
        return to_env(chosen.action), carry

    def explore(policy: Any, carry: Any, timestep: TimeStep, key: jax.Array, ctx: ActContext) -> tuple[jax.Array, Any]:
        return to_env(expansion.explored(policy, timestep, key, ctx).action), carry

    def act_own(policy: Any, carry: Any, timestep: TimeStep, key: jax.Array, ctx: ActContext) -> tuple[jax.Array, Any]:
        return to_env(expansion.greedy(policy, timestep)), carry

    def act_alone(
        params: Any, carry: Any, timestep: TimeStep, key: jax.Array, ctx: ActContext
    ) -> tuple[jax.Array, Any]:
        return to_env(deterministic(expansion.behaviors, params, timestep.obs)), carry

    return Acts(act, explore, act_own, act_alone)


def make(config: UberConfig, env: Environment, has_data: bool) -> tuple[Phase, ...]:
    """Both phases; the second alone may be run with the artifact of the first."""
    behaviors, team = behavior_team(config, env), online_team(config, env)
    vector, offline = VectorEnv(env, config.num_envs), LibraryLearner(behaviors)

    def bound(library: Any) -> Expansion:
        method = online_method(team, behaviors, library)
        return Expansion(team, method, behaviors, library, adds_noise=config.online == "td3")

    unbound = bound(None)
    layout = unbound.layout(env)

    def init_library(key: jax.Array, ctx: Context) -> Any:
        own_key, key = jax.random.split(key)
        return offline.init(key, ctx, unbound.method.init(own_key))

    def begin(library: Any, key: jax.Array, ctx: Context) -> OnlineState:
        return OnlineState(library, init_state(bound(library), vector, layout, key, ctx))

    def init_online(key: jax.Array, ctx: Context) -> OnlineState:
        library_key, key = jax.random.split(key)
        return begin(init_library(library_key, ctx).heads.actor.params, key, ctx)

    def update(state: OnlineState, ctx: Context) -> tuple[OnlineState, Metrics]:
        online, metrics = update_state(bound(state.library), vector, layout, state.online, ctx)
        return OnlineState(state.library, online), metrics

    def policy_of(library: Any, actor: Any, critic: Any) -> dict[str, Any]:
        return {"library": library, "own": actor, "critic": critic}

    acts = make_acts(unbound)

    def no_memory(n: int) -> jax.Array:
        return jnp.zeros((n, 0), jnp.float32)

    library_phase = Algorithm(
        init=init_library,
        update=offline.update,
        policy=lambda state: policy_of(state.heads.actor.params, state.online["actor"], state.online["critic"]),
        init_carry=no_memory,
        act=acts.chosen,
        env_steps_per_update=0,
        extra_acts={"own": acts.own, "library": Stacked(acts.alone, lambda policy: policy["library"])},
    )
    online_phase = Algorithm(
        init=init_online,
        update=update,
        policy=lambda state: policy_of(
            state.library, state.online.learners.actor.params, state.online.learners.targets["critic"]
        ),
        init_carry=no_memory,
        act=acts.chosen,
        env_steps_per_update=config.num_envs * config.rollout_length,
        extra_acts={"own": acts.own},
        milestones=partial(milestones, unbound.method),
        explore=acts.explore,
    )
    return (
        Phase(
            "library",
            library_phase,
            updates=offline.updates,
            data=offline.data,
            artifact=lambda state: state.heads.actor.params,
            fits_any_task=True,
            trains_policy=False,
        ),
        Phase("online", online_phase, begin=begin),
    )


SPEC: AlgorithmSpec = AlgorithmSpec(
    "uber",
    UberConfig,
    make,
    "offline: behaviors of random intents, without rewards; online: td3 or sac that reuses them",
    actions=("continuous",),
    takes_data=True,
)
