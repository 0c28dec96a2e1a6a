"""Random intents, the library that is learned from them, and its reuse."""

import dataclasses
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dataset_tools import about_of, random_data
from line_env import Line
from off_policy_tools import actor_output, compiled, critic_values, doubles, layers, mlp, random_batch
from toy_envs import context

from jaxmarl_suite.algorithms.off_policy import _expansion, make_team, uber
from jaxmarl_suite.algorithms.off_policy._intents import draw_intents, intent_network, labels, measured
from jaxmarl_suite.algorithms.off_policy.td3 import deterministic
from jaxmarl_suite.replay import REWARD, Dataset

SMALL = {
    "gradient_steps": 2,
    "total_gradient_steps": 4,
    "batch_size": 3,
    "hidden": (4, 3),
    "intent_hidden": (5,),
    "num_intents": 3,
    "learning_rate": 0.01,
    "num_envs": 2,
    "rollout_length": 4,
    "capacity": 32,
    "warmup_steps": 8,
}


def config_of(**changes):
    return uber.UberConfig(**(SMALL | changes))


def dataset_of(env, **changes):
    items = random_data(env.spec, 3, 8).items | changes
    return Dataset(Path("data"), items, about_of(env.spec, len(items["episode"])))


@pytest.fixture(scope="module")
def intents():
    """`(network, five intents, inputs)`, on 2,500 steps of three entries: more than two chunks."""
    network, rng = intent_network(3, 2, (16, 16)), np.random.default_rng(0)
    context_, action = (jnp.asarray(rng.normal(size=(2500, size)), jnp.float32) for size in (3, 2))
    return network, compiled(lambda key: draw_intents(network, 5, key))(jax.random.key(7)), context_, action


def test_intents_are_networks_that_depend_on_key_and_number_only(intents):
    network, five, context_, action = intents
    two = compiled(lambda key: draw_intents(network, 2, key))(jax.random.key(7))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[:2]), two.params, five.params)
    other = compiled(lambda key: draw_intents(network, 2, key))(jax.random.key(8))
    assert all(
        (np.asarray(a) != np.asarray(b)).any() for a, b in zip(*map(jax.tree.leaves, (two.params, other.params)))
    )
    values = np.asarray(network.values(five.params, context_[:7], action[:7]))
    x = np.concatenate([context_[:7], action[:7]], -1).astype(np.float64)
    for i in range(5):
        dense = layers(jax.tree.map(lambda p, i=i: np.asarray(p[i], np.float64), five.params))
        np.testing.assert_allclose(values[i], mlp(dense, x)[:, 0], rtol=1e-4, atol=1e-6)
        for kernel, bias in dense:  # PyTorch's: weights and biases up to 1/sqrt(fan-in)
            bound = kernel.shape[0] ** -0.5
            assert np.abs(kernel).max() <= bound and np.abs(bias).max() <= bound and np.abs(bias).min() > 0
            assert np.abs(kernel).max() > 0.7 * bound


