"""Parts of the off-policy methods: stored data, kinds of actions, actors and critics, and what methods define.

Axes: E environments, B sampled steps, N agents, A entries of one agent's action, G entries of the critics' context,
C critics, K groups of them, M joint actions that actors are improved at.

Continuous actions inside are normalized, [-1, 1] in every entry, 0 in padded ones (`EnvSpec.agent_action_sizes`); only
environments see their own bounds. Where actions are discrete they are [N] int32 in place of [N, A], and A entries of a
mask.
"""

import dataclasses
import math
import operator
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, EnvSpec, pytree_dataclass

from jaxmarl_suite.algorithms.core._targets import polyak
from jaxmarl_suite.algorithms.core._types import ActContext, Context, Milestone
from jaxmarl_suite.algorithms.core._views import View, central_view, local_view
from jaxmarl_suite.algorithms.off_policy._config import ActorConfig, GradientConfig
from jaxmarl_suite.networks import Critics, Network, make_critics, make_network, per_agent
from jaxmarl_suite.ops import random_legal
from jaxmarl_suite.replay import Places, Store, StoreLayout, read_n_step


@pytree_dataclass
class Shown:
    """The stored part of a step's observation."""

    obs: jax.Array  # [N, *obs_shape]
    state: jax.Array  # [G] global state; G = 0 if critics use observations
    mask: jax.Array  # [N, A] bool legal actions; A = 0 for continuous actions


@pytree_dataclass
class Done:
    """The stored part of the step itself."""

    action: jax.Array  # [N, A] in [-1, 1], or [N] int32
    reward: jax.Array  # [] reward of the team, scaled


@pytree_dataclass
class Batch:
    """Sampled steps with their n-step returns."""

    obs: jax.Array  # [B, N, *obs_shape]
    state: jax.Array  # [B, G]
    action: jax.Array  # [B, N, A] or [B, N]
    reward: jax.Array  # [B] discounted sum over the steps
    discount: jax.Array  # [B] of the bootstrapped value; 0 after termination
    next_obs: jax.Array  # [B, N, *obs_shape], n steps later
    next_state: jax.Array  # [B, G]
    next_mask: jax.Array  # [B, N, A]
    prepared: Any  # [B, ...] the method's preparation for these steps


def read_batch(
    layout: StoreLayout, store: Store, prepared: Any, places: Places, *, n_step: int, gamma: jax.Array
) -> Batch:
    """The sampled steps and their n-step returns, which stop at the ends of episodes and at the newest stored step.

    Steps whose next observation is not stored (see `replay.StoreLayout`) are replaced by another one of the batch.

    Args:
      layout: layout of the store.
      store: contains `Done` as steps and `Shown` as observations.
      prepared: pytree [E, C, ...], aligned with the store.
      places: [B] places of steps.
      n_step: n.
      gamma: discount of one step.
    """
    head, contents = store.head, store.contents
    found = read_n_step(layout, head, contents, places, reward=contents.steps.reward, n_step=n_step, gamma=gamma)
    own = jax.tree.map(lambda x: x[places.env, places.slot], prepared)
    before, after = found.observed, found.next_observed
    batch = Batch(
        before.obs,
        before.state,
        found.steps.action,
        found.reward,
        found.discount,
        after.obs,
        after.state,
        after.mask,
        own,
    )
    if layout.episode_limit is None:
        return batch
    at = jnp.where(found.is_known, jnp.arange(found.is_known.shape[0]), jnp.argmax(found.is_known))
    return jax.tree.map(lambda x: x[at], batch)


class Actions(NamedTuple):
    """A kind of actions. Keys are consumed."""

    random: Callable[[jax.Array, jax.Array], jax.Array]
    """`(key, mask [E, N, A]) -> actions of E environments` as they are stored, uniform over the legal ones."""
    to_env: Callable[[jax.Array], jax.Array]
    """Converts stored actions for the environment."""
    from_env: Callable[[jax.Array], jax.Array]
    """Converts the environment's actions [*, N, A] or [*, N] for storing."""


def continuous_actions(spec: EnvSpec) -> Actions:
    """Actions [E, N, A] in [-1, 1], scaled to the environment's bounds; padding is given by the spec, not by masks.

    Raises:
      ValueError: actions have no bounds.
    """
    low, high = spec.action_bounds
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"continuous actions need finite bounds, lower below upper, but {spec.id!r} has {spec.action_bounds}"
        )

    def random(key: jax.Array, mask: jax.Array) -> jax.Array:
        shape = (*mask.shape[:-1], spec.action_dim)
        return without_padding(spec, jax.random.uniform(key, shape, jnp.float32, minval=-1.0))

    return Actions(
        random=random,
        to_env=lambda action: low + (action + 1.0) * (0.5 * (high - low)),
        from_env=lambda action: without_padding(spec, jnp.clip((action - low) * (2.0 / (high - low)) - 1.0, -1.0, 1.0)),
    )


