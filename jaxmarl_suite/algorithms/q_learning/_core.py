"""Deep Q-learning for teams, shared by all its methods: acting, replay, targets, gradient steps. Methods differ in what
they regress.

`QLearning` is the learner: a gradient step on sequences from any source. `make_q_learning` also acts and stores.

Mnih et al. 2015 (targets, replay); van Hasselt et al. 2016 (double Q); Hausknecht & Stone 2015 (recurrent agents).
Deliberate differences from PyMARL, in which most of the methods were published: many environments run in parallel, and
a stored sequence is `rollout_length` steps of one of them with its initial memory, whether or not episodes end inside.
`whole_episodes` gives PyMARL's padded episodes instead.
"""

import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxmarl_envs import Environment, TimeStep, VectorEnv, VectorState, pytree_dataclass

from jaxmarl_suite.algorithms.core._learner import Learner, adam, gradient_step, new_learner
from jaxmarl_suite.algorithms.core._rollout import Transitions, rollout
from jaxmarl_suite.algorithms.core._schedules import epsilon
from jaxmarl_suite.algorithms.core._targets import copied_if, polyak
from jaxmarl_suite.algorithms.core._types import (
    ActContext,
    Algorithm,
    Average,
    Context,
    Metrics,
    Milestone,
    episode_metrics,
)
from jaxmarl_suite.algorithms.q_learning._agents import NO_ACTION, Memory, Sequences, Steps
from jaxmarl_suite.algorithms.q_learning._config import QConfig
from jaxmarl_suite.algorithms.q_learning._methods import Method, Team, total
from jaxmarl_suite.ops import epsilon_greedy, greedy
from jaxmarl_suite.replay import (
    Block,
    Head,
    Places,
    Store,
    StoreLayout,
    Windows,
    add_block,
    draw_blocks,
    draw_by_priority,
    expand,
    new_store,
    read_windows,
    set_priorities,
)


@pytree_dataclass
class QLearners:
    """What gradient steps change."""

    online: Learner
    target: Any  # parameters


@pytree_dataclass
class QState:
    """The state of a Q-learner that acts, between updates. E environments."""

    learners: QLearners
    replay: Store  # blocks of L steps
    env: VectorState  # [E, ...]
    memory: Memory  # [E, ...]
    key: jax.Array  # []


@pytree_dataclass
class StoredQState:
    """The state of a Q-learner that learns from stored replay."""

    learners: QLearners
    key: jax.Array  # []


@pytree_dataclass
class QBatch:
    """B sequences for a gradient step."""

    sequences: Sequences  # [L, B, ...]
    importance: jax.Array  # [B] float32, weights of their losses


