"""The planning learner: what is searched anew, when networks are copied, what an update does."""

import dataclasses
from unittest import mock

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import EpisodeStatistics, VectorEnv
from toy_envs import Noisy, context

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms import ActContext
from jaxmarl_suite.algorithms.planning import MAZeroConfig, Models, Planning
from jaxmarl_suite.algorithms.planning._core import init_state, play
from jaxmarl_suite.algorithms.planning.mazero import joint_weights, mazero_method, temperature
from jaxmarl_suite.replay import Places, add_block, read_windows
from jaxmarl_suite.search import SearchResult

SIZES = {
    "num_envs": 4, "rollout_length": 4, "gradient_steps": 2, "capacity": 64, "batch_size": 8, "warmup_steps": 33,
    "unroll_steps": 2, "n_step": 2, "num_simulations": 4, "num_samples": 2, "target_period": 3, "num_bins": 9,
    "width": 4, "hidden": (4,), "head_hidden": (4,), "predictor_hidden": 4, "communication_layers": 1, "num_heads": 2,
}  # fmt: skip


def away_from_zero(params, seed=0):
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return jax.tree.unflatten(tree, [x + 0.3 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)])


def make_learner(env, **changes):
    config = MAZeroConfig(**{**SIZES, "communication_layers": 0, **changes})
    return Planning(config, mazero_method(config, env.spec))


def test_targets_are_searched_anew_by_the_target_networks_wherever_something_was_seen():
    """In parts, and in order: roots are valued as the target networks value what was seen, whose legal actions count."""
    env, reanalyze = Noisy(), Planning.reanalyze
    learner = make_learner(env, reanalysis_parts=2)
    ctx, vector, layout = context(learner.config, env, horizon=4), VectorEnv(env, 4), learner.layout(env)

    @jax.jit
    def run(key):
        init_key, play_key, target_key = jax.random.split(key, 3)
        state = init_state(learner, vector, layout, init_key, ctx)
        target = away_from_zero(state.models.target)
        _, block, _ = play(learner, vector, state.models.online.params, state.env, play_key, ctx)
        store = add_block(layout, state.replay, block)
        env_index = jnp.tile(jnp.arange(4, dtype=jnp.int32), 2)
        weight = jnp.ones(8).at[7].set(0.0)
        places = Places(env_index, jnp.repeat(jnp.array([0, 3], jnp.int32), 4), weight)
        windows = read_windows(layout, store.head, store.contents, places, learner.config.window)
        searched = []  # once, by `to_batch`

        def spy(*args):
            searched.append(reanalyze(*args))
            return searched[-1]

        with mock.patch.object(Planning, "reanalyze", spy):
            batch = learner.to_batch(target, windows, places, jnp.zeros(8), target_key, ctx)
        (found,) = searched
        return target, windows, found, batch

    target, windows, found, batch = run(jax.random.key(3))
    method, steps = learner.method, learner.config.unroll_steps + 1
    obs = method.view.encode(windows.observed.obs[:, :steps])
    np.testing.assert_array_equal(batch.obs, obs)
    value = learner.config.bins.decode(method.networks.assess(target, method.networks.represent(target, obs))[1])
    np.testing.assert_allclose(found.raw_value, value, rtol=1e-4, atol=1e-5)
    legal = np.take_along_axis(
        np.asarray(windows.observed.mask[:, :steps])[:, :, None], np.asarray(found.actions)[..., None], axis=-1
    )
    assert legal.all() and not np.asarray(windows.observed.mask[:, :steps]).all()
    np.testing.assert_array_equal(batch.joint, found.actions)
    # Past an end, behind the newest step and where nothing was drawn there is nothing to imitate.
    goes_on, is_stored = (np.asarray(x)[:, :steps] for x in (windows.same_episode, windows.is_stored))
    drawn = np.arange(8)[:, None] < 7
    np.testing.assert_array_equal(batch.is_seen, goes_on & is_stored & drawn)
    assert ((np.asarray(batch.joint_weight).sum(-1) > 0) == (goes_on & is_stored & drawn)).all()
    np.testing.assert_array_equal(batch.counts, is_stored | ~goes_on)
    assert not np.asarray(batch.reward)[~goes_on[:, :-1]].any() and not np.asarray(batch.value)[~goes_on].any()
    assert not goes_on.all() and not np.asarray(batch.counts).all()


def result(visits, prior, q, value=0.0):
    visits = jnp.asarray(visits, jnp.int32)
    zeros = jnp.zeros(visits.shape[:-1])
    return SearchResult(
        actions=jnp.zeros((*visits.shape, 2), jnp.int32),
        is_child=visits > 0,
        visits=visits,
        weights=visits / visits.sum(-1, keepdims=True, dtype=jnp.int32),
        q=jnp.asarray(q),
        value=zeros,
        raw_value=zeros + value,
        best=visits.argmax(-1).astype(jnp.int32),
        prior=jnp.asarray(prior),
    )


