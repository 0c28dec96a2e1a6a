"""Environments as models, planning in them, and mctx's searches over all joint actions."""

import dataclasses

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import TimeLimit, restart, transition
from toy_model import toy_model

from jaxmarl_suite.search import (
    World,
    WorldParams,
    environment_model,
    evaluate,
    gumbel_search,
    muzero_search,
    rollout_evaluator,
    sampled_search,
    uniform_evaluator,
)

SEARCHES = {
    "optimistic": lambda model: sampled_search(model, num_simulations=12, num_samples=6),
    "mean": lambda model: sampled_search(model, num_simulations=12, num_samples=6, backup="mean"),
    "gumbel": lambda model: gumbel_search(model, num_simulations=12),
    "muzero": lambda model: muzero_search(model, num_simulations=12),
}


def worlds(env, number, key=None):
    keys = jax.random.split(jax.random.key(0) if key is None else key, number)
    return World(*jax.vmap(env.reset, (0, None))(keys, env.default_params))


def test_a_step_of_the_model_is_one_of_the_environment():
    env = jaxmarl_envs.make("hallway/2-3")
    model, params = environment_model(env, discount=0.9), WorldParams(env.default_params)
    world = worlds(env, 40)
    root = model.root(params, jax.random.key(1), world)
    np.testing.assert_array_equal(root.legal, world.timestep.action_mask)
    actions = jax.random.randint(jax.random.key(2), (40, 2), 0, 3)
    found, embedding = model.recurrent(params, jax.random.key(3), actions, root.embedding)
    state, timestep = jax.vmap(env.step, (None, 0, 0, None))(jax.random.key(4), world.state, actions, ())
    np.testing.assert_array_equal(found.reward, timestep.reward.mean(-1))
    np.testing.assert_allclose(found.discount, np.where(timestep.done, 0.0, 0.9))
    jax.tree.map(np.testing.assert_array_equal, embedding.state, state)
    assert timestep.done.any() and not timestep.done.all()


def test_after_the_end_nothing_is_paid():
    env = TimeLimit(jaxmarl_envs.make("matrix/mmdp").env, 2)  # truncates; without the limit it would go on paying
    valued = environment_model(env, lambda p, k, s, t: (jnp.zeros((2, 2)), jnp.float32(7)))
    params = WorldParams(env.default_params)
    embedding = valued.root(params, jax.random.key(0), worlds(env, 1)).embedding
    seen = []
    for _ in range(4):
        actions = jnp.zeros((1, 2), jnp.int32)
        found, embedding = valued.recurrent(params, jax.random.key(0), actions, embedding)
        seen.append([float(found.reward[0]), float(found.discount[0]), float(found.value[0])])
    assert seen == [[1, 1, 7], [1, 0, 0], [0, 0, 0], [0, 0, 0]]


@dataclasses.dataclass(frozen=True)
class Masked:
    """Two agents with three actions; agent 1 must not take the last, which would pay best."""

    default_params: tuple = ()

    @property
    def spec(self):
        return jaxmarl_envs.EnvSpec(id="test/masked", n_agents=2, obs_shape=(1,), num_actions=3, episode_limit=2)

    def mask(self):
        return jnp.array([[True, True, True], [True, True, False]])

    def reset(self, key, params):
        return jnp.int32(0), restart(self.spec, obs=jnp.zeros((2, 1)), action_mask=self.mask())

    def step(self, key, state, action, params):
        reward = action.sum().astype(jnp.float32) + 100.0 * (action[1] == 2).astype(jnp.float32)
        end = state + 1 >= 2
        return state + 1, transition(
            self.spec, obs=jnp.zeros((2, 1)), reward=reward, terminated=end, action_mask=self.mask()
        )


@pytest.mark.parametrize("name", SEARCHES)
def test_results_are_of_one_type_and_nothing_illegal_is_searched(name):
    env = Masked()
    found = jax.jit(SEARCHES[name](environment_model(env)))(WorldParams(()), jax.random.key(1), worlds(env, 8))
    slots = 6 if name in ("optimistic", "mean") else 9
    assert found.actions.shape == (8, slots, 2) and found.best.shape == found.raw_value.shape == (8,)
    np.testing.assert_array_equal(np.asarray(found.visits).sum(-1), 12)
    np.testing.assert_allclose(np.asarray(found.weights).sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(found.prior).sum(-1), 1.0, rtol=1e-5)
    visited = np.asarray(found.visits) > 0
    assert np.take_along_axis(visited, np.asarray(found.best)[:, None], 1).all()
    assert not (visited & ~np.asarray(found.is_child)).any()
    assert (np.asarray(found.actions)[visited][:, 1] != 2).all()
    assert float(found.value.max()) <= 6.0 + 1e-5  # what is forbidden would pay a hundred more, deeper in the tree too