def without_padding(spec: EnvSpec, action: jax.Array) -> jax.Array:
    """Continuous actions [*, N, A] in [-1, 1] with 0 in padded entries, so that critics see no noise there."""
    if not spec.agent_action_sizes:
        return action
    return jnp.where(jnp.broadcast_to(spec.real_actions, action.shape), action, 0.0)


def discrete_actions() -> Actions:
    """Actions [E, N] int32, unchanged; random ones are legal."""
    return Actions(random_legal, to_env=lambda action: action, from_env=lambda action: action)


@dataclasses.dataclass(frozen=True)
class Setup:
    """What every method is built for: settings, environment, and kind of actions."""

    config: Any
    """A `GradientConfig` with the fields that the method reads."""
    spec: EnvSpec
    """Spec of the environment; without a global state if none is used, so that none is stored."""
    actions: Actions


@dataclasses.dataclass(frozen=True)
class Actors(Setup):
    """Actors on their own observations, with continuous actions."""

    actor: Network
    """Network of all agents: the last batch axis is N."""
    view: View
    """Input of an actor."""

    @property
    def num_real_entries(self) -> int:
        """Entries of a joint action that are not padding."""
        return sum(self.spec.actions_per_agent)

    def output(self, params: Any, obs: jax.Array) -> jax.Array:
        """[B, N, outputs] outputs of the actors for observations [B, N, *obs_shape]."""
        nothing = jnp.zeros(0, jnp.float32)
        x, extra = self.view.encode(obs, nothing, nothing)
        batch = x.shape[:-2]
        return self.actor.step(params, self.actor.initial_carry(x.shape[:-1]), x, extra, jnp.zeros(batch, bool))[0]