@dataclasses.dataclass(frozen=True)
class QLearning:
    """The learner and its static parts; floats of the config are read from `ctx.hp`."""

    team: Team
    """Agents, and the inputs of mixers."""
    method: Method
    """What is regressed."""

    @property
    def config(self) -> QConfig:
        """Static settings."""
        return self.team.config

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one update."""
        return self.config.num_envs * self.config.rollout_length

    def optimizer(self, ctx: Context) -> Any:
        """The optimizer of all parameters."""
        hp = ctx.hp
        if self.config.optimizer == "adam":
            return adam(hp.learning_rate, hp.optimizer_eps, hp.max_grad_norm)
        clip = optax.clip_by_global_norm(hp.max_grad_norm)
        return optax.chain(clip, optax.rmsprop(hp.learning_rate, decay=0.99, eps=hp.optimizer_eps, eps_in_sqrt=False))

    def init_params(self, key: jax.Array) -> dict[str, Any]:
        """Initial parameters of the agents and of the method. Consumes `key`."""
        agent_key, rest_key = jax.random.split(key)
        return {"agents": self.team.agents.network.init(agent_key), **self.method.init(rest_key)}

    def init(self, key: jax.Array, ctx: Context) -> QLearners:
        """New parameters, and targets equal to them. Consumes `key`."""
        learner = new_learner(self.init_params, key, self.optimizer(ctx), shared=True)
        return QLearners(learner, learner.params)

    def act(
        self, params: Any, ctx: Context, memory: Memory, timestep: TimeStep, key: jax.Array
    ) -> tuple[jax.Array, Memory, jax.Array]:
        """One step of ε-greedy acting, for `rollout`. Consumes `key`."""
        q, hidden = self.team.agents.step(params["agents"], memory, timestep)
        action = epsilon_greedy(key, q, timestep.action_mask, epsilon(ctx, self.steps_per_update))
        return action, Memory(hidden, action), action

    def learn(
        self, learners: QLearners, batch: QBatch, ctx: Context, *, update_target: jax.Array | bool = True
    ) -> tuple[QLearners, jax.Array, dict[str, jax.Array]]:
        """One gradient step: `(learners, new priorities of the sequences [B], metrics)`. Draws no random numbers.

        Args:
          learners: before the step.
          batch: sequences from a replay, a dataset, or a model.
          ctx: hyperparameters and clock.
          update_target: [] bool, whether to copy targets after the step; averaged ones always move.
        """

        def loss_fn(params: Any, batch: QBatch) -> tuple[jax.Array, dict[str, jax.Array]]:
            terms = self.method.terms(params, learners.target, batch.sequences, ctx)
            return total(terms, batch.sequences.steps.weight, batch.importance)

        learner, metrics = gradient_step(learners.online, batch, loss_fn, self.optimizer(ctx))
        priority = metrics.pop("priority")
        if self.config.target_period:
            target = copied_if(jnp.asarray(update_target), learner.params, learners.target)
        else:
            target = polyak(learner.params, learners.target, ctx.hp.target_rate)
        return QLearners(learner, target), priority, metrics

    def copies_target(self, step: jax.Array, ctx: Context) -> jax.Array:
        """[] bool, whether targets are copied after gradient step number `step` of this update, from 1."""
        steps, period = self.config.gradient_steps, max(self.config.target_period, 1)
        updates = ctx.played(self.steps_per_update) // self.steps_per_update
        before = (updates % period) * (steps % period)  # gradient steps so far, modulo the period
        return (before + step) % period == 0

    def to_block(self, played: Transitions, last: TimeStep, memory: Memory) -> Block:
        """Converts a rollout [L, E, ...] to a block for the store.

        Args:
          played: the rollout.
          last: [E, ...] timestep after the rollout.
          memory: [E, ...] the agents' memory before it.
        """
        shown, after = played.timestep, played.next_timestep
        truncated = after.truncated
        if self.config.whole_episodes:  # steps after the first end do not count
            truncated = truncated & first_episodes(after)
        restarted = shown.done[0]
        first = Memory(
            jnp.where(restarted[:, None, None], 0.0, memory.hidden),
            jnp.where(restarted[:, None], NO_ACTION, memory.last_action),
        )
        return Block(
            steps=swap_axes({"action": played.record, "reward": after.reward}),
            observed=swap_axes(observed(shown.obs, shown.state, shown.action_mask)),
            observed_after=observed(last.obs, last.state, last.action_mask),
            final=swap_axes(observed(after.final_obs, after.final_state, after.final_mask)),
            terminated=after.terminated.T,
            truncated=truncated.T,
            start=first,
        )

    def to_sequences(self, windows: Windows) -> Sequences:
        """Converts stored blocks to items [B, L, ...], in which every step has its next observation."""
        found = expand(windows)
        ended = windows.terminated | windows.truncated
        counts = windows.is_known
        if self.config.whole_episodes:
            counts = counts & windows.same_episode
        steps = Steps(
            **found.observed,
            # The memory before the first step is the one stored with the block.
            start=jnp.concatenate([jnp.zeros_like(ended[:, :1]), ended[:, :-1]], axis=1),
            **found.steps,
            terminated=windows.terminated,
            **{f"next_{name}": x for name, x in found.next_observed.items()},
            weight=counts.astype(jnp.float32),
        )
        return Sequences(windows.start, steps.without_padding() if self.config.whole_episodes else steps)

    def layout(self, env: Environment) -> StoreLayout:
        """Layout of the replay; the capacity is rounded up to whole updates."""
        config = self.config
        return StoreLayout(
            config.num_envs,
            -(-config.capacity // config.num_envs),
            config.rollout_length,
            env.spec.episode_limit,
            priorities="block" if config.prioritized else "none",
            priority_exponent=config.priority_exponent,
            is_continuous=not config.whole_episodes,
        )

    def draw(self, layout: StoreLayout, head: Head, key: jax.Array, ctx: Context) -> Places:
        """Samples the places of B sequences. Consumes `key`."""
        size = self.config.batch_size
        if layout.priorities == "none":
            return draw_blocks(layout, head, key, (size,))
        return draw_by_priority(layout, head, key, size, ctx.hp.importance_exponent)


def observed(obs: jax.Array, state: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    """The observed part of a step."""
    return {"obs": obs, "state": state, "mask": mask}


def swap_axes(tree: Any) -> Any:
    """Swaps the first two axes: [L, B, ...] and [B, L, ...]."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tree)