def test_labels_are_standardized_over_the_whole_dataset(intents):
    network, five, context_, action = intents
    known = compiled(partial(measured, network))(five, context_, action)
    raw = np.asarray(network.values(five.params, context_, action), np.float64)
    np.testing.assert_allclose(known.mean, raw.mean(1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(known.std, raw.std(1), rtol=1e-4)
    found = np.asarray(labels(network, known, context_, action))
    np.testing.assert_allclose(found.mean(1), 0.0, atol=1e-3)
    np.testing.assert_allclose(found.std(1), 1.0, atol=1e-3)
    shifted = np.asarray(labels(network, known, context_, action, scale=2.0, shift=1.0))
    np.testing.assert_allclose(shifted, 2 * found + 1, rtol=1e-5, atol=1e-5)
    constant = compiled(partial(measured, network))(five, context_[:1], action[:1])
    assert np.isfinite(labels(network, constant, context_[:1], action[:1])).all()


@cache
def library(kind="intents", **changes):
    """`(first phase, second phase, config, init, update, context)` on `line/1`."""
    config, env = config_of(library=kind, **changes), Line()
    first, second = uber.SPEC.build(config, env, has_data=True)
    update = compiled(first.algorithm.update)
    return first, second, config, compiled(first.algorithm.init), update, partial(context, config, env)


def learned(data, kind="intents", change=lambda state: state, **changes):
    """The state of the first phase after its two updates."""
    _, _, _, init, update, ctx = library(kind, **changes)
    state = change(init(jax.random.key(0), ctx()))
    for clock in range(2):
        state, metrics = update(state, ctx(clock=clock, data=data))
    return state, metrics


def test_phase_one_never_opens_the_rewards():
    first, *_ = library()
    dataset = dataset_of(Line())
    blank = dataset_of(Line(), **{REWARD: np.full_like(dataset.items[REWARD], np.nan)})
    one, two = (learned(first.data(d))[0] for d in (dataset, blank))
    jax.tree.map(np.testing.assert_array_equal, one.heads, two.heads)
    jax.tree.map(np.testing.assert_array_equal, one.intents, two.intents)
    truth, *_ = library("reward")
    with pytest.raises(ValueError, match="'hidden_reward' that is not finite"):
        truth.data(blank)


def test_changing_one_intent_leaves_the_others_bitwise():
    first, *_ = library()
    data = first.data(dataset_of(Line()))

    def change(state):
        params = jax.tree.map(lambda x: x.at[1].multiply(-3.0), state.intents.params)
        return dataclasses.replace(state, intents=dataclasses.replace(state.intents, params=params))

    ours, theirs = learned(data)[0].heads, learned(data, change=change)[0].heads
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[::2], b[::2]), ours, theirs)
    critics = (jax.tree.leaves(heads.critic.params) for heads in (ours, theirs))
    assert all((np.asarray(a)[1] != np.asarray(b)[1]).any() for a, b in zip(*critics))
    heads = np.asarray(ours.actor.params["head"]["params"]["Dense_0"]["kernel"])
    assert (heads[0] != heads[1]).any() and (heads[1] != heads[2]).any()


def test_heads_learn_the_same_as_a_batch():
    first, *_ = library()
    data = first.data(dataset_of(Line()))
    (one, by_one), (two, batched) = learned(data), learned(data, head_mode="vmap")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), one.heads.actor, two.heads.actor)
    assert by_one.learner.keys() == batched.learner.keys()
    for name, found in by_one.learner.items():
        np.testing.assert_allclose(found, batched.learner[name], rtol=1e-3, atol=1e-5)


def test_intents_are_measured_once_and_never_trained():
    first, _, _, init, _, ctx = library()
    data = first.data(dataset_of(Line()))
    state, _ = learned(data)
    before = init(jax.random.key(0), ctx()).intents
    jax.tree.map(np.testing.assert_array_equal, before.params, state.intents.params)
    dataset = dataset_of(Line())
    x = np.concatenate([dataset.items["obs"][:, 0], (dataset.items["action"][:, 0] - 1) / 2], -1).astype(np.float64)
    for i in range(3):
        raw = mlp(layers(jax.tree.map(lambda p, i=i: np.asarray(p[i], np.float64), state.intents.params)), x)[:, 0]
        np.testing.assert_allclose([state.intents.mean[i], state.intents.std[i]], [raw.mean(), raw.std()], rtol=1e-4)


def test_an_untrained_library_does_not_learn():
    first, _, _, init, _, ctx = library("untrained")
    assert first.updates == 1
    state, _ = learned(first.data(dataset_of(Line())), "untrained")
    jax.tree.map(np.testing.assert_array_equal, state.heads.actor, init(jax.random.key(0), ctx()).heads.actor)