def test_one_step_games_are_solved():
    """With every joint action sampled, the largest q is exact: the optimum of any one-step game."""
    for name in ("matrix/climbing", "matrix/penalty", "matrix/M3"):
        env = jaxmarl_envs.make(name, horizon=1)
        search = jax.jit(sampled_search(environment_model(env), num_simulations=60, num_samples=60))
        found = search(WorldParams(env.default_params), jax.random.key(0), worlds(env, 4))
        q = jnp.where(found.visits > 0, found.q, -jnp.inf)
        np.testing.assert_allclose(q.max(-1), env.spec.optimum)
        assert (np.asarray(found.is_child).sum(-1) == 9).all()


def test_the_enumerated_searches_find_the_optimum():
    env = jaxmarl_envs.make("matrix/climbing")
    model = environment_model(env)
    # MuZero turns to what it does not know once 1.25 √n / 9 reaches 1 and more, so all is known after 200 simulations.
    search = jax.jit(muzero_search(model, num_simulations=200))
    found = search(WorldParams(env.default_params), jax.random.key(0), worlds(env, 4))
    payoff = np.asarray(env.default_params.payoff).ravel()
    np.testing.assert_allclose(found.q, np.broadcast_to(payoff, (4, 9)))
    search = gumbel_search(model, num_simulations=18, gumbel_scale=0.0)
    played = evaluate(search, env, jax.random.key(0), num_episodes=4)
    np.testing.assert_allclose(played.returns, 11.0)
    np.testing.assert_array_equal(played.lengths, 1)


def test_rollouts_by_hand():
    env = jaxmarl_envs.make("matrix/M4", horizon=3)
    evaluator = rollout_evaluator(env, num_steps=3, discount=0.5)
    state, timestep = env.reset(jax.random.key(0), env.default_params)
    keys = jax.random.split(jax.random.key(1), 4000)
    logits, values = jax.vmap(lambda key: evaluator(env.default_params, key, state, timestep))(keys)
    mean = float(np.asarray(env.default_params.payoff).mean())
    np.testing.assert_allclose(values.mean(), mean * (1 + 0.5 + 0.25), atol=0.15)
    assert (logits == 0).all()
    zero_logits, zero = uniform_evaluator((), keys[0], state, timestep)
    assert zero_logits.shape == (2, 3) and float(zero) == 0.0


def test_planning_in_the_hallway_beats_chance():
    env = jaxmarl_envs.make("hallway/2-2")
    model = environment_model(env, rollout_evaluator(env, 6))
    params, wins = WorldParams(env.default_params, env.default_params), []
    for simulations, samples in ((1, 1), (40, 8)):  # the first plays what it draws: uniformly
        search = sampled_search(model, num_simulations=simulations, num_samples=samples)
        played = evaluate(search, env, jax.random.key(0), num_episodes=48, params=params)
        assert set(np.unique(played.returns)) <= {0.0, 10.0}
        assert bool((played.lengths <= env.spec.episode_limit).all())
        wins.append(float((played.returns == 10).mean()))
    assert wins[1] > wins[0] + 0.3, wins  # three standard errors of the difference are below 0.3


def test_a_task_of_another_package_is_planned_in():
    env = jaxmarl_envs.make("jumanji/lbf-8x8-2p-2f-coop")
    search = sampled_search(environment_model(env), num_simulations=4, num_samples=3)
    played = evaluate(search, env, jax.random.key(0), num_episodes=2, max_steps=2)
    assert played.returns.shape == (2,) and np.isfinite(played.returns).all()
    np.testing.assert_array_equal(played.lengths, 2)


def test_mistakes_are_told():
    robots, game = jaxmarl_envs.make("toy/pendulum"), jaxmarl_envs.make("matrix/mmdp").env
    with pytest.raises(ValueError, match=r"search needs discrete actions, and 'toy/pendulum' has continuous ones"):
        environment_model(robots)
    with pytest.raises(ValueError, match="discrete actions"):
        rollout_evaluator(robots, 3)
    with pytest.raises(ValueError, match=r"discount must lie between 0 and 1, got 1\.5"):
        environment_model(game, discount=1.5)
    with pytest.raises(ValueError, match="num_steps must be an integer of at least 1, got 0"):
        rollout_evaluator(game, 0)
    search = sampled_search(environment_model(game))
    with pytest.raises(
        ValueError, match="'matrix/mmdp' has no time limit: say how long episodes may be with max_steps"
    ):
        evaluate(search, game, jax.random.key(0), num_episodes=2)
    with pytest.raises(ValueError, match="num_episodes must be an integer of at least 1, got 0"):
        evaluate(search, game, jax.random.key(0), num_episodes=0, max_steps=3)
    large = toy_model()._replace(n_agents=4, num_actions=20)
    for make in (gumbel_search, muzero_search):
        with pytest.raises(
            ValueError, match=r"160,000 joint actions.*sampled_search draws num_samples of them instead"
        ):
            make(large)
        with pytest.raises(ValueError, match="num_simulations must be an integer of at least 1, got 0"):
            make(toy_model(), num_simulations=0)
    with pytest.raises(ValueError, match="max_considered must be an integer of at least 1, got 0"):
        gumbel_search(toy_model(), max_considered=0)