def test_what_policies_learn_of_searched_joint_actions():
    """Visits or priors, times the cut exponential of advantages over the network's value; slots without a child: nothing."""
    found = result(
        [[6, 2, 0], [4, 4, 0]], [[0.5, 0.5, 0.0], [0.75, 0.25, 0.0]], [[3.0, 1.0, 9.0], [2.0, 4.0, 9.0]], 1.0
    )
    is_seen = jnp.array([True, False])
    ctx = context(MAZeroConfig(), Noisy())
    scaled = np.array([1.0, -1.0])  # advantages 2 and 0, standardized
    share, prior = np.array([0.75, 0.25]), np.array([0.5, 0.5])
    factor = np.minimum(np.exp(scaled / 2.0), 3.0)
    for loss, wanted in (("awpo", share * factor), ("awpo-prior", prior * factor), ("cloning", share)):
        weight = joint_weights(MAZeroConfig(policy_loss=loss), found, is_seen, ctx)
        np.testing.assert_allclose(weight, [[*wanted, 0.0], [0.0, 0.0, 0.0]], rtol=1e-4)


def test_temperature_of_play():
    config = MAZeroConfig(visit_temperature=2.0)
    hp = jax.tree.map(jnp.float32, config)
    for clock, wanted in ((0, 2.0), (49, 2.0), (50, 1.0), (75, 0.5)):
        ctx = ActContext(hp, (), jnp.int32(clock), jnp.int32(100))
        assert temperature(config, ctx) == 2.0
        assert temperature(dataclasses.replace(config, cool_down=True), ctx) == wanted


def test_targets_are_two_copies_old():
    """Every third gradient step; two of them in an update."""
    learner = make_learner(Noisy())
    config = learner.config
    due = []
    for clock in range(5):
        ctx = context(config, Noisy(), clock=clock)
        due += [bool(learner.copies(jnp.int32(number), ctx)) for number in (1, 2)]
    assert [number for number, is_due in enumerate(due, start=1) if is_due] == [3, 6, 9]


@pytest.fixture(scope="module", params=["mazero", pytest.param("muzero-joint", marks=pytest.mark.slow)])
def trained(request):
    """`(algorithm, config, env, states, metrics, lowered text)` of four updates, the first two of which are warm-up."""
    spec, env = algorithms.get(request.param), EpisodeStatistics(jaxmarl_envs.make("matrix/climbing", horizon=3))
    fields = {field.name for field in dataclasses.fields(spec.config)}
    config = dataclasses.replace(spec.default_config, **{k: v for k, v in SIZES.items() if k in fields})
    (phase,) = spec.build(config, env)
    algorithm = phase.algorithm
    state = jax.jit(algorithm.init)(jax.random.key(0), context(config, env))
    lowered = jax.jit(algorithm.update).lower(state, context(config, env))
    update = lowered.compile()
    states, metrics = [state], []
    for clock in range(4):
        state, found = update(state, context(config, env, clock=clock))
        states.append(state)
        metrics.append(found)
    return algorithm, config, env, states, metrics, lowered.as_text()


def leaves_equal(a, b):
    return [np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]


def test_nothing_is_learned_before_the_warm_up_is_over(trained):
    _, config, _, states, metrics, _ = trained
    for index, found in enumerate(metrics):
        is_ready = (index + 1) * 16 >= config.warmup_steps
        assert {float(average.weight) for average in found.learner.values()} == {float(is_ready)}
        assert all(np.isfinite(float(average.total)) for average in found.learner.values())
        same = leaves_equal(states[index].models.online, states[index + 1].models.online)
        assert all(same) != is_ready
    assert float(metrics[0].episodes["length"].total / metrics[0].episodes["length"].weight) == 3.0


def test_copies_in_an_update(trained):
    """Gradient steps 5 and 6 are the third update's, 7 and 8 the fourth's: after the sixth, networks are copied."""
    _, _, _, states, _, _ = trained
    first, third, fourth = (states[index].models for index in (0, 3, 4))
    assert all(leaves_equal(third.snapshot, third.online.params)), "copied after the last step of the update"
    assert all(leaves_equal(third.target, first.online.params)), "the copy before"
    assert all(leaves_equal(fourth.snapshot, third.snapshot))
    assert isinstance(fourth, Models)


def test_priorities_follow_errors(trained):
    _, _, _, states, _, _ = trained
    before, after = (np.asarray(states[index].replay.head.priority) for index in (2, 3))
    assert set(np.unique(before)) == {0.0, 1.0}
    assert len(np.unique(after)) > 4, "drawn steps have priorities of their own"


def test_no_host_is_called(trained):
    assert "callback" not in trained[-1]


def test_acting_with_and_without_search(trained):
    algorithm, config, env, states, _, _ = trained
    assert set(algorithm.extra_acts) == {"policy"}
    policy, ctx = algorithm.policy(states[-1]), context(config, env)
    timestep = states[-1].env.timestep
    for act in (algorithm.act, algorithm.extra_acts["policy"]):
        action, _ = jax.jit(act)(policy, algorithm.init_carry(4), timestep, jax.random.key(1), ctx)
        assert action.shape == (4, 2) and ((action >= 0) & (action < 3)).all()
