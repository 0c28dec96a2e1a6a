"""Off-policy learning from stored data: gradient steps of any method of this family, and no play.

A phase of it takes no environment steps; its length is `total_gradient_steps`. The data is on the device once, for all
lanes; a batch is drawn uniformly, with replacement.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_envs import Environment, TimeStep, pytree_dataclass

from jaxmarl_suite.algorithms.core._types import ActContext, Algorithm, AlgorithmSpec, Average, Context, Metrics, Phase
from jaxmarl_suite.algorithms.off_policy._core import Learners, OffPolicy
from jaxmarl_suite.algorithms.off_policy._parts import Batch, Method, Setup, Team
from jaxmarl_suite.replay import REWARD, Dataset, read_steps


@pytree_dataclass
class StoredSteps:
    """T steps to learn from. Actions are normalized, [-1, 1]."""

    obs: jax.Array  # [T, N, *obs_shape]
    state: jax.Array  # [T, G]; G = 0 if critics use observations
    action: jax.Array  # [T, N, A] or [T, N]
    reward: jax.Array  # [T] of the team; [0] if it is closed to the learner
    not_terminated: jax.Array  # [T] float32
    next_obs: jax.Array  # [T, N, *obs_shape]
    next_state: jax.Array  # [T, G]
    next_mask: jax.Array  # [T, N, A]; A = 0 for continuous actions


@pytree_dataclass
class OfflineState:
    """The state of a learner between updates."""

    learners: Learners
    key: jax.Array  # []


def stored_steps(setup: Setup, dataset: Dataset, *, rewards: bool = True) -> StoredSteps:
    """The data of a phase.

    Raises:
      ValueError: the data does not fit, see `replay.read_steps`.
    """
    return dataset.once(("steps", setup.spec, rewards), lambda: _to_steps(setup, dataset, rewards))


def _to_steps(setup: Setup, dataset: Dataset, rewards: bool) -> StoredSteps:
    found = read_steps(dataset, setup.spec, rewards=rewards)
    size, n = found["terminated"].shape[0], setup.spec.n_agents
    reward = jnp.asarray(found[REWARD]).mean(-1) if rewards else jnp.zeros((0,), jnp.float32)
    nothing = {"state": jnp.zeros((size, 0), jnp.float32), "mask": jnp.zeros((size, n, 0), bool)}
    return StoredSteps(
        obs=jnp.asarray(found["obs"]),
        state=jnp.asarray(found.get("state", nothing["state"])),
        action=setup.actions.from_env(jnp.asarray(found["action"])),
        reward=reward,
        not_terminated=1.0 - jnp.asarray(found["terminated"], jnp.float32),
        next_obs=jnp.asarray(found["next_obs"]),
        next_state=jnp.asarray(found.get("next_state", nothing["state"])),
        next_mask=jnp.asarray(found.get("next_mask", nothing["mask"])),
    )


def draw_batch(steps: StoredSteps, index: jax.Array, gamma: jax.Array) -> Batch:
    """The steps [B] at `index`, as one-step transitions. Without rewards, those of the batch are zero."""
    reward = steps.reward[index] if steps.reward.shape[0] else jnp.zeros(index.shape, jnp.float32)
    return Batch(
        obs=steps.obs[index],
        state=steps.state[index],
        action=steps.action[index],
        reward=reward,
        discount=gamma * steps.not_terminated[index],
        next_obs=steps.next_obs[index],
        next_state=steps.next_state[index],
        next_mask=steps.next_mask[index],
        prepared=(),
    )


def learn_offline(
    learner: OffPolicy,
    learners: Any,
    steps: StoredSteps,
    key: jax.Array,
    ctx: Context,
    learn: Callable[[Any, Batch, jax.Array, jax.Array | bool], tuple[Any, dict[str, Any]]],
) -> tuple[Any, dict[str, jax.Array | Average]]:
    """The gradient steps of one update: `(learners, metrics)`. Consumes `key`.

    Args:
      learner: its config is an `OfflineConfig`.
      learners: before the update.
      steps: the data.
      key: for batches and losses.
      ctx: hyperparameters and clock.
      learn: `(learners, batch, key, whether to improve the actor) -> (learners, metrics)`.
    """
    config, delay = learner.config, learner.method.policy_delay
    gamma = ctx.hp.gamma if isinstance(learner.setup, Team) else jnp.ones((), jnp.float32)  # without critics: unused
    draw_key, step_key = jax.random.split(key)
    size = steps.action.shape[0]
    index = jax.random.randint(draw_key, (config.gradient_steps, config.batch_size), 0, size, jnp.int32)
    before = (ctx.clock % delay) * (config.gradient_steps % delay)  # gradient steps so far, modulo the delay

    def step(learners: Any, inputs: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[Any, dict[str, Any]]:
        number, rows, key = inputs
        is_due = (before + number + 1) % delay == 0 if delay > 1 else True
        return learn(learners, draw_batch(steps, rows, gamma), key, is_due)

    keys = jax.random.split(step_key, config.gradient_steps)
    numbers = jnp.arange(config.gradient_steps, dtype=jnp.int32)
    learners, metrics = jax.lax.scan(step, learners, (numbers, index, keys))
    return learners, {
        name: Average(*map(jnp.sum, found)) if isinstance(found, Average) else jnp.mean(found)
        for name, found in metrics.items()
    }


def make_offline(setup: Setup, method: Method) -> Phase:
    """The phase that learns with these parts from stored data.

    Args:
      setup: its config is an `OfflineConfig`; its floats are replaced by those of `ctx.hp`.
      method: what is regressed and improved.
    """
    learner = OffPolicy(setup, method)

    def init(key: jax.Array, ctx: Context) -> OfflineState:
        net_key, key = jax.random.split(key)
        return OfflineState(learner.init(net_key, ctx), key)

    def update(state: OfflineState, ctx: Context) -> tuple[OfflineState, Metrics]:
        learn_key, key = jax.random.split(state.key)

        def learn(
            learners: Learners, batch: Batch, key: jax.Array, is_due: jax.Array | bool
        ) -> tuple[Learners, dict[str, Any]]:
            return learner.learn(learners, batch, key, ctx, improve_actor=is_due)

        learners, metrics = learn_offline(learner, state.learners, ctx.data, learn_key, ctx, learn)
        return OfflineState(learners, key), Metrics({}, metrics)

    algorithm = Algorithm(
        init=init,
        update=update,
        policy=lambda state: method.policy(state.learners.params),
        init_carry=lambda n: jnp.zeros((n, 0), jnp.float32),
        act=greedy_act(setup, method),
        env_steps_per_update=0,
    )
    return Phase("offline", algorithm, updates=num_updates(setup.config), data=partial(stored_steps, setup))


def num_updates(config: Any) -> int:
    """Length of the phase in updates, from an `OfflineConfig`."""
    return -(-config.total_gradient_steps // config.gradient_steps)


def greedy_act(setup: Setup, method: Method) -> Callable[..., tuple[jax.Array, Any]]:
    """The method's greedy policy as `Algorithm.act`."""

    def act(
        policy: Any, carry: jax.Array, timestep: TimeStep, key: jax.Array, ctx: ActContext
    ) -> tuple[jax.Array, Any]:
        return setup.actions.to_env(method.greedy(policy, timestep.obs, timestep.action_mask)), carry

    return act


def offline_spec(
    name: str, config: type, parts: Callable[[Any, Environment], tuple[Setup, Method]], summary: str
) -> AlgorithmSpec:
    """The spec of the algorithm called `name`, for one agent and for teams.

    Args:
      name: its registered name.
      config: its config type, an `OfflineConfig`.
      parts: `(config, env) -> (setup, method)`.
      summary: one line for the listing.
    """

    def make(config: Any, env: Environment, has_data: bool) -> tuple[Phase, ...]:
        return (make_offline(*parts(config, env)),)

    return AlgorithmSpec(name, config, make, summary, actions=("continuous",), takes_data=True)