@dataclasses.dataclass(frozen=True)
class Team(Actors):
    """Actors on their own observations and critics of all agents' continuous actions, for actor-critic methods."""

    critics: Critics
    critic_view: View
    others: Literal["replay", "policy"]
    """See `TeamConfig`."""

    @property
    def action_size(self) -> int:
        """Size of a joint action as input of critics, including padding."""
        return self.spec.n_agents * self.spec.action_dim

    def values(self, params: Any, obs: jax.Array, state: jax.Array, action: jax.Array) -> jax.Array:
        """[C, *M, B] values of joint actions [*M, B, N, A] in the states of [B] steps."""
        context = self.critic_view.encode(obs, state, jnp.zeros(0, jnp.float32))[0][..., 0, :]
        joint = action.reshape(*action.shape[:-2], self.action_size)
        return self.critics.values(params, jnp.broadcast_to(context, (*joint.shape[:-1], context.shape[-1])), joint)

    def group_min(self, values: jax.Array) -> jax.Array:
        """[K, *] minimum over each group of critics, from [C, *]."""
        groups = self.config.critic_groups
        return values.reshape(groups, self.config.num_critics // groups, *values.shape[1:]).min(1)

    def joint_actions(self, own: jax.Array, stored: jax.Array) -> jax.Array:
        """[M, B, N, A] joint actions at which actors are improved, given their choices `own` [B, N, A].

        With the others' actions from the replay, M = N and row m differs from `stored` [B, N, A] in agent m's action
        (MADDPG, Lowe et al. 2017, eq. 5); with the others' own choices, M = 1.
        """
        n = self.spec.n_agents
        if self.others == "policy" or n == 1:
            return own[None]
        return jnp.where(jnp.eye(n, dtype=bool)[:, None, :, None], own[None], stored[None])


def make_actors(config: GradientConfig, env: Environment, *, outputs: int, share_parameters: bool = True) -> Actors:
    """Actors for `env`; its global state is not used.

    Args:
      config: static sizes.
      env: one instance with continuous actions.
      outputs: outputs of an actor per agent.
      share_parameters: one actor with the agent's index as input; otherwise one per agent.

    Raises:
      ValueError: actions have no bounds.
    """
    spec = env.spec
    view = local_view(spec, agent_id=share_parameters and spec.n_agents > 1)
    network = make_network(
        view.size,
        outputs,
        hidden=config.hidden,
        activation="relu",
        initializer="torch",
        layer_norm=config.layer_norm,
    )
    actor = network if share_parameters else per_agent(network, spec.n_agents)
    return Actors(config, spec.replace(state_size=0), continuous_actions(spec), actor, view)


def make_team(
    config: ActorConfig,
    env: Environment,
    *,
    outputs: int,
    share_parameters: bool = True,
    context: Literal["auto", "state", "observations"] = "observations",
    others: Literal["replay", "policy"] = "policy",
) -> Team:
    """Actors and critics for `env`.

    Args:
      config: static sizes.
      env: one instance with continuous actions.
      outputs: outputs of an actor per agent.
      share_parameters: one actor with the agent's index as input; otherwise one per agent.
      context: input of critics.
      others: see `TeamConfig`.

    Raises:
      ValueError: the context is a global state, which the environment does not have, or actions have no bounds.
    """
    spec = env.spec
    if context == "state" and not spec.state_size:
        raise ValueError(
            f"context 'state' needs a global state, which {spec.id!r} does not have; use 'observations' or 'auto'"
        )
    actors = make_actors(config, env, outputs=outputs, share_parameters=share_parameters)
    sees_state = context == "state" or (context == "auto" and spec.n_agents > 1)
    shown = spec if sees_state else spec.replace(state_size=0)
    critic_view = central_view(shown)
    critics = make_critics(
        critic_view.size,
        spec.n_agents * spec.action_dim,
        num=config.num_critics,
        hidden=config.hidden,
        layer_norm=config.layer_norm,
        action_twice=config.action_twice,
    )
    return Team(config, shown, actors.actions, actors.actor, actors.view, critics, critic_view, others)


Networks = dict[str, Any]
"""Parameters or averaged targets by name: "actor" (everything learned with the actors' loss) and "critic"."""
Metrics = dict[str, jax.Array]


@pytree_dataclass
class NoActor:
    """The "actor" of a method that acts with its critics: it has no parameters."""


@pytree_dataclass
class NoCritic:
    """The "critic" of a method that only imitates: it has no parameters."""


class Method(NamedTuple):
    """The method-specific part of an off-policy learner. Keys are consumed."""

    init: Callable[[jax.Array], Networks]
    """Initial parameters: "actor" and "critic"."""
    explore: Callable[[Any, jax.Array, jax.Array, jax.Array, ActContext], jax.Array]
    """`(policy, obs [E, N, *obs_shape], mask [E, N, A], key, ctx) -> action` for exploration after the warm-up."""
    greedy: Callable[[Any, jax.Array, jax.Array], jax.Array]
    """`(policy, obs [E, N, *obs_shape], mask [E, N, A]) -> action` for evaluation and deployment."""
    targets: Callable[[Networks], Networks]
    """The part of the parameters that has target networks."""
    critic_loss: Callable[[Any, Any, Networks, Batch, jax.Array, Context], tuple[jax.Array, Metrics]]
    """`(critic, actor, targets, batch, key, ctx) -> (loss [], metrics)`, differentiated in its first argument."""
    actor_loss: Callable[[Any, Any, Batch, jax.Array, Context], tuple[jax.Array, Metrics]] | None
    """`(actor, critic, batch, key, ctx) -> (loss [], metrics)`, differentiated in its first argument. None if there is
    no actor to learn."""
    prepare: Callable[[Networks, Networks, StoreLayout, Store, jax.Array, Context], tuple[Networks, Any]]
    """`(parameters, targets, layout, store, key, ctx) -> (targets, prepared)`, called before each block of gradient
    steps; `prepared` is a pytree [E, C, ...] aligned with the store, whose entries are added to batches. `unprepared`
    for nothing."""
    update_targets: Callable[[Networks, Networks, Context], Networks]
    """`(targets, parameters, ctx) -> targets` after a gradient step of the actors (without actors, after every
    `policy_delay` steps of the critics); `averaged` for Polyak averaging."""
    policy_delay: int = 1
    """Gradient steps of the critics per gradient step of the actors."""
    n_step: int = 1
    """Rewards summed in a batch before bootstrapping."""
    policy: Callable[[Networks], Any] = operator.itemgetter("actor")
    """The part of the parameters that acts."""
    milestones: Callable[[Any], tuple[Milestone, ...]] = lambda config: ()
    """`config of a lane -> milestones` for the method's own settings."""


def unprepared(
    params: Networks, targets: Networks, layout: StoreLayout, store: Store, key: jax.Array, ctx: Context
) -> tuple[Networks, Any]:
    """Prepares nothing before a block."""
    return targets, ()


def averaged(targets: Networks, params: Networks, ctx: Context) -> Networks:
    """Targets moved a fraction `target_rate` towards the parameters: θ⁻ + τ (θ - θ⁻)."""
    return {name: polyak(params[name], target, ctx.hp.target_rate) for name, target in targets.items()}


def backed_up(batch: Batch, after: jax.Array) -> jax.Array:
    """[K, B] targets R + discount · V, from the values [K, B] of the sampled steps' next observations."""
    return batch.reward[None] + batch.discount[None] * jnp.where(batch.discount[None] > 0, after, 0.0)


def regress(values: jax.Array, target: jax.Array) -> tuple[jax.Array, Metrics]:
    """`(loss [], metrics)` of critics' values [C, B] on one target per group [K, B]: Σ_C mean_B (Q - y)²."""
    num, groups = values.shape[0], target.shape[0]
    error = values - jax.lax.stop_gradient(jnp.repeat(target, num // groups, axis=0))
    loss = jnp.sum(jnp.mean(jnp.square(error), axis=-1))
    return loss, {"critic_loss": loss, "td_error": jnp.abs(error).mean(), "q_mean": values.mean()}