def test_choices_follow_the_values():
    """Probabilities of three candidates by hand; each state has its own scores and actions."""
    found = jnp.asarray([[0.0, 1.0], [0.1, 0.0], [0.3, 0.0]], jnp.float32)  # [M, B]
    actions = jnp.arange(6, dtype=jnp.float32).reshape(3, 2, 1, 1)
    p = np.exp(10 * np.asarray(found, np.float64))
    p = p / p.sum(0)
    keys = jax.random.split(jax.random.key(0), 4000)
    action, chosen, entropy = jax.vmap(partial(_expansion.choose, found, actions, jnp.float32(10.0)))(keys)
    for b in range(2):
        np.testing.assert_allclose(np.bincount(chosen[:, b], minlength=3) / 4000, p[:, b], atol=0.03)
        np.testing.assert_array_equal(action[:, b, 0, 0], np.asarray(actions)[np.asarray(chosen[:, b]), b, 0, 0])
    np.testing.assert_allclose(entropy[0], -(p * np.log(p)).sum(0), rtol=1e-4)


@pytest.mark.parametrize("n_agents", [1, 2])
def test_candidates_are_valued_in_their_own_states(n_agents):
    config, env = config_of(), Line(n_agents)
    team = make_team(config, env, outputs=1, context="state")
    rng, batch = np.random.default_rng(1), random_batch(n_agents, 5, np.random.default_rng(0))
    params = compiled(lambda key: jax.vmap(team.actor.init)(jax.random.split(key, 4)))(jax.random.key(0))
    theirs, own = jax.tree.map(lambda x: x[:3], params), jax.tree.map(lambda x: x[3], params)
    critic = compiled(team.critics.init)(jax.random.key(int(rng.integers(99))))
    acted = compiled(partial(deterministic, team))(own, batch.obs)
    actions = compiled(partial(_expansion.candidates, team))(theirs, acted, batch.obs)
    each = [doubles(jax.tree.map(lambda x, i=i: x[i], params)) for i in range(4)]
    by_hand = [np.tanh(actor_output(one, doubles(batch.obs), True)) for one in each]
    np.testing.assert_allclose(actions, by_hand, rtol=1e-4, atol=1e-6)
    found = compiled(partial(_expansion.scores, team))(critic, batch.obs, batch.state, actions)
    state = np.asarray(batch.state, np.float64)
    wanted = [critic_values(doubles(critic), state, action).min(0) for action in by_hand]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_the_guide_is_the_best_candidate():
    config, env = config_of(reuse="guide", alpha=1.5, guide_weight=0.7), Line()
    team, ctx = make_team(config, env, outputs=1, context="state"), context(config, env)
    batch = random_batch(1, 6, np.random.default_rng(0))
    theirs = compiled(lambda key: jax.vmap(team.actor.init)(jax.random.split(key, 3)))(jax.random.key(0))
    method = uber.online_method(team, team, theirs)
    params = compiled(method.init)(jax.random.key(5))
    loss, metrics = compiled(method.actor_loss)(params["actor"], params["critic"], batch, jax.random.key(0), ctx)
    state, obs = np.asarray(batch.state, np.float64), doubles(batch.obs)
    each = [doubles(jax.tree.map(lambda x, i=i: x[i], theirs)) for i in range(3)] + [doubles(params["actor"])]
    actions = np.stack([np.tanh(actor_output(one, obs, True)) for one in each])
    values = np.stack([critic_values(doubles(params["critic"]), state, action) for action in actions])  # [M, C, B]
    best = values.min(1).argmax(0)
    assert len(set(best.tolist())) > 1
    distance = np.mean((actions[3] - actions[best, np.arange(6)]) ** 2)
    own = values[3, 0]
    np.testing.assert_allclose(metrics["guide_distance"], distance, rtol=1e-4)
    np.testing.assert_allclose(loss, -1.5 * own.mean() / np.abs(own).mean() + 0.7 * distance, rtol=1e-4)


