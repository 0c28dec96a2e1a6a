"""What does not count has no part in sums and gradients, also where it is infinite or not a number."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxmarl_envs import EpisodeStatistics, TimeLimit
from line_env import Line
from q_tools import QUICK, config_of, parts_of, random_batch, random_params
from test_q_play import Learner, stored
from toy_envs import Noisy, ThreeSteps, context

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms.off_policy._parts import Batch, backed_up
from jaxmarl_suite.algorithms.q_learning._methods import Terms, bootstrap, total
from jaxmarl_suite.ops import generalized_advantage, n_step_return, take, weighted_mean

BAD = (np.inf, -np.inf, np.nan)


@dataclasses.dataclass(frozen=True)
class Arrival:
    """An environment with a metric `arrival` that is infinite until the episode has ended, and 2 then."""

    env: Any

    def __getattr__(self, name):
        return getattr(self.env, name)

    def __hash__(self):
        return hash(self.env)

    @property
    def spec(self):
        return self.env.spec.replace(metrics=(*self.env.spec.metrics, "arrival"))

    def reset(self, key, params):
        state, timestep = self.env.reset(key, params)
        return state, self._with_metric(timestep)

    def step(self, key, state, action, params):
        state, timestep = self.env.step(key, state, action, params)
        return state, self._with_metric(timestep)

    def _with_metric(self, timestep):
        return timestep.replace(metrics={**timestep.metrics, "arrival": jnp.where(timestep.done, 2.0, jnp.inf)})


SIZES = {
    "qmix": {"num_envs": 4, "rollout_length": 5, "whole_episodes": True, "learning_starts": 0, "capacity": 8,
             "batch_size": 2, "width": 3, "recurrent": False, "embed": 3, "hyper_hidden": 3},
    "ippo": {"num_envs": 4, "rollout_length": 5, "epochs": 1, "minibatches": 1, "hidden": (3,)},
    "td3": {"num_envs": 4, "rollout_length": 5, "warmup_steps": 0, "capacity": 40, "batch_size": 3, "hidden": (3,)},
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_metrics_that_are_infinite_until_the_end(name):
    env = EpisodeStatistics(Arrival(Line(limit=3) if name == "td3" else TimeLimit(Noisy(), limit=3)))
    config = dataclasses.replace(algorithms.get(name).default_config, **SIZES[name])
    (phase,) = algorithms.get(name).build(config, env)
    ctx = context(config, env)
    state = jax.jit(phase.algorithm.init, compiler_options=QUICK)(jax.random.key(0), ctx)
    state, metrics = jax.jit(phase.algorithm.update, compiler_options=QUICK)(state, ctx)
    arrival = metrics.episodes["arrival"]
    assert arrival.weight >= 4 and arrival.total == 2 * arrival.weight
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))


@pytest.mark.parametrize("name", ["qmix", pytest.param("qtran", marks=pytest.mark.slow)])
def test_steps_that_do_not_count_have_no_part_in_gradients(name):
    """The gradient is that of a batch with zeros there, to the last bit."""
    config, env = config_of(name, recurrent=True), Noisy()
    team, method = parts_of(name, config, env)
    batch, params, ctx = random_batch(team), random_params(team, method, 0), context(config, env)
    counts = np.asarray(batch.steps.weight) > 0
    assert not counts.all()

    def fill(value):
        def put(x):
            own = counts.reshape(counts.shape + (1,) * (x.ndim - 2))
            return jnp.where(own, x, value) if x.dtype == jnp.float32 and x.ndim > 2 else x

        return dataclasses.replace(batch, steps=jax.tree.map(put, batch.steps).without_padding())

    @functools.partial(jax.jit, compiler_options=QUICK)
    def gradient(batch):
        importance = jnp.ones(counts.shape[1])
        return jax.value_and_grad(
            lambda p: total(method.terms(p, params, batch, ctx), batch.steps.weight, importance), has_aux=True
        )(params)

    expected = gradient(fill(0.0))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(expected))
    for bad in BAD:
        jax.tree.map(np.testing.assert_array_equal, gradient(fill(bad)), expected)


def test_whole_episodes_are_stored_without_what_follows_them():
    env = TimeLimit(ThreeSteps(), limit=5)
    learner = Learner("vdn", env, rollout_length=5, capacity=2, learning_starts=10**6, whole_episodes=True)
    ctx = learner.context()
    steps = stored(learner, learner.update(learner.init(jax.random.key(0), ctx), ctx)[0]).steps
    np.testing.assert_array_equal(steps.weight, np.broadcast_to([1, 1, 1, 0, 0], (2, 5)))
    for array in (steps.obs, steps.state, steps.reward, steps.next_obs, steps.next_state):
        assert not array[:, 3:].any() and array[:, :3].any()


@pytest.mark.parametrize("bad", BAD)
def test_masked_terms_of_a_loss(bad):
    weight = jnp.asarray([[1.0, 1.0], [1.0, 0.0]])
    clean = jnp.asarray([[1.0, 2.0], [4.0, 0.0]])
    spoilt = jnp.where(weight > 0, clean, bad)
    importance = jnp.asarray([1.0, 0.5])
    found, expected = (total(Terms(x, x, x, jnp.zeros(())), weight, importance) for x in (spoilt, clean))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert found[0] == 2.0 and found[1]["q_max_abs"] == 4.0


@pytest.mark.parametrize("bad", BAD)
def test_weighted_means(bad):
    values, weight = jnp.asarray([1.0, bad, 3.0]), jnp.asarray([1.0, 0.0, 1.0])
    mean, gradient = jax.value_and_grad(weighted_mean)(values, weight)
    assert mean == 2.0
    np.testing.assert_array_equal(gradient, [0.5, 0.0, 0.5])
    assert weighted_mean(values, jnp.zeros(3)) == 0.0
    with pytest.raises(ValueError, match=r"equal shapes, got \(3,\) and \(1,\)"):
        weighted_mean(values, weight[:1])


@pytest.mark.parametrize("bad", BAD)
def test_utilities_of_other_actions(bad):
    q = jnp.asarray([[1.0, bad], [bad, 2.0]])
    value, gradient = jax.value_and_grad(lambda q: take(q, jnp.asarray([0, 1])).sum())(q)
    assert value == 3.0
    np.testing.assert_array_equal(gradient, np.eye(2))


@pytest.mark.parametrize("bad", BAD)
def test_what_follows_an_end(bad):
    """Targets of one step and of several, and advantages."""
    config, env = config_of("vdn", gamma=0.5), Noisy()
    steps = random_batch(parts_of("vdn", config, env)[0]).steps
    after = jnp.where(steps.terminated[..., None], bad, 1.0)
    target = bootstrap(steps, after, context(config, env))[..., 0]
    np.testing.assert_allclose(target, steps.reward.mean(-1) + np.where(steps.terminated, 0.0, 0.5), rtol=1e-6)
    mixed = context(config_of("vdn", gamma=0.5, trace_decay=0.7), env)
    assert np.isfinite(bootstrap(steps, after, mixed)).all()

    nothing = jnp.zeros((2, 0))
    batch = Batch(nothing, nothing, nothing, jnp.ones(2), jnp.asarray([0.0, 0.5]), nothing, nothing, nothing, ())
    np.testing.assert_array_equal(backed_up(batch, jnp.asarray([[bad, 2.0]])), [[1.0, 2.0]])

    reward, never = jnp.asarray([1.0, 2.0, bad]), jnp.zeros(3, bool)
    second = never.at[1].set(True)
    for terminated, truncated in ((second, never), (never, second)):
        found = n_step_return(reward, terminated, truncated, gamma=0.5)
        assert found.rewards == 2.0 and found.last == 1
        advantage = generalized_advantage(
            reward, jnp.zeros(3), jnp.zeros(3), terminated, truncated, gamma=0.5, lambda_=1.0
        )
        np.testing.assert_array_equal(advantage[:2], [2.0, 2.0])
