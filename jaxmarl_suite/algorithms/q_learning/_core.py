"""Deep Q-learning for teams, once: play, replay, targets, gradient steps. The methods differ by what they regress.

`QLearning` is the learner: a gradient step on sequences, wherever they are from. `make_q_learning` plays and stores, too.

Mnih et al. 2015 (targets, replay); van Hasselt et al. 2016 (double Q); Hausknecht & Stone 2015 (recurrent agents).
Deliberate differences from PyMARL, in which most of the methods were published: many environments act at once, and a
stored sequence is `rollout_length` steps of one of them with the memory it began with, whether or not episodes end inside.
`whole_episodes` gives PyMARL's episodes from their start, padded.
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
from jaxmarl_suite.algorithms.q_learning._agents import Memory, Sequences, Steps
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
    """All that a Q-learner which plays carries from one update to the next. E environments."""

    learners: QLearners
    replay: Store  # blocks of L steps
    env: VectorState  # [E, ...]
    memory: Memory  # [E, ...]
    key: jax.Array  # []


@pytree_dataclass
class StoredQState:
    """The same for one that learns from stored replay."""

    learners: QLearners
    key: jax.Array  # []


@pytree_dataclass
class QBatch:
    """B sequences that a gradient step learns from."""

    sequences: Sequences  # [L, B, ...]
    importance: jax.Array  # [B] float32, what their losses are multiplied by


@dataclasses.dataclass(frozen=True)
class QLearning:
    """The learner with these static parts; floats of the config are read from `ctx.hp`."""

    team: Team
    """Agents, and what mixers are shown."""
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
        """Of all parameters."""
        hp = ctx.hp
        if self.config.optimizer == "adam":
            return adam(hp.learning_rate, hp.optimizer_eps, hp.max_grad_norm)
        clip = optax.clip_by_global_norm(hp.max_grad_norm)
        return optax.chain(clip, optax.rmsprop(hp.learning_rate, decay=0.99, eps=hp.optimizer_eps, eps_in_sqrt=False))

    def init_params(self, key: jax.Array) -> dict[str, Any]:
        """Parameters of the agents and of the method. Consumes `key`."""
        agent_key, rest_key = jax.random.split(key)
        return {"agents": self.team.agents.network.init(agent_key), **self.method.init(rest_key)}

    def init(self, key: jax.Array, ctx: Context) -> QLearners:
        """Fresh parameters, and targets equal to them. Consumes `key`."""
        learner = new_learner(self.init_params, key, self.optimizer(ctx), shared=True)
        return QLearners(learner, learner.params)

    def act(
        self, params: Any, ctx: Context, memory: Memory, timestep: TimeStep, key: jax.Array
    ) -> tuple[jax.Array, Memory, jax.Array]:
        """One step of ε-greedy play, for `rollout`. Consumes `key`."""
        q, hidden = self.team.agents.step(params["agents"], memory, timestep)
        action = epsilon_greedy(key, q, timestep.action_mask, epsilon(ctx, self.steps_per_update))
        return action, Memory(hidden, action), action

    def learn(
        self, learners: QLearners, batch: QBatch, ctx: Context, *, update_target: jax.Array | bool = True
    ) -> tuple[QLearners, jax.Array, dict[str, jax.Array]]:
        """`(learners, each sequence's new priority [B], metrics)` after a gradient step. Draws no random numbers.

        Args:
          learners: before.
          batch: sequences from a replay, a dataset, or a model.
          ctx: hyper-parameters and clock.
          update_target: [] bool, whether targets are copied after the step; averaged ones always move.
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
        """[] bool: gradient step number `step` of this update, from 1, is one after which targets are copied."""
        steps, period = self.config.gradient_steps, max(self.config.target_period, 1)
        updates = ctx.played(self.steps_per_update) // self.steps_per_update
        before = (updates % period) * (steps % period)  # gradient steps so far, up to whole periods
        return (before + step) % period == 0

    def to_block(self, played: Transitions, last: TimeStep, memory: Memory) -> Block:
        """A rollout [L, E, ...] as it is stored.

        Args:
          played: the rollout.
          last: [E, ...] what is shown after it.
          memory: [E, ...] what agents brought along.
        """
        shown, after = played.timestep, played.next_timestep
        truncated = after.truncated
        if self.config.whole_episodes:  # what follows the first end does not count
            truncated = truncated & first_episodes(after)
        return Block(
            steps=swap_axes({"action": played.record, "reward": after.reward}),
            observed=swap_axes(observed(shown.obs, shown.state, shown.action_mask)),
            observed_after=observed(last.obs, last.state, last.action_mask),
            final=swap_axes(observed(after.final_obs, after.final_state, after.final_mask)),
            terminated=after.terminated.T,
            truncated=truncated.T,
            start=self.team.agents.fresh_where(shown.done[0], memory),
        )

    def to_sequences(self, windows: Windows) -> Sequences:
        """Stored blocks as items [B, L, ...], in which every step has what it led to."""
        found = expand(windows)
        ended = windows.terminated | windows.truncated
        counts = windows.is_known
        if self.config.whole_episodes:
            counts = counts & windows.same_episode
        steps = Steps(
            **found.observed,
            # The memory before the first step is what the agents brought along.
            start=jnp.concatenate([jnp.zeros_like(ended[:, :1]), ended[:, :-1]], axis=1),
            **found.steps,
            terminated=windows.terminated,
            **{f"next_{name}": x for name, x in found.next_observed.items()},
            weight=counts.astype(jnp.float32),
        )
        return Sequences(windows.start, steps.without_padding() if self.config.whole_episodes else steps)

    def layout(self, env: Environment) -> StoreLayout:
        """Of the replay; the capacity is rounded up to whole updates."""
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
        """Places of B sequences. Consumes `key`."""
        size = self.config.batch_size
        if layout.priorities == "none":
            return draw_blocks(layout, head, key, (size,))
        return draw_by_priority(layout, head, key, size, ctx.hp.importance_exponent)