def test_the_library_acts_and_stays_as_it_was():
    first, second, config, _, _, ctx = library()
    state, _ = learned(first.data(dataset_of(Line())))
    artifact = first.artifact(state)
    begun = compiled(second.begin)(artifact, jax.random.key(3), ctx())
    update, shares = compiled(second.algorithm.update), []
    online = begun
    for clock in range(3):
        online, metrics = update(online, ctx(clock=clock))
        shares.append(
            {k: (float(v.total), float(v.weight)) for k, v in metrics.learner.items() if hasattr(v, "weight")}
        )
    jax.tree.map(np.testing.assert_array_equal, artifact, online.library)
    assert shares[0]["acts_own"] == (0.0, 0.0)  # random actions
    for found in shares[1:]:
        assert found["acts_own"][1] == 8 and 0 <= found["acts_own"][0] <= found["acts_most"][0] <= 8
        assert 0 <= found["choice_entropy"][0] / 8 <= np.log(4) + 1e-5
    actors = (jax.tree.leaves(state.online.learners.actor.params) for state in (begun, online))
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(*actors))
    stored = np.asarray(online.online.replay.contents.steps.action)
    assert stored.shape == (2, 16, 1, 1) and np.abs(stored).max() <= 1
    policies = [phase.algorithm.policy(s) for phase, s in ((first, state), (second, online))]
    assert jax.tree.structure(policies[0]) == jax.tree.structure(policies[1])
    assert config.num_intents == len(jax.tree.leaves(policies[1]["library"])[0])


def test_sac_reuses_a_library_too():
    """Its own candidate is drawn as experience is collected; the library's act without noise."""
    config, env = config_of(online="sac", inverse_temperature=0.0), Line()
    _, second = uber.SPEC.build(config, env, has_data=True)
    ctx = partial(context, config, env)
    of_td3, _, _, init, _, _ = library()  # the first phase is the same
    theirs = of_td3.artifact(init(jax.random.key(0), ctx()))
    state = compiled(second.begin)(theirs, jax.random.key(3), ctx())
    update = compiled(second.algorithm.update)
    for clock in range(2):
        state, metrics = update(state, ctx(clock=clock))
    assert np.isfinite(metrics.learner["temperature"].total) and metrics.learner["acts_own"].weight == 8
    policy, batch = second.algorithm.policy(state), random_batch(1, 64, np.random.default_rng(0))
    _, timestep = jax.vmap(env.reset, (0, None))(jax.random.split(jax.random.key(1), 64), ())
    timestep = dataclasses.replace(timestep, obs=batch.obs, state=batch.state)
    explored, greedy = (
        np.asarray(compiled(act)(policy, None, timestep, jax.random.key(2), ctx())[0])
        for act in (second.algorithm.explore, second.algorithm.act)
    )
    behaviors = uber.behavior_team(config, env)
    acted = jax.vmap(lambda params: deterministic(behaviors, params, batch.obs))(theirs)
    is_theirs = np.isclose(explored, behaviors.actions.to_env(acted), atol=1e-5).any(0)[:, 0, 0]
    assert 32 <= is_theirs.sum() < 64  # three of four candidates
    same = np.isclose(explored, greedy, atol=1e-5)[:, 0, 0]
    assert (is_theirs >= same).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"library": "noise"}, "library must be 'intents' or 'reward' or .*, got 'noise'"),
        ({"head_mode": "pmap"}, "head_mode must be 'auto' or 'map' or 'vmap', got 'pmap'"),
        ({"online": "ddpg"}, "online must be 'td3' or 'sac', got 'ddpg'"),
        ({"reuse": "both"}, "reuse must be 'expansion' or 'guide', got 'both'"),
        ({"num_intents": 0}, "num_intents must be at least 1, got 0"),
        ({"intent_hidden": (0,)}, r"intent_hidden must .*at least 1|intent_hidden must hold positive widths"),
        ({"inverse_temperature": -1.0}, "inverse_temperature must be finite and not negative"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        config_of(**changes)