def in_time(items: Sequences, importance: jax.Array) -> QBatch:
    """Converts items [B, L, ...] to a batch."""
    return QBatch(dataclasses.replace(items, steps=swap_axes(items.steps)), importance)


def make_q_learning(config: QConfig, env: Environment, team: Team, method: Method, *, stored: bool) -> Algorithm:
    """The Q-learning algorithm with these parts: acts in `env`, stores, learns.

    Args:
      config: static sizes; its floats are replaced by those of `ctx.hp`.
      env: one instance; batched and auto-reset here.
      team: agents and the inputs of mixers.
      method: what is regressed.
      stored: learn from `ctx.data`, `Sequences` [M, L, ...], and never act.

    Raises:
      ValueError: whole episodes do not fit into a sequence.
    """
    spec, learner = env.spec, QLearning(team, method)
    if config.whole_episodes and (spec.episode_limit is None or spec.episode_limit > config.rollout_length):
        raise ValueError(
            f"whole_episodes needs a rollout_length of at least the episode limit of {spec.id!r}, "
            f"{spec.episode_limit}, got {config.rollout_length}"
        )
    vector, layout = VectorEnv(env, config.num_envs), learner.layout(env)

    def act(
        policy: Any, memory: Memory, timestep: TimeStep, key: jax.Array, ctx: ActContext
    ) -> tuple[jax.Array, Memory]:
        q, hidden = team.agents.step(policy, memory, timestep)
        action = greedy(q, timestep.action_mask)
        return action, Memory(hidden, action)

    return Algorithm(
        init=partial(init_stored, learner) if stored else partial(init_state, learner, vector, layout),
        update=partial(update_stored, learner) if stored else partial(update_state, learner, vector, layout),
        policy=lambda state: state.learners.online.params["agents"],
        init_carry=team.agents.initial_memory,
        act=act,
        env_steps_per_update=learner.steps_per_update,
        milestones=partial(milestones, stored=stored),
    )


def milestones(config: QConfig, *, stored: bool) -> tuple[Milestone, ...]:
    """Settings in absolute units that determine when learning begins, targets move and exploration has ended."""
    steps = config.num_envs * config.rollout_length
    first = 1 if stored else max(math.ceil(config.learning_starts / config.num_envs), 1)
    found = []
    if config.target_period:
        copied = max(math.ceil(config.target_period / config.gradient_steps), first)
        found.append(Milestone("target_period", "the first copy into the target networks", copied * steps))
    if not stored:
        found.append(Milestone("learning_starts", "the first gradient step", first * steps, is_vital=True))
        found.append(Milestone("epsilon_steps", "the end of the decay of exploration", config.epsilon_steps))
    return tuple(found)


def init_state(learner: QLearning, env: VectorEnv, layout: StoreLayout, key: jax.Array, ctx: Context) -> QState:
    """New networks and episodes, and an empty replay. Consumes `key`."""
    net_key, env_key, key = jax.random.split(key, 3)
    learners = learner.init(net_key, ctx)
    env_state, memory = env.reset(env_key, ctx.env_params), learner.team.agents.initial_memory(env.num_envs)
    params = learners.online.params
    block = jax.eval_shape(lambda: play(learner, env, params, env_state, memory, env_key, ctx)[2])
    return QState(learners, new_store(layout, block), env_state, memory, key)


def init_stored(learner: QLearning, key: jax.Array, ctx: Context) -> StoredQState:
    """New networks. Consumes `key`."""
    net_key, key = jax.random.split(key, 3)[::2]
    return StoredQState(learner.init(net_key, ctx), key)


def play(
    learner: QLearning,
    env: VectorEnv,
    params: Any,
    env_state: VectorState,
    memory: Memory,
    key: jax.Array,
    ctx: Context,
) -> tuple[VectorState, Memory, Block, TimeStep]:
    """Plays a block of L steps of each environment, [L, E, ...]. Consumes `key`."""
    reset_key, play_key = jax.random.split(key)
    if learner.config.whole_episodes:
        env_state, memory = env.reset(reset_key, ctx.env_params), learner.team.agents.initial_memory(env.num_envs)
    act = partial(learner.act, params, ctx)
    length = learner.config.rollout_length
    env_state, new_memory, played = rollout(env, act, env_state, memory, play_key, ctx.env_params, length)
    return env_state, new_memory, learner.to_block(played, env_state.timestep, memory), played.next_timestep