def observed(obs: jax.Array, state: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    """What is shown before a step."""
    return {"obs": obs, "state": state, "mask": mask}


def swap_axes(tree: Any) -> Any:
    """[L, B, ...] as [B, L, ...], and back."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tree)


def in_time(items: Sequences, importance: jax.Array) -> QBatch:
    """Items [B, L, ...] as a batch."""
    return QBatch(dataclasses.replace(items, steps=swap_axes(items.steps)), importance)


def make_q_learning(config: QConfig, env: Environment, team: Team, method: Method, *, stored: bool) -> Algorithm:
    """The Q-learning algorithm with these parts: plays in `env`, stores, learns.

    Args:
      config: static sizes; its floats are replaced by `ctx.hp`'s.
      env: one instance; batched and auto-reset here.
      team: agents and what mixers are shown.
      method: what is regressed.
      stored: learn from `ctx.data`, `Sequences` [M, L, ...], and never act.

    Raises:
      ValueError: for whole episodes that do not fit into a sequence.
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
    """Settings in absolute units that decide when learning begins, targets move and exploration has ended."""
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
    """Fresh networks and episodes, an empty replay. Consumes `key`."""
    net_key, env_key, key = jax.random.split(key, 3)
    learners = learner.init(net_key, ctx)
    env_state, memory = env.reset(env_key, ctx.env_params), learner.team.agents.initial_memory(env.num_envs)
    params = learners.online.params
    block = jax.eval_shape(lambda: play(learner, env, params, env_state, memory, env_key, ctx)[2])
    return QState(learners, new_store(layout, block), env_state, memory, key)


def init_stored(learner: QLearning, key: jax.Array, ctx: Context) -> StoredQState:
    """Fresh networks. Consumes `key`."""
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
    """A block of L steps of each environment, and what they led to, [L, E, ...]. Consumes `key`."""
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
    """`(learners, head of the store, metrics)` after the gradient steps of one update. Consumes `key`."""

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
    """Metrics of all gradient steps [S] as one number each."""
    return {name: m.max() if name == "q_max_abs" else m.mean() for name, m in metrics.items()}


def update_state(
    learner: QLearning, env: VectorEnv, layout: StoreLayout, state: QState, ctx: Context
) -> tuple[QState, Metrics]:
    """A block of play, then gradient steps once there are enough sequences."""
    play_key, learn_key, key = jax.random.split(state.key, 3)
    params = state.learners.online.params
    env_state, memory, block, next_timestep = play(learner, env, params, state.env, state.memory, play_key, ctx)
    store = add_block(layout, state.replay, block)
    # What was played is no lane's own, so this stays a branch where lanes are batched.
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
    """[L, E] bool, steps before which no episode of the block has ended."""
    done = next_timestep.done.astype(jnp.int32)
    return jnp.cumsum(done, axis=0) == done


def update_stored(learner: QLearning, state: StoredQState, ctx: Context) -> tuple[StoredQState, Metrics]:
    """Gradient steps on uniform draws of stored sequences, `ctx.data`."""
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
