"""UBER: behaviors extracted from data without rewards by random intents, then reused online (Hu et al. 2023,
"Unsupervised Behavior Extraction via Random Intent Priors", arXiv 2310.18687).

Phase "library", offline: N random reward functions label the data, and N learners of TD3+BC learn from one each
(`_library.py`). Its artifact is the library of their actors, which also fits other tasks of the same shapes
(`--start-from`). Phase "online": TD3 from scratch, which at every step may play what its own target critics like best
(policy expansion, Zhang et al. 2023, arXiv 2302.00935):

    A(s) = {μ_1(s), ..., μ_N(s), π(s)},  P(i|s) ∝ exp(α min_k Q_k⁻(s, a_i)),  i ~ P,  a = clip(a_i + N(0, σ²), ±1)

Evaluations sample i, too, without noise. Everything else is TD3: targets use π⁻, the replay starts empty, as the data has
no rewards; the actor maximizes λ Q_1 with λ as offline. With `reuse="guide"` (critic-guided policy reuse, Zhang et al.
2022) π acts alone, and the actor's loss has 0.1 ‖π(s) - a_g‖² in addition, a_g the best candidate in the eyes of the
critics. Deviations: critics and actors share one `target_rate`; the guide is chosen by the critics, not by their averages.

Reported are the composite policy, `own/...` (π alone), and during the first phase every policy of the library,
`library-0/...`. `acts_own` is the share of steps at which π acts, `acts_most` that of the most frequent candidate.
"""

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, TimeStep, VectorEnv, pytree_dataclass

from jaxmarl_suite.algorithms.core._checks import check_floats
from jaxmarl_suite.algorithms.core._rollout import Transitions
from jaxmarl_suite.algorithms.core._types import (
    ActContext,
    Algorithm,
    AlgorithmSpec,
    Average,
    Context,
    Metrics,
    Phase,
    Stacked,
    hyperparameters,
)
from jaxmarl_suite.algorithms.off_policy._core import (
    Learners,
    OffPolicy,
    OffPolicyState,
    init_state,
    milestones,
    update_state,
)
from jaxmarl_suite.algorithms.off_policy._library import KINDS, LibraryLearner
from jaxmarl_suite.algorithms.off_policy._parts import Batch, Method, Team, make_team, without_padding
from jaxmarl_suite.algorithms.off_policy._parts import Metrics as Losses
from jaxmarl_suite.algorithms.off_policy.bc import imitation
from jaxmarl_suite.algorithms.off_policy.matd3 import MATD3Config
from jaxmarl_suite.algorithms.off_policy.td3 import deterministic, td3_method
from jaxmarl_suite.algorithms.off_policy.td3_bc import TD3BCConfig, scale_of_values
from jaxmarl_suite.replay import Block


@hyperparameters
class UberConfig(TD3BCConfig, MATD3Config):
    """The fields of TD3+BC, of TD3, of the library and of its reuse."""

    gradient_steps: int = 50
    """Gradient steps of the critics per update, in both phases."""
    num_intents: int = 64
    """N, policies in the library."""
    library: Literal["intents", "reward", "constant", "imitation", "untrained"] = "intents"
    """What the library learns from: random intents, the task's reward, a constant reward, the stored actions only, or
    nothing."""
    intent_hidden: tuple[int, ...] = (256, 256)
    """Widths of the layers of intents."""
    label_scale: float = 1.0
    """Standard deviation of labels."""
    label_shift: float = 0.0
    """Mean of labels: 0 for tasks that never terminate, 1 (a bonus for survival) for those that do."""
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
        for name, accepted in (("library", KINDS), ("reuse", ("expansion", "guide"))):
            value = getattr(self, name)
            if value not in accepted:
                raise ValueError(f"{name} must be {' or '.join(map(repr, accepted))}, got {value!r}")


@pytree_dataclass
class Chosen:
    """A step as it was played."""

    action: jax.Array  # [E, N, A] in [-1, 1]
    acts: jax.Array  # [E] int32, number of the candidate that acts; that of π is the last, -1 at random
    entropy: jax.Array  # [E] of the choice, in nats


@pytree_dataclass
class OnlineState:
    """The state of the second phase between updates."""

    library: Any  # actors [N, ...], never changed
    online: OffPolicyState


