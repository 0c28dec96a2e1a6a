"""Policies learned in a world model: a round against the same round step by step, schedules, and what is rejected."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import jaxmarl_envs
import line_env
import numpy as np
import pytest
from jaxmarl_envs import VectorEnv
from runner_tools import tiny_config

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms import Context
from jaxmarl_suite.algorithms.core import Transitions
from jaxmarl_suite.algorithms.imagination import Imagination, ImaginationState, make_imagination
from jaxmarl_suite.algorithms.imagination._core import init_state, update_state
from jaxmarl_suite.algorithms.ppo import Trajectory
from jaxmarl_suite.replay import add_block
from jaxmarl_suite.worldmodels import ModelEnvironment, ModelParams, Starts, read_starts

LINE = line_env.Line(n_agents=2, limit=3)


def context(config: Any, clock: int) -> Context:
    """Of one lane, as arrays."""
    return jax.tree.map(jnp.asarray, Context(config, LINE.default_params, jnp.int32(clock), jnp.int32(10)))


def learner_of(name: str, **changes: Any) -> tuple[Imagination, Any]:
    """The learner of a line for two agents, and its config."""
    config = tiny_config(name, **changes)
    return make_imagination(config, LINE), config


@functools.cache
def compiled(name: str) -> tuple[Imagination, Any, ImaginationState, Any]:
    """`(learner, config, first state, update)`, compiled once; policies are updated from the fourth round on."""
    learner, config = learner_of(name, observations="learned", warmup_steps=64, warmup_rounds=2)
    state = jax.jit(lambda key: init_state(learner, key, context(config, 0)))(jax.random.key(0))
    return learner, config, state, jax.jit(lambda state, ctx: update_state(learner, state, ctx))


def played_by_steps(
    games: VectorEnv, act: Any, state: Any, carry: Any, key: jax.Array, params: Any, length: int
) -> Any:
    """`rollout` as a Python loop."""
    act, step, steps = jax.jit(act), jax.jit(games.step), []
    for one in jax.random.split(key, length):
        act_key, step_key = jax.random.split(one)
        action, carry, record = act(carry, state.timestep, act_key)
        new = step(step_key, state, action, params)
        steps.append(Transitions(state.timestep, record, new.timestep))
        state = new
    return state, jax.tree.map(lambda *x: jnp.stack(x), *steps)


def round_by_steps(learner: Imagination, state: ImaginationState, ctx: Context) -> ImaginationState:
    """One round with updates of everything, in which only single steps are compiled."""
    config, ppo = learner.config, learner.ppo
    play_key, world_key, policy_key, key = jax.random.split(state.key, 4)

    def act(carry: Any, timestep: Any, key: jax.Array) -> Any:
        action, carry, _ = ppo.act(state.learners.actor.params, carry, timestep, key)
        return action, carry, action

    carry = ppo.policy.initial_carry(config.num_envs)
    env, steps = played_by_steps(learner.env, act, state.env, carry, play_key, ctx.env_params, config.rollout_length)
    store = jax.jit(lambda store, steps, last: add_block(learner.layout, store, learner._to_block(steps, last)))(
        state.replay, steps, env.timestep
    )
    normalizer = jax.jit(state.world.normalizer.update)(steps.timestep.state)
    optimizers = learner.optimizers(ctx)
    parts = {"states": state.world.states, "outcomes": state.world.outcomes}
    observations = (state.world.observations, state.world.codes)
    of_observations, *keys = jax.random.split(world_key, 3)
    if learner.model.observations.is_learned:
        step = jax.jit(
            lambda x, key: learner._observation_step(store, normalizer, optimizers["observations"], x, key)[0]
        )
        for one in jax.random.split(of_observations, config.model_updates):
            observations = step(observations, one)
    for name, one_step, part_key in zip(parts, (learner._state_step, learner._outcome_step), keys):
        step = jax.jit(lambda x, key, f=one_step, o=optimizers[name]: f(store, normalizer, o, x, key)[0])
        for one in jax.random.split(part_key, config.model_updates):
            parts[name] = step(parts[name], one)
    world = dataclasses.replace(
        state.world, **parts, observations=observations[0], codes=observations[1], normalizer=normalizer
    )
    learners, learn = state.learners, jax.jit(ppo.learn)

    @jax.jit
    def starts_at(key: jax.Array) -> Any:
        return read_starts(LINE.spec, learner.windows(store, key, config.imagined_envs, config.history))

    first = ModelParams(world.params, starts_at(policy_key))
    games = VectorEnv(ModelEnvironment(learner.model, config.horizon, first), config.imagined_envs)
    reset, step_in_model, act_in_model = jax.jit(games.reset), jax.jit(games.step), jax.jit(ppo.act)
    for one in jax.random.split(policy_key, config.imagined_rollouts):
        imagine_key, learn_key = jax.random.split(one)
        start_key, reset_key, game_key = jax.random.split(imagine_key, 3)
        params = ModelParams(world.params, starts_at(start_key))
        now, carry, steps = reset(reset_key, params), ppo.policy.initial_carry(config.imagined_envs), []
        for step_key in jax.random.split(game_key, config.horizon):
            act_key, move_key = jax.random.split(step_key)
            action, carry, record = act_in_model(learners.actor.params, carry, now.timestep, act_key)
            following = step_in_model(move_key, now, action, params)
            steps.append(Transitions(now.timestep, record, following.timestep))
            now = following
        steps = jax.tree.map(lambda *x: jnp.stack(x), *steps)
        trajectory = Trajectory(steps, ppo.initial_critic_carry(config.imagined_envs))
        learners = learn(learners, trajectory, learn_key, ctx)[0]
    return ImaginationState(learners, world, store, env, key)


@pytest.mark.parametrize("name", ["mbppo-mlp", pytest.param("dima", marks=pytest.mark.slow)])
def test_a_round_is_what_its_steps_are(name: str) -> None:
    learner, config, state, update = compiled(name)
    for clock in range(3):  # which update the model only
        state, _ = update(state, context(config, clock))
    ctx = context(config, 3)
    together, by_steps = update(state, ctx)[0], round_by_steps(learner, state, ctx)
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(by_steps), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_what_is_updated_when() -> None:
    _, config, state, update = compiled("mbppo-mlp")

    def same(a: Any, b: Any) -> bool:
        return all(bool((x == y).all()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))

    found = []
    for clock in range(5):
        new, metrics = update(state, context(config, clock))
        model, policy = not same(new.world.states, state.world.states), not same(new.learners, state.learners)
        assert float(metrics.learner["state_loss"].weight) == model
        assert float(metrics.learner["policy_loss"].weight) == policy
        found.append((model, policy))
        state = new
    # 32 steps per round: the model from the second round on, the policy two rounds later.
    assert found == [(False, False), (True, False), (True, False), (True, True), (True, True)]
    assert float(state.world.normalizer.count) == 5 * 32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizon": 0}, "horizon must be at least 1, got 0"),
        ({"recurrent": True, "chunk_length": 1}, "recurrent must be False"),
        ({"observations": "vq"}, "observations must be one of 'auto', 'exact', 'learned', got 'vq'"),
        ({"model_size": "huge"}, "model_size must be one of 'tiny', 'small', 'full', got 'huge'"),
        ({"reveal": "all"}, "reveal must be one of 'single', 'cumulative', 'joint', got 'all'"),
        ({"order": "up"}, "order must be one of 'descending', 'ascending', 'random', got 'up'"),
        ({"horizon": 9}, "need windows of 9 steps .* only 4 steps of each environment are stored by then"),
        ({"capacity": 16}, "capacity must hold a round and a window of 3 steps of each of the 8 environments, got 16"),
        ({"model_learning_rate": -1.0}, "model_learning_rate must be finite and not negative, got -1.0"),
        ({"minibatches": 5}, "minibatches must divide the 12 steps of a rollout, got 5"),
    ],
)
def test_settings_that_cannot_work(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config("dima", **changes)


def test_tasks_that_cannot_work() -> None:
    spec = algorithms.get("dima")
    with pytest.raises(ValueError, match=r"'exact' needs an environment that declares its observations .* 'line/2'"):
        spec.build(tiny_config("dima", observations="exact"), LINE)
    with pytest.raises(ValueError, match=r"history must not be longer than an episode of 'line/2' \(3 steps\), got 4"):
        spec.build(tiny_config("dima", history=4, rollout_length=8), LINE)
    stateless = _Stateless(LINE)
    with pytest.raises(ValueError, match=r"predicts the global state, but 'line/2' has none \(state_size 0\)"):
        spec.build(tiny_config("dima"), stateless)
    with pytest.raises(ValueError, match="num_steps must be at least 2 and a multiple of the 2 agents, got 3"):
        spec.build(tiny_config("dima", denoising_steps=3), LINE)


@dataclasses.dataclass(frozen=True)
class _Stateless(jaxmarl_envs.Wrapper):
    """Without a global state."""

    @property
    def spec(self) -> Any:
        """The spec."""
        return self.env.spec.replace(state_size=0)


@pytest.mark.parametrize(("name", "options"), [("toy/chain", {"length": 2, "n_agents": 2}), ("toy/puck", {})])
def test_discrete_actions_and_exact_observations_are_supported(name: str, options: dict[str, Any]) -> None:
    env = jaxmarl_envs.make(name, **options)
    (phase,) = algorithms.get("mbppo-mlp").build(tiny_config("mbppo-mlp"), env)
    config = tiny_config("mbppo-mlp")
    ctx = jax.tree.map(jnp.asarray, Context(config, env.default_params, jnp.int32(1), jnp.int32(10)))
    state = jax.eval_shape(phase.algorithm.init, jax.random.key(0), ctx)
    after, _ = jax.eval_shape(phase.algorithm.update, state, ctx)
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(lambda x: x.shape, state)


def test_another_algorithm_learns_in_a_model() -> None:
    """MAPPO takes a model environment as it takes any other, without code of its own."""
    learner, config = learner_of("mbppo-mlp")
    world = jax.jit(lambda key: learner.init_world(key, context(config, 0)).params)(jax.random.key(0))
    starts = Starts(jnp.zeros((3, 1, 1)), jnp.zeros((3, 0, 2, 1)), jnp.ones((3, 1), bool))
    params = ModelParams(world, starts)
    env = ModelEnvironment(learner.model, config.horizon, params)
    mappo = tiny_config("mappo")
    (phase,) = algorithms.get("mappo").build(mappo, env)
    ctx = jax.tree.map(jnp.asarray, Context(mappo, params, jnp.int32(0), jnp.int32(10)))
    run = jax.jit(lambda key: phase.algorithm.update(phase.algorithm.init(key, ctx), ctx)[1])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(run(jax.random.key(1)).learner))