def learn_block(
    learner: QLearning, layout: StoreLayout, learners: QLearners, store: Store, key: jax.Array, ctx: Context
) -> tuple[QLearners, Head, dict[str, jax.Array]]:
    """Takes the gradient steps of one update: `(learners, head of the store, metrics)`. Consumes `key`."""

    def step(
        carried: tuple[QLearners, Head], inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[QLearners, Head], dict[str, jax.Array]]:
        (learners, head), (number, key) = carried, inputs
        places = learner.draw(layout, head, key, ctx)
        windows = read_windows(layout, head, store.contents, places, layout.block_length)
        batch = in_time(learner.to_sequences(windows), places.weight)
        copies = learner.copies_target(number, ctx)
        learners, priority, metrics = learner.learn(learners, batch, ctx, update_target=copies)
        return (learners, set_priorities(layout, head, places, priority)), metrics

    steps = learner.config.gradient_steps
    inputs = (jnp.arange(1, steps + 1), jax.random.split(key, steps))
    (learners, head), metrics = jax.lax.scan(step, (learners, store.head), inputs)
    return learners, head, summary(metrics)


def summary(metrics: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Metrics of all gradient steps [S], as one number each."""
    return {name: m.max() if name == "q_max_abs" else m.mean() for name, m in metrics.items()}


def update_state(
    learner: QLearning, env: VectorEnv, layout: StoreLayout, state: QState, ctx: Context
) -> tuple[QState, Metrics]:
    """Plays a block, then takes gradient steps once there are enough sequences."""
    play_key, learn_key, key = jax.random.split(state.key, 3)
    params = state.learners.online.params
    env_state, memory, block, next_timestep = play(learner, env, params, state.env, state.memory, play_key, ctx)
    store = add_block(layout, state.replay, block)
    # The condition is the same for all lanes, so it stays a branch when lanes are batched.
    size = learner.steps_per_update
    num_played = ctx.played(size) // learner.config.rollout_length + env.num_envs
    is_ready = num_played >= max(learner.config.learning_starts, 1)

    def train(learners: QLearners) -> tuple[QLearners, Head, dict[str, jax.Array]]:
        return learn_block(learner, layout, learners, store, learn_key, ctx)

    def wait(learners: QLearners) -> tuple[QLearners, Head, dict[str, jax.Array]]:
        shapes = jax.eval_shape(train, learners)[2]
        return learners, store.head, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    learners, head, found = jax.lax.cond(is_ready, train, wait, state.learners)
    weight = is_ready.astype(jnp.float32)
    metrics = Metrics(
        episodes=episode_metrics(
            next_timestep, first_episodes(next_timestep) if learner.config.whole_episodes else None
        ),
        learner={name: Average(value, weight) for name, value in found.items()} | {"epsilon": epsilon(ctx, size)},
    )
    return QState(learners, Store(head, store.contents), env_state, memory, key), metrics


def first_episodes(next_timestep: TimeStep) -> jax.Array:
    """[L, E] bool, steps that belong to the first episode of the block."""
    done = next_timestep.done.astype(jnp.int32)
    return jnp.cumsum(done, axis=0) == done


def update_stored(learner: QLearning, state: StoredQState, ctx: Context) -> tuple[StoredQState, Metrics]:
    """Gradient steps on uniform samples of stored sequences, `ctx.data`."""
    _, learn_key, key = jax.random.split(state.key, 3)
    steps, size = learner.config.gradient_steps, learner.config.batch_size

    def step(learners: QLearners, inputs: tuple[jax.Array, jax.Array]) -> tuple[QLearners, dict[str, jax.Array]]:
        number, key = inputs
        index = jax.random.randint(key, (size,), 0, ctx.data.steps.action.shape[0], jnp.int32)
        batch = in_time(jax.tree.map(lambda x: x[index], ctx.data), jnp.ones((size,), jnp.float32))
        learners, _, metrics = learner.learn(learners, batch, ctx, update_target=learner.copies_target(number, ctx))
        return learners, metrics

    inputs = (jnp.arange(1, steps + 1), jax.random.split(learn_key, steps))
    learners, metrics = jax.lax.scan(step, state.learners, inputs)
    return StoredQState(learners, key), Metrics({}, summary(metrics))
