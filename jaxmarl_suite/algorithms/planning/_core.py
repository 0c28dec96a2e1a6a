"""Planning in a learned model, once: searched play, replay, targets that are searched anew, gradient steps.

MuZero (Schrittwieser et al. 2020) with reanalysis, as MAZero (Liu et al. 2024, arXiv 2405.11778) has it for teams, in one
compiled program. `Planning` is the learner: a gradient step on a batch, wherever that is from. `make_planning` plays and
stores, too.

Deliberate differences from MAZero's code: many environments act at once, with one batched search per step, and a block of
gradient steps follows; all targets are made when a batch is drawn, by the target networks, and none is kept; play before the
first gradient step is uniformly random instead of uniform over the children of a search, which is the same distribution for
networks that have learned nothing; the age at which targets have fewer rewards is a share of the run. As there, a time limit
ends an episode like any other end: what follows is learned to be worth nothing.
"""

import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, TimeStep, VectorEnv, VectorState, pytree_dataclass

from jaxmarl_suite.algorithms.core._learner import Learner, adam, gradient_step, learn_when, new_learner
from jaxmarl_suite.algorithms.core._rollout import Transitions, rollout
from jaxmarl_suite.algorithms.core._schedules import annealed
from jaxmarl_suite.algorithms.core._targets import copied_if
from jaxmarl_suite.algorithms.core._types import (
    ActContext,
    Algorithm,
    Context,
    Metrics,
    Milestone,
    Phase,
    episode_metrics,
)
from jaxmarl_suite.algorithms.planning._config import PlanningConfig
from jaxmarl_suite.algorithms.planning._losses import total_loss, unroll_losses
from jaxmarl_suite.algorithms.planning._parts import Batch, Done, Method, Shown
from jaxmarl_suite.algorithms.planning._targets import steps_ahead, value_targets
from jaxmarl_suite.ops import greedy, random_legal, weighted_mean
from jaxmarl_suite.replay import (
    Block,
    Head,
    Places,
    Store,
    StoreLayout,
    Windows,
    add_block,
    draw_by_priority,
    new_store,
    positions_in_time,
    read_windows,
    set_priorities,
)
from jaxmarl_suite.search import Model, Observed, SearchResult, best_action, learned_model


@pytree_dataclass
class Models:
    """What gradient steps change."""

    online: Learner
    snapshot: Any  # parameters, of the last copy
    target: Any  # parameters, of the copy before


@pytree_dataclass
class PlanningState:
    """All that a learner carries from one update to the next. E environments."""

    models: Models
    replay: Store  # of `Done` and `Shown`
    env: VectorState  # [E, ...]
    key: jax.Array  # []