def candidates(team: Team, library: Any, own: Any, obs: jax.Array) -> jax.Array:
    """[N + 1, B, n, A] actions of the library's policies and, last, of the own one, for observations [B, n, ...]."""
    theirs = jax.vmap(lambda params: deterministic(team, params, obs))(library)
    return jnp.concatenate([theirs, deterministic(team, own, obs)[None]])


def scores(team: Team, critic: Any, obs: jax.Array, state: jax.Array, actions: jax.Array) -> jax.Array:
    """[M, B] values of M candidates [M, B, n, A]: the minimum over all critics."""
    return team.values(critic, obs, state, actions).min(0)


def choose(
    found: jax.Array, actions: jax.Array, inverse_temperature: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`(actions [B, n, A], candidates [B], entropies [B])`, drawn in proportion to exp(α score) of scores [M, B].

    Consumes `key`.
    """
    log_p = jax.nn.log_softmax(inverse_temperature * found, axis=0)
    chosen = jax.random.categorical(key, log_p, axis=0).astype(jnp.int32)
    action = actions[chosen, jnp.arange(actions.shape[1], dtype=jnp.int32)]
    return action, chosen, -(jnp.exp(log_p) * log_p).sum(0)


def online_method(team: Team, library: Any) -> Method:
    """TD3, whose actor maximizes λ Q; with `reuse="guide"` it also imitates the best candidate."""
    config: Any = team.config
    base = td3_method(team, n_step=config.n_step)

    def actor_loss(actor: Any, critic: Any, batch: Batch, key: jax.Array, ctx: Context) -> tuple[jax.Array, Losses]:
        own = deterministic(team, actor, batch.obs)
        joint = team.joint_actions(own, batch.action)
        climbed = critic if config.climb == "mean" else jax.tree.map(lambda x: x[:1], critic)
        values = team.values(climbed, batch.obs, batch.state, joint)
        loss = -ctx.hp.alpha / scale_of_values(values) * jnp.sum(values.mean((0, 2)))
        if config.reuse == "expansion":
            return loss, {"actor_loss": loss}
        actions = jax.lax.stop_gradient(candidates(team, library, actor, batch.obs))
        best = jnp.argmax(scores(team, critic, batch.obs, batch.state, actions), axis=0)
        distance = imitation(team, own, actions[best, jnp.arange(best.shape[0], dtype=jnp.int32)])
        return loss + ctx.hp.guide_weight * distance, {"actor_loss": loss, "guide_distance": distance}

    return base._replace(actor_loss=actor_loss)


@dataclasses.dataclass(frozen=True)
class Expansion(OffPolicy):
    """TD3's learner that may play the policies of a library."""

    library: Any = None
    """Actors [N, ...], bound while a program is traced."""

    def act(
        self, learners: Learners, ctx: Context, carry: Any, timestep: TimeStep, key: jax.Array
    ) -> tuple[jax.Array, Any, Chosen]:
        """One step of acting: random during the warm-up, then the chosen candidate with noise. Consumes `key`."""
        envs = timestep.obs.shape[0]

        def at_random(key: jax.Array) -> Chosen:
            action = self.setup.actions.random(key, timestep.action_mask)
            return Chosen(action, jnp.full((envs,), -1, jnp.int32), jnp.zeros((envs,), jnp.float32))

        is_warming_up = ctx.played(self.steps_per_update) < self.config.warmup_steps
        chosen = jax.lax.cond(is_warming_up, at_random, partial(self._chosen, learners, timestep, ctx), key)
        return self.setup.actions.to_env(chosen.action), carry, chosen

    def _chosen(self, learners: Learners, timestep: TimeStep, ctx: Context, key: jax.Array) -> Chosen:
        team: Any = self.setup
        choice_key, noise_key = jax.random.split(key)
        policy = {"library": self.library, "own": learners.actor.params, "critic": learners.targets["critic"]}
        action, acts, entropy = compose(team, policy, timestep, choice_key, ctx)
        noise = ctx.hp.exploration_noise * jax.random.normal(noise_key, action.shape, jnp.float32)
        return Chosen(without_padding(team.spec, jnp.clip(action + noise, -1.0, 1.0)), acts, entropy)

    def to_block(self, played: Transitions, last: TimeStep, ctx: Context) -> Block:
        """Converts a rollout to a block; only actions are stored."""
        return super().to_block(dataclasses.replace(played, record=played.record.action), last, ctx)

    def report(self, played: Transitions) -> dict[str, Average]:
        """How often which candidate acted after the warm-up."""
        num = self.config.num_intents
        acts, entropy = played.record.acts, played.record.entropy
        counted = (acts >= 0).astype(jnp.float32)
        shares = jnp.zeros((num + 1,), jnp.float32).at[jnp.where(acts < 0, num + 1, acts)].add(1.0, mode="drop")
        weight = counted.sum()
        return {
            "acts_own": Average(shares[num], weight),
            "acts_most": Average(shares.max(), weight),
            "choice_entropy": Average((counted * entropy).sum(), weight),
        }


def compose(
    team: Team, policy: Any, timestep: TimeStep, key: jax.Array, ctx: ActContext
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`(actions [E, n, A], candidates [E], entropies [E])` of the composite policy. Consumes `key`."""
    config: Any = team.config
    if config.reuse == "guide":
        action = deterministic(team, policy["own"], timestep.obs)
        envs = timestep.obs.shape[0]
        return action, jnp.full((envs,), config.num_intents, jnp.int32), jnp.zeros((envs,), jnp.float32)
    state = timestep.state[..., : team.spec.state_size]
    actions = candidates(team, policy["library"], policy["own"], timestep.obs)
    found = scores(team, policy["critic"], timestep.obs, state, actions)
    return choose(found, actions, ctx.hp.inverse_temperature, key)


def make_uber_team(config: UberConfig, env: Environment) -> Team:
    """The actors and critics of both phases."""
    return make_team(
        config,
        env,
        outputs=env.spec.action_dim,
        share_parameters=config.share_parameters,
        context=config.context,
        others=config.others,
    )


def make(config: UberConfig, env: Environment, has_data: bool) -> tuple[Phase, ...]:
    """Both phases; the second alone may be run with the artifact of the first."""
    team = make_uber_team(config, env)
    vector, offline = VectorEnv(env, config.num_envs), LibraryLearner(team)
    layout = Expansion(team, online_method(team, None)).layout(env)

    def bound(library: Any) -> Expansion:
        return Expansion(team, online_method(team, library), library)

    def init_library(key: jax.Array, ctx: Context) -> Any:
        own_key, key = jax.random.split(key)
        return offline.init(key, ctx, online_method(team, None).init(own_key))

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

    def act(policy: Any, carry: Any, timestep: TimeStep, key: jax.Array, ctx: ActContext) -> tuple[jax.Array, Any]:
        return team.actions.to_env(compose(team, policy, timestep, key, ctx)[0]), carry

    def act_alone(
        params: Any, carry: Any, timestep: TimeStep, key: jax.Array, ctx: ActContext
    ) -> tuple[jax.Array, Any]:
        return team.actions.to_env(deterministic(team, params, timestep.obs)), carry

    def own(policy: Any, *rest: Any) -> tuple[jax.Array, Any]:
        return act_alone(policy["own"], *rest)

    def no_memory(n: int) -> jax.Array:
        return jnp.zeros((n, 0), jnp.float32)

    library_phase = Algorithm(
        init=init_library,
        update=offline.update,
        policy=lambda state: policy_of(state.heads.actor.params, state.online["actor"], state.online["critic"]),
        init_carry=no_memory,
        act=act,
        env_steps_per_update=0,
        extra_acts={"own": own, "library": Stacked(act_alone, lambda policy: policy["library"])},
    )
    online_phase = Algorithm(
        init=init_online,
        update=update,
        policy=lambda state: policy_of(
            state.library, state.online.learners.actor.params, state.online.learners.targets["critic"]
        ),
        init_carry=no_memory,
        act=act,
        env_steps_per_update=config.num_envs * config.rollout_length,
        extra_acts={"own": own},
        milestones=partial(milestones, online_method(team, None)),
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
    "offline: behaviors of random intents, without rewards; online: td3 that reuses them",
    actions=("continuous",),
    takes_data=True,
)
