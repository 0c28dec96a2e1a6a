"""Deep Q-learning for teams, shared by all its methods: acting, replay, targets, gradient steps. Methods differ in what
they regress.

`QLearning` is the learner: a gradient step on sequences from any source. `make_q_learning` also acts and stores.

Mnih et al. 2015 (targets, replay); van Hasselt et al. 2016 (double Q); Hausknecht & Stone 2015 (recurrent agents).
Deliberate differences from PyMARL, in which most of the methods were published: many environments run in parallel, and
a stored sequence is `rollout_length` steps of one of them with its initial memory, whether or not episodes end inside.
`whole_episodes` gives PyMARL's padded episodes instead.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, TimeStep, VectorEnv, VectorState, pytree_dataclass

from jaxmarl_suite.algorithms.core._learner import learn_when
from jaxmarl_suite.algorithms.core._rollout import rollout
from jaxmarl_suite.algorithms.core._schedules import epsilon
from jaxmarl_suite.algorithms.core._types import (
    ActContext,
    Algorithm,
    Context,
    Metrics,
    Milestone,
    episode_metrics,
)
from jaxmarl_suite.algorithms.q_learning._agents import Memory
from jaxmarl_suite.algorithms.q_learning._config import QConfig
from jaxmarl_suite.algorithms.q_learning._learner import QLearners, QLearning, first_episodes, in_time
from jaxmarl_suite.algorithms.q_learning._methods import Method, Team
from jaxmarl_suite.ops import greedy
from jaxmarl_suite.replay import (
    Block,
    Head,
    Store,
    StoreLayout,
    add_block,
    new_store,
    read_windows,
    set_priorities,
)


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
    size = learner.steps_per_update
    num_played = ctx.played(size) // learner.config.rollout_length + env.num_envs
    is_ready = num_played >= max(learner.config.learning_starts, 1)

    def train(carry: tuple[QLearners, Head]) -> tuple[tuple[QLearners, Head], dict[str, jax.Array]]:
        learners, head = carry
        learners, head, found = learn_block(learner, layout, learners, Store(head, store.contents), learn_key, ctx)
        return (learners, head), found

    (learners, head), learned = learn_when(is_ready, train, (state.learners, store.head))
    metrics = Metrics(
        episodes=episode_metrics(
            next_timestep, first_episodes(next_timestep) if learner.config.whole_episodes else None
        ),
        learner=learned | {"epsilon": epsilon(ctx, size)},
    )
    return QState(learners, Store(head, store.contents), env_state, memory, key), metrics


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
