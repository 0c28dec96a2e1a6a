"""Off-policy learning from single steps, shared by all its methods: a block of acting, a preparation, a block of
gradient steps.

`OffPolicy` is the learner: a gradient step on a batch from any source. `make_off_policy` also acts and stores.

Deliberate differences from the published codes, which take a gradient step after each step of a single environment:
`rollout_length` steps of `num_envs` environments are played with one policy, then `gradient_steps` follow (with 1, 1
and 1 it is the same). Actions before the first gradient step are uniformly random, and there are no gradient steps
during this warm-up. Methods without an actor (Q-learning) have an empty one, for which no gradient step is taken.
"""

import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxmarl_envs import Environment, TimeStep, VectorEnv, VectorState, pytree_dataclass

from jaxmarl_suite.algorithms.core._learner import Learner, gradient_step, learn_when, zeros
from jaxmarl_suite.algorithms.core._rollout import Transitions, rollout
from jaxmarl_suite.algorithms.core._types import (
    ActContext,
    Algorithm,
    Average,
    Context,
    Metrics,
    Milestone,
    Phase,
    episode_metrics,
)
from jaxmarl_suite.algorithms.off_policy._config import OffPolicyConfig
from jaxmarl_suite.algorithms.off_policy._parts import Batch, Done, Method, Setup, Shown, read_batch
from jaxmarl_suite.replay import Block, Places, Store, StoreLayout, add_block, draw_steps, new_store


@pytree_dataclass
class Learners:
    """What gradient steps change."""

    actor: Learner
    critic: Learner
    targets: Any  # averaged parameters by name

    @property
    def params(self) -> dict[str, Any]:
        """Parameters by name."""
        return {"actor": self.actor.params, "critic": self.critic.params}


@pytree_dataclass
class OffPolicyState:
    """The state of a learner between updates. E environments."""

    learners: Learners
    replay: Store  # of `Done` and `Shown`
    env: VectorState  # [E, ...]
    key: jax.Array  # []