@dataclasses.dataclass(frozen=True)
class Planning:
    """The learner with these static parts; floats of the config are read from `ctx.hp`."""

    config: PlanningConfig
    """Static settings."""
    method: Method
    """The search, and what is learned from it."""

    @property
    def steps_per_update(self) -> int:
        """Environment steps of a block of play."""
        return self.config.num_envs * self.config.rollout_length

    def optimizer(self, ctx: Context) -> Any:
        """Of all parameters."""
        return adam(ctx.hp.learning_rate, ctx.hp.optimizer_eps, ctx.hp.max_grad_norm)

    def init(self, key: jax.Array, ctx: Context) -> Models:
        """Fresh networks, and copies of them. Consumes `key`."""
        online = new_learner(self.method.networks.init, key, self.optimizer(ctx), shared=True)
        return Models(online, online.params, online.params)

    def model(self, ctx: ActContext) -> Model:
        """The networks as a model to search in."""
        view = self.method.view
        return learned_model(self.method.networks, view.n_agents, view.num_actions, self.config.bins, ctx.hp.gamma)

    def search(
        self, params: Any, obs: jax.Array, mask: jax.Array, key: jax.Array, ctx: ActContext, *, explore: bool
    ) -> SearchResult:
        """Searches from what environments showed. Consumes `key`.

        Args:
          params: of the networks.
          obs: [B, agents, *obs_shape].
          mask: [B, agents, actions] bool.
          key: random key.
          ctx: with hyper-parameters.
          explore: with noise.
        """
        view = self.method.view
        search = self.method.search(self.model(ctx), ctx, explore)
        return search(params, key, Observed(view.encode(obs), view.legal(mask)))

    def act(
        self, params: Any, ctx: Context, carry: Any, timestep: TimeStep, key: jax.Array
    ) -> tuple[jax.Array, Any, jax.Array]:
        """One step of play, for `rollout`: random during the warm-up, then searched. Consumes `key`."""
        view = self.method.view

        def searched(key: jax.Array) -> jax.Array:
            search_key, choose_key = jax.random.split(key)
            found = self.search(params, timestep.obs, timestep.action_mask, search_key, ctx, explore=True)
            return self.method.choose(choose_key, found, ctx)

        is_warming_up = ctx.played(self.steps_per_update) < self.config.warmup_steps  # no lane's own: stays a branch
        action = jax.lax.cond(
            is_warming_up, lambda key: random_legal(key, view.legal(timestep.action_mask)), searched, key
        )
        return view.to_env(action), carry, action

    def to_block(self, played: Transitions, last: TimeStep) -> Block:
        """A rollout [L, E, ...] as it is stored; `last` [E, ...] is what is shown after it."""
        shown, after = played.timestep, played.next_timestep
        return Block(
            steps=swap_axes(Done(played.record, after.reward.mean(-1))),
            observed=swap_axes(Shown(shown.obs, shown.action_mask)),
            observed_after=Shown(last.obs, last.action_mask),
            final=swap_axes(Shown(after.final_obs, after.final_mask)),
            terminated=after.terminated.T,
            truncated=after.truncated.T,
            start=(),
        )

    def layout(self, env: Environment) -> StoreLayout:
        """Of the replay; the capacity is rounded up to whole updates."""
        config = self.config
        return StoreLayout(
            config.num_envs,
            -(-config.capacity // self.steps_per_update),
            config.rollout_length,
            env.spec.episode_limit,
            priorities="step",
            priority_exponent=config.priority_exponent,
        )

    def draw(self, layout: StoreLayout, head: Head, key: jax.Array, ctx: Context) -> Places:
        """Places of B different stretches, by priority. Consumes `key`."""
        exponent = annealed(ctx.hp.importance_exponent, 1.0, ctx)
        ahead = self.config.window - 1
        return draw_by_priority(layout, head, key, self.config.batch_size, exponent, replace=False, ahead=ahead)

    def reanalyze(self, target: Any, windows: Windows, key: jax.Array, ctx: Context) -> SearchResult:
        """[B, U + 1, ...] searches by the target networks from all that was seen. Consumes `key`."""
        config = self.config
        seen = jax.tree.map(lambda x: x[:, : config.unroll_steps + 1], windows.observed)
        parts, size = config.reanalysis_parts, config.batch_size // config.reanalysis_parts * (config.unroll_steps + 1)
        roots = jax.tree.map(lambda x: x.reshape(parts, size, *x.shape[2:]), seen)

        def of_part(inputs: tuple[Shown, jax.Array]) -> SearchResult:
            shown, key = inputs
            return self.search(target, shown.obs, shown.mask, key, ctx, explore=True)

        found = jax.lax.map(of_part, (roots, jax.random.split(key, parts)))
        return jax.tree.map(lambda x: x.reshape(config.batch_size, config.unroll_steps + 1, *x.shape[2:]), found)

    def to_batch(
        self, target: Any, windows: Windows, places: Places, age: jax.Array, key: jax.Array, ctx: Context
    ) -> Batch:
        """Stored stretches with their targets. Consumes `key`.

        Args:
          target: parameters of the target networks.
          windows: [B, W, ...].
          places: [B], for their importance.
          age: [B] float32, environment steps since they began.
          key: random key.
          ctx: hyper-parameters and clock.
        """
        config, method, steps = self.config, self.method, self.config.unroll_steps
        obs = method.view.encode(windows.observed.obs)  # [B, W + 1, N, D]
        value = config.bins.decode(method.networks.assess(target, method.networks.represent(target, obs))[1])
        played = (ctx.horizon * self.steps_per_update + ctx.played_before).astype(jnp.float32)
        one_less = jnp.maximum(ctx.hp.stale_share * played, 1.0)
        reward, ended = windows.steps.reward, windows.terminated | windows.truncated
        returns = value_targets(
            reward,
            ended,
            windows.is_stored,
            value,
            steps_ahead(age, config.n_step, one_less),
            n_step=config.n_step,
            gamma=ctx.hp.gamma,
        )
        found = self.reanalyze(target, windows, key, ctx)
        goes_on = windows.same_episode[:, : steps + 1]
        is_seen = goes_on & windows.is_stored[:, : steps + 1] & (places.weight > 0)[:, None]
        return Batch(
            obs=obs[:, : steps + 1],
            action=windows.steps.action[:, :steps],
            reward=jnp.where(goes_on[:, :-1], reward[:, :steps], 0.0),
            value=returns,
            joint=found.actions,
            joint_weight=jax.lax.stop_gradient(method.joint_weight(found, is_seen, ctx)),
            counts=(windows.is_stored[:, : steps + 1] | ~goes_on).astype(jnp.float32),
            is_seen=is_seen,
            importance=places.weight,
            root_value=found.value[:, 0],
        )

    def learn(
        self, models: Models, batch: Batch, key: jax.Array, ctx: Context, *, copy: jax.Array | bool = False
    ) -> tuple[Models, jax.Array, dict[str, jax.Array]]:
        """`(models, each stretch's new priority [B], metrics)` after a gradient step.

        Args:
          models: before.
          batch: stretches with their targets, from a replay or anywhere else.
          key: consumed, for dropout.
          ctx: hyper-parameters and clock.
          copy: [] bool, whether networks are copied after the step.
        """

        def loss_fn(params: Any, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
            losses = unroll_losses(self.method.networks, self.config.bins, params, batch, key)
            weight = (batch.importance > 0).astype(jnp.float32)
            metrics = {
                "reward_loss": weighted_mean(losses.reward, weight),
                "value_loss": weighted_mean(losses.value, weight),
                "policy_loss": weighted_mean(losses.policy, weight),
                "consistency_loss": weighted_mean(losses.consistency, weight),
                "td_error": weighted_mean(losses.priority, weight),
                "value": weighted_mean(losses.predicted_value, weight),
                "priority": losses.priority,
            }
            return total_loss(losses, batch.importance, self.config.unroll_steps, ctx.hp), metrics

        online, metrics = gradient_step(models.online, batch, loss_fn, self.optimizer(ctx))
        priority = metrics.pop("priority")
        is_due = jnp.asarray(copy)
        target = copied_if(is_due, models.snapshot, models.target)
        snapshot = copied_if(is_due, online.params, models.snapshot)
        return Models(online, snapshot, target), priority, metrics | self.of_targets(batch)

    def of_targets(self, batch: Batch) -> dict[str, jax.Array]:
        """Means of value targets and of the values of searches, and the share of targets that the bins cannot hold.

        A search's value far above the target is luck taken for skill (see `search.sampled_search`).
        """
        low, high = self.config.bins.bounds
        is_drawn = (batch.importance > 0).astype(jnp.float32)
        counts = batch.counts * is_drawn[:, None]
        is_outside = ((batch.value < low) | (batch.value > high)).astype(jnp.float32)
        return {
            "value_target": weighted_mean(batch.value[:, 0], is_drawn),
            "search_value": weighted_mean(batch.root_value, is_drawn),
            "outside_bins": weighted_mean(is_outside, counts),
        }

    def copies(self, step: jax.Array, ctx: Context) -> jax.Array:
        """[] bool: gradient step number `step` of this update, from 1, is one after which networks are copied."""
        steps, period = self.config.gradient_steps, self.config.target_period
        updates = ctx.played(self.steps_per_update) // self.steps_per_update
        before = (updates % period) * (steps % period)  # gradient steps so far, up to whole periods
        return (before + step) % period == 0


def swap_axes(tree: Any) -> Any:
    """[L, E, ...] as [E, L, ...]."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tree)


def make_planning(config: PlanningConfig, env: Environment, method: Method, *, name: str) -> tuple[Phase, ...]:
    """The algorithm with these parts: plays in `env`, stores, learns.

    Args:
      config: static sizes; its floats are replaced by `ctx.hp`'s.
      env: one instance; batched and auto-reset here.
      method: the search, and what is learned from it.
      name: of the phase.
    """
    learner, vector = Planning(config, method), VectorEnv(env, config.num_envs)
    layout = learner.layout(env)

    def act(
        params: Any, carry: jax.Array, timestep: TimeStep, key: jax.Array, ctx: ActContext
    ) -> tuple[jax.Array, jax.Array]:
        found = learner.search(params, timestep.obs, timestep.action_mask, key, ctx, explore=False)
        return method.view.to_env(best_action(found)), carry

    def act_unsearched(
        params: Any, carry: jax.Array, timestep: TimeStep, key: jax.Array, ctx: ActContext
    ) -> tuple[jax.Array, jax.Array]:
        logits = method.networks.assess(params, method.networks.represent(params, method.view.encode(timestep.obs)))[0]
        return method.view.to_env(greedy(logits, method.view.legal(timestep.action_mask))), carry

    algorithm = Algorithm(
        init=partial(init_state, learner, vector, layout),
        update=partial(update_state, learner, vector, layout),
        policy=lambda state: state.models.online.params,
        init_carry=lambda n: jnp.zeros((n, 0), jnp.int32),
        act=act,
        env_steps_per_update=learner.steps_per_update,
        extra_acts={"policy": act_unsearched},
        milestones=milestones,
    )
    return (Phase(name, algorithm),)


def milestones(config: PlanningConfig) -> tuple[Milestone, ...]:
    """Settings in absolute units that decide when learning begins and targets move."""
    steps = config.num_envs * config.rollout_length
    first = max(math.ceil(config.warmup_steps / steps), 1)
    copied = max(math.ceil(config.target_period / config.gradient_steps), first)
    return (
        Milestone("warmup_steps", "the first gradient step", first * steps, is_vital=True),
        Milestone("target_period", "the first copy of the networks", copied * steps),
    )


def init_state(learner: Planning, env: VectorEnv, layout: StoreLayout, key: jax.Array, ctx: Context) -> PlanningState:
    """Fresh networks and episodes, an empty replay. Consumes `key`."""
    net_key, env_key, key = jax.random.split(key, 3)
    models, env_state = learner.init(net_key, ctx), env.reset(env_key, ctx.env_params)
    params = models.online.params
    block = jax.eval_shape(lambda: play(learner, env, params, env_state, env_key, ctx)[1])
    return PlanningState(models, new_store(layout, block), env_state, key)


def play(
    learner: Planning, env: VectorEnv, params: Any, env_state: VectorState, key: jax.Array, ctx: Context
) -> tuple[VectorState, Block, TimeStep]:
    """Plays L steps in each environment: `(environments after them, block to store, next timesteps [L, E, ...])`.

    Consumes `key`.
    """
    act = partial(learner.act, params, ctx)
    length = learner.config.rollout_length
    env_state, _, played = rollout(env, act, env_state, (), key, ctx.env_params, length)
    return env_state, learner.to_block(played, env_state.timestep), played.next_timestep


def learn_block(
    learner: Planning, layout: StoreLayout, models: Models, store: Store, key: jax.Array, ctx: Context
) -> tuple[Models, Head, dict[str, jax.Array]]:
    """`(models, head of the store, metrics)` after the gradient steps of one update. Consumes `key`."""

    def step(
        carried: tuple[Models, Head], inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[Models, Head], dict[str, jax.Array]]:
        (models, head), (number, key) = carried, inputs
        draw_key, target_key, learn_key = jax.random.split(key, 3)
        places = learner.draw(layout, head, draw_key, ctx)
        windows = read_windows(layout, head, store.contents, places, learner.config.window)
        position = positions_in_time(layout, head, places.slot)
        age = ((head.num_stored - 1 - position) * layout.num_envs).astype(jnp.float32)
        batch = learner.to_batch(models.target, windows, places, age, target_key, ctx)
        models, priority, metrics = learner.learn(models, batch, learn_key, ctx, copy=learner.copies(number, ctx))
        return (models, set_priorities(layout, head, places, priority)), metrics

    steps = learner.config.gradient_steps
    inputs = (jnp.arange(1, steps + 1, dtype=jnp.int32), jax.random.split(key, steps))
    (models, head), metrics = jax.lax.scan(step, (models, store.head), inputs)
    return models, head, jax.tree.map(jnp.mean, metrics)


def update_state(
    learner: Planning, env: VectorEnv, layout: StoreLayout, state: PlanningState, ctx: Context
) -> tuple[PlanningState, Metrics]:
    """One block of play, and, after the warm-up, one of gradient steps."""
    play_key, learn_key, key = jax.random.split(state.key, 3)
    env_state, block, next_timestep = play(learner, env, state.models.online.params, state.env, play_key, ctx)
    store = add_block(layout, state.replay, block)
    size = learner.steps_per_update
    is_ready = ctx.played(size) + size >= learner.config.warmup_steps

    def train(carry: tuple[Models, Head]) -> tuple[tuple[Models, Head], dict[str, jax.Array]]:
        models, head = carry
        models, head, metrics = learn_block(learner, layout, models, Store(head, store.contents), learn_key, ctx)
        return (models, head), metrics

    (models, head), learned = learn_when(is_ready, train, (state.models, store.head))
    new = PlanningState(models, Store(head, store.contents), env_state, key)
    return new, Metrics(episode_metrics(next_timestep), learned)