@dataclasses.dataclass(frozen=True)
class OffPolicy:
    """The learner and its static parts; floats of the config are read from `ctx.hp`."""

    setup: Setup
    """Sizes and the kind of actions."""
    method: Method
    """What is regressed and improved."""

    @property
    def config(self) -> Any:
        """Static settings: an `OffPolicyConfig`, or an `OfflineConfig` if it learns from stored data only."""
        return self.setup.config

    @property
    def steps_per_update(self) -> int:
        """Environment steps per block."""
        return self.config.num_envs * self.config.rollout_length

    def optimizer(self, ctx: Context) -> Any:
        """The optimizer of all networks."""
        return optax.adam(ctx.hp.learning_rate)

    def init(self, key: jax.Array, ctx: Context) -> Learners:
        """New networks and targets. Consumes `key`."""
        params = self.method.init(key)
        actor, critic = (Learner(params[name], self.optimizer(ctx).init(params[name])) for name in ("actor", "critic"))
        return Learners(actor, critic, self.method.targets(params))

    def act(
        self, learners: Learners, ctx: Context, carry: Any, timestep: TimeStep, key: jax.Array
    ) -> tuple[jax.Array, Any, Any]:
        """One step of acting, for `rollout`: random during the warm-up, then the method's exploration. Consumes `key`."""
        is_warming_up = ctx.played(self.steps_per_update) < self.config.warmup_steps  # no lane's own: stays a branch
        policy = self.method.policy(learners.params)
        action = jax.lax.cond(
            is_warming_up,
            lambda key: self.setup.actions.random(key, timestep.action_mask),
            lambda key: self.method.explore(policy, timestep.obs, timestep.action_mask, key, ctx),
            key,
        )
        return self.setup.actions.to_env(action), carry, action

    def to_block(self, played: Transitions, last: TimeStep, ctx: Context) -> Block:
        """Converts a rollout [L, E, ...] to a block for the store; `last` [E, ...] is the timestep after it."""
        shown, after = played.timestep, played.next_timestep
        done = Done(played.record, after.reward.mean(-1) * ctx.hp.reward_scale)
        return Block(
            steps=swap_axes(done),
            observed=swap_axes(self.shown(shown.obs, shown.state, shown.action_mask)),
            observed_after=self.shown(last.obs, last.state, last.action_mask),
            final=swap_axes(self.shown(after.final_obs, after.final_state, after.final_mask)),
            terminated=after.terminated.T,
            truncated=after.truncated.T,
            start=(),
        )

    def report(self, played: Transitions) -> dict[str, Average]:
        """Metrics of how a block [L, E, ...] was played, in addition to those of its episodes."""
        return {}

    def shown(self, obs: jax.Array, state: jax.Array, mask: jax.Array) -> Shown:
        """The stored part of an observation, state and mask [*, ...]."""
        spec = self.setup.spec
        return Shown(obs, state[..., : spec.state_size], mask[..., : spec.num_actions])

    def layout(self, env: Environment) -> StoreLayout:
        """Layout of the replay; the capacity is rounded up to whole updates."""
        config = self.config
        return StoreLayout(
            config.num_envs,
            -(-config.capacity // self.steps_per_update),
            config.rollout_length,
            env.spec.episode_limit,
        )

    def learn(
        self, learners: Learners, batch: Batch, key: jax.Array, ctx: Context, *, improve_actor: jax.Array | bool = True
    ) -> tuple[Learners, dict[str, jax.Array | Average]]:
        """One gradient step of the critics and one of the actors: `(learners, metrics)`.

        Args:
          learners: before the step.
          batch: B steps, from a replay, a dataset, or a model.
          key: consumed.
          ctx: hyperparameters and clock.
          improve_actor: [] bool; if false, actors and averaged targets stay unchanged.
        """
        critic_key, actor_key = jax.random.split(key)
        return self._learn(learners, batch, critic_key, actor_key, ctx, improve_actor)

    def _learn(
        self,
        learners: Learners,
        batch: Batch,
        critic_key: jax.Array,
        actor_key: jax.Array,
        ctx: Context,
        improve_actor: jax.Array | bool,
    ) -> tuple[Learners, dict[str, jax.Array | Average]]:
        critic, metrics = gradient_step(
            learners.critic,
            batch,
            lambda p, b: self.method.critic_loss(p, learners.actor.params, learners.targets, b, critic_key, ctx),
            self.optimizer(ctx),
        )
        metrics["critic_grad_norm"] = metrics.pop("grad_norm")

        def now(learners: Learners) -> tuple[Learner, Any, dict[str, jax.Array]]:
            return self._improve(learners, critic, batch, actor_key, ctx)

        def later(learners: Learners) -> tuple[Learner, Any, dict[str, jax.Array]]:
            return learners.actor, learners.targets, zeros(jax.eval_shape(now, learners)[2])

        if improve_actor is True:
            actor, targets, own = now(learners)
        else:
            actor, targets, own = jax.lax.cond(improve_actor, now, later, learners)
        weight = jnp.asarray(improve_actor, jnp.float32)
        return Learners(actor, critic, targets), metrics | {name: Average(value, weight) for name, value in own.items()}

    def _improve(
        self, learners: Learners, critic: Learner, batch: Batch, key: jax.Array, ctx: Context
    ) -> tuple[Learner, Any, dict[str, jax.Array]]:
        """A gradient step of the actors, if there are any: `(actor, targets, metrics)`."""
        actor, actor_loss = learners.actor, self.method.actor_loss
        metrics: dict[str, jax.Array] = {}
        if actor_loss is not None:
            actor, metrics = gradient_step(
                actor, batch, lambda p, b: actor_loss(p, critic.params, b, key, ctx), self.optimizer(ctx)
            )
            metrics["actor_grad_norm"] = metrics.pop("grad_norm")
        params = {"actor": actor.params, "critic": critic.params}
        return actor, self.method.update_targets(learners.targets, params, ctx), metrics


def swap_axes(tree: Any) -> Any:
    """Swaps the first two axes: [L, E, ...] to [E, L, ...]."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tree)


def make_off_policy(setup: Setup, env: Environment, method: Method) -> tuple[Phase, ...]:
    """The algorithm with these parts: acts in `env`, stores, learns.

    Args:
      setup: static sizes and the kind of actions; the config's floats are replaced by those of `ctx.hp`.
      env: one instance; batched and auto-reset here.
      method: what is regressed and improved.
    """
    learner, config = OffPolicy(setup, method), setup.config
    vector = VectorEnv(env, config.num_envs)
    layout = learner.layout(env)

    def act(
        policy: Any, carry: jax.Array, timestep: TimeStep, key: jax.Array, ctx: ActContext
    ) -> tuple[jax.Array, Any]:
        return setup.actions.to_env(method.greedy(policy, timestep.obs, timestep.action_mask)), carry

    def explore(
        policy: Any, carry: jax.Array, timestep: TimeStep, key: jax.Array, ctx: ActContext
    ) -> tuple[jax.Array, Any]:
        action = method.explore(policy, timestep.obs, timestep.action_mask, key, ctx)
        return setup.actions.to_env(action), carry

    algorithm = Algorithm(
        init=partial(init_state, learner, vector, layout),
        update=partial(update_state, learner, vector, layout),
        policy=lambda state: method.policy(state.learners.params),
        init_carry=lambda n: jnp.zeros((n, 0), jnp.float32),
        act=act,
        env_steps_per_update=learner.steps_per_update,
        milestones=partial(milestones, method),
        explore=explore,
    )
    return (Phase("q" if method.actor_loss is None else "actor-critic", algorithm),)


def milestones(method: Method, config: OffPolicyConfig) -> tuple[Milestone, ...]:
    """Settings in absolute units that determine when learning begins, in addition to the method's own."""
    steps = config.num_envs * config.rollout_length
    first = max(math.ceil(config.warmup_steps / steps), 1)
    found = [Milestone("warmup_steps", "the first gradient step", first * steps, is_vital=True)]
    if method.actor_loss is not None and method.policy_delay > 1:
        acted = max(math.ceil(method.policy_delay / config.gradient_steps), 1) + first - 1
        found.append(Milestone("policy_delay", "the first gradient step of the actor", acted * steps, is_vital=True))
    return (*found, *method.milestones(config))


def init_state(learner: OffPolicy, env: VectorEnv, layout: StoreLayout, key: jax.Array, ctx: Context) -> OffPolicyState:
    """New networks and episodes, and an empty replay. Consumes `key`."""
    net_key, env_key, key = jax.random.split(key, 3)
    learners, env_state = learner.init(net_key, ctx), env.reset(env_key, ctx.env_params)
    block = jax.eval_shape(lambda: play(learner, env, learners, env_state, env_key, ctx)[1])
    return OffPolicyState(learners, new_store(layout, block), env_state, key)


def play(
    learner: OffPolicy, env: VectorEnv, learners: Learners, env_state: VectorState, key: jax.Array, ctx: Context
) -> tuple[VectorState, Block, TimeStep, dict[str, Average]]:
    """Plays a block of L steps of each environment, [L, E, ...]; the last result is the learner's report. Consumes `key`."""
    act = partial(learner.act, learners, ctx)
    length = learner.config.rollout_length
    env_state, _, played = rollout(env, act, env_state, (), key, ctx.env_params, length)
    return env_state, learner.to_block(played, env_state.timestep, ctx), played.next_timestep, learner.report(played)


def learn_block(
    learner: OffPolicy, layout: StoreLayout, learners: Learners, store: Store, key: jax.Array, ctx: Context
) -> tuple[Learners, dict[str, jax.Array | Average]]:
    """Takes the gradient steps of one update on samples from the replay: `(learners, metrics)`. Consumes `key`."""
    config, method, delay = learner.config, learner.method, learner.method.policy_delay
    prepare_key, draw_key, step_key = jax.random.split(key, 3)
    targets, prepared = method.prepare(learners.params, learners.targets, layout, store, prepare_key, ctx)
    steps = config.gradient_steps
    draws = draw_steps(layout, store.head, draw_key, (steps, config.batch_size))
    updates = ctx.played(learner.steps_per_update) // learner.steps_per_update
    before = (updates % delay) * (steps % delay)  # gradient steps so far, modulo the delay

    def step(
        learners: Learners, inputs: tuple[jax.Array, Places, jax.Array]
    ) -> tuple[Learners, dict[str, jax.Array | Average]]:
        index, places, (critic_key, actor_key) = inputs
        batch = read_batch(layout, store, prepared, places, n_step=method.n_step, gamma=ctx.hp.gamma)
        is_due = (before + index + 1) % delay == 0 if delay > 1 else True
        return learner._learn(learners, batch, critic_key, actor_key, ctx, is_due)

    keys = jax.random.split(step_key, (steps, 2))
    start = Learners(learners.actor, learners.critic, targets)
    learners, metrics = jax.lax.scan(step, start, (jnp.arange(steps, dtype=jnp.int32), draws, keys))
    # Averages of metrics are weighted sums; all other metrics are means over the steps.
    return learners, {
        name: Average(*map(jnp.sum, found)) if isinstance(found, Average) else jnp.mean(found)
        for name, found in metrics.items()
    }


def update_state(
    learner: OffPolicy, env: VectorEnv, layout: StoreLayout, state: OffPolicyState, ctx: Context
) -> tuple[OffPolicyState, Metrics]:
    """Plays a block and, after the warm-up, takes a block of gradient steps."""
    play_key, learn_key, key = jax.random.split(state.key, 3)
    env_state, block, next_timestep, report = play(learner, env, state.learners, state.env, play_key, ctx)
    store = add_block(layout, state.replay, block)
    size = learner.steps_per_update
    is_ready = ctx.played(size) + size >= learner.config.warmup_steps
    learners, metrics = learn_when(
        is_ready, lambda learners: learn_block(learner, layout, learners, store, learn_key, ctx), state.learners
    )
    return OffPolicyState(learners, store, env_state, key), Metrics(episode_metrics(next_timestep), metrics | report)
