"""How Q-learners play and what they store of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxmarl_envs import EpisodeStatistics, TimeLimit
from q_tools import QUICK, algorithm_of, config_of, parts_of, random_batch
from toy_envs import Noisy, ThreeSteps, ThreeStepsParams, context

from jaxmarl_suite.algorithms.q_learning import QLearning
from jaxmarl_suite.algorithms.q_learning._methods import bootstrap
from jaxmarl_suite.replay import read_windows, stored_blocks


class Learner:
    """An algorithm with compiled functions, and contexts for it."""

    def __init__(self, name, env, **changes):
        self.env = env
        self.algorithm, self.config = algorithm_of(name, env, **changes)
        self.team, self.method = parts_of(name, config_of(name, **changes), env)
        self.init = jax.jit(self.algorithm.init, compiler_options=QUICK)
        self.update = jax.jit(self.algorithm.update, compiler_options=QUICK)

    def context(self, *, clock=0, env_params=None, **changes):
        return context(dataclasses.replace(self.config, **changes), self.env, clock=clock, env_params=env_params)


def stored(learner, state):
    """Sequences [M, L, ...] in a state's replay, oldest first, as NumPy arrays."""
    core, store = QLearning(learner.team, learner.method), state.replay
    layout = core.layout(learner.env)
    if not hasattr(learner, "read"):

        def read(store, places):
            return core.to_sequences(read_windows(layout, store.head, store.contents, places, layout.block_length))

        learner.read = jax.jit(read, compiler_options=QUICK)
    return jax.tree.map(np.asarray, learner.read(store, stored_blocks(layout, store.head)))


@pytest.fixture(scope="module")
def player():
    """A learner whose replay holds exactly the play of one update."""
    return Learner("vdn", Noisy(), num_envs=32, rollout_length=12, capacity=32, learning_starts=10**6)


def test_epsilon_falls_linearly_and_stays(player):
    state = player.init(jax.random.key(0), player.context())
    each, found = 32 * 12, []
    for clock in (0, 1, 5, 10, 11, 500):
        ctx = player.context(clock=clock, epsilon_start=0.9, epsilon_end=0.1, epsilon_steps=10.0 * each)
        found.append(float(player.update(state, ctx)[1].learner["epsilon"]))
    np.testing.assert_allclose(found, [0.9, 0.82, 0.5, 0.1, 0.1, 0.1], rtol=1e-6)


def test_random_actions_are_legal_and_uniform(player):
    ctx = player.context(epsilon_start=1.0)
    state, actions, masks = player.init(jax.random.key(0), ctx), [], []
    for _ in range(6):
        state, metrics = player.update(state, ctx)
        assert metrics.episodes["illegal"].total == 0
        steps = stored(player, state).steps
        actions.append(steps.action.ravel())
        masks.append(steps.mask.reshape(-1, 3))
    action, mask = np.concatenate(actions), np.concatenate(masks)
    assert mask[np.arange(len(action)), action].all()
    for pattern in np.unique(mask, axis=0):
        taken = action[(mask == pattern).all(axis=1)]
        p = pattern / pattern.sum()
        spread = 4 * np.sqrt(len(taken) * p * (1 - p)) + 1e-9
        assert len(taken) > 50
        assert (np.abs(np.bincount(taken, minlength=3) - len(taken) * p) <= spread).all(), pattern


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_the_other_actions_are_the_best_legal_ones(player, epsilon):
    ctx = player.context(epsilon_start=epsilon, epsilon_end=epsilon)
    state = player.init(jax.random.key(1), ctx)
    after, metrics = player.update(state, ctx)
    assert metrics.episodes["illegal"].total == 0
    batch = jax.tree.map(lambda x: jnp.asarray(np.swapaxes(x, 0, 1)), stored(player, after).steps)
    items = stored(player, after)
    sequences = dataclasses.replace(items, memory=jax.tree.map(jnp.asarray, items.memory), steps=batch)
    q = np.asarray(player.team.agents.unroll(state.learners.online.params["agents"], sequences).q)
    mask = np.asarray(batch.mask)
    best = np.where(mask, q, -np.inf).argmax(-1)
    # Each agent draws for itself; a random action is the best one in one of k legal cases.
    is_best = (best == np.asarray(batch.action)).ravel()
    p = 1 - epsilon + epsilon / mask.sum(-1).ravel()
    assert abs(is_best.sum() - p.sum()) <= 4 * np.sqrt((p * (1 - p)).sum()) + 1e-4


def test_what_steps_lead_to_is_stored_from_before_restarts(player):
    ctx = player.context()
    state, _ = player.update(player.init(jax.random.key(2), ctx), ctx)
    steps = stored(player, state).steps
    restarted = steps.start[:, 1:]
    assert not steps.start[:, 0].any()
    assert restarted[steps.terminated[:, :-1]].all() and steps.terminated.any()
    assert (restarted & ~steps.terminated[:, :-1]).any(), "some are cut"
    for name in ("obs", "state", "mask"):
        led_to, shown = getattr(steps, f"next_{name}")[:, :-1], getattr(steps, name)[:, 1:]
        same = (led_to == shown).reshape(*restarted.shape, -1).all(-1)
        assert same[~restarted].all(), name
        assert not same[restarted].all(), name
    assert (steps.weight == 1).all()


def test_a_time_limit_is_bootstrapped_and_an_end_is_not():
    """The third step leads to a fourth state; only where that is an end its value is left out of the target."""
    env = ThreeSteps()
    learner = Learner("vdn", env, rollout_length=6, capacity=2, learning_starts=10**6, target_period=0)
    for terminates in (True, False):
        ctx = learner.context(env_params=ThreeStepsParams(jnp.bool_(terminates)))
        state, _ = learner.update(learner.init(jax.random.key(0), ctx), ctx)
        steps = stored(learner, state).steps
        known = ~steps.terminated  # after an end there is nothing to know
        led_to = np.broadcast_to(np.array([1, 2, 3, 1, 2, 3])[None, :, None], steps.action.shape)
        assert (steps.next_obs.argmax(-1) == led_to)[known].all()
        assert (steps.obs.argmax(-1) == np.array([0, 1, 2, 0, 1, 2])[None, :, None]).all()
        assert (steps.start == np.array([0, 0, 0, 1, 0, 0], bool)).all()
        assert (steps.terminated == (np.array([0, 0, 1, 0, 0, 1], bool) & terminates)).all()
        value = jnp.full((2, 6, 1), 10.0)
        y = bootstrap(jax.tree.map(jnp.asarray, steps), value, learner.context(gamma=0.5))[..., 0]
        np.testing.assert_allclose(y, np.where(steps.terminated, 1.0, 6.0))


@pytest.mark.parametrize("agents", [1, 2])
def test_traces_end_with_episodes_and_sequences(agents):
    """Peng's Q(λ) by a loop over the steps of every sequence."""
    env, decay, gamma = Noisy(), 0.7, 0.5
    config = config_of("vdn", gamma=gamma, trace_decay=decay)
    batch = random_batch(parts_of("vdn", config, env)[0], length=7).steps
    steps = jax.tree.map(np.asarray, batch)
    length, size = steps.start.shape
    after = np.random.default_rng(1).normal(size=(length, size, agents)).astype(np.float32)
    reward = steps.reward if agents > 1 else steps.reward.mean(-1, keepdims=True)
    wanted, kinds = np.zeros_like(after), set()
    for b in range(size):
        for t in reversed(range(length)):
            is_cut = t == length - 1 or bool(steps.start[t + 1, b]) or not steps.weight[t + 1, b]
            mixed = after[t, b] if is_cut else (1 - decay) * after[t, b] + decay * wanted[t + 1, b]
            wanted[t, b] = reward[t, b] + gamma * (1 - steps.terminated[t, b]) * mixed
            kinds.add((is_cut, bool(steps.terminated[t, b])))
    assert kinds == {(False, False), (True, False), (True, True)}
    found = bootstrap(batch, jnp.asarray(after), context(config, env))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_team_reward_and_own_reward():
    """A team's value has the mean reward as its target, agents' own values their own."""
    env = Noisy()
    learner_config = config_of("vdn", gamma=0.5)
    steps = parts_of("vdn", learner_config, env)[0]

    batch = random_batch(steps).steps
    ctx = context(learner_config, env)
    team, own = (bootstrap(batch, jnp.zeros((*batch.reward.shape[:2], m)), ctx) for m in (1, 2))
    np.testing.assert_allclose(team[..., 0], batch.reward.mean(-1), rtol=1e-6)
    np.testing.assert_array_equal(own, batch.reward)


@pytest.fixture(scope="module")
def recurrent():
    """One environment, whose sequences follow one another; the replay holds the newest only."""
    env = Noisy()
    sizes = {"num_envs": 1, "capacity": 1, "batch_size": 1, "rollout_length": 2}
    return Learner("vdn", env, recurrent=True, learning_starts=10**6, **sizes)


def test_memories_are_carried_from_sequence_to_sequence(recurrent):
    """And cleared where an episode starts, between sequences as well as inside."""
    ctx = recurrent.context()
    state = recurrent.init(jax.random.key(0), ctx)
    agents, params = recurrent.team.agents, state.learners.online.params["agents"]
    look = jax.jit(agents.unroll)
    hidden, last, fresh = np.zeros((1, 2, 3)), np.full((1, 2), -1), []
    for _ in range(12):
        state, _ = recurrent.update(state, ctx)
        items = stored(recurrent, state)
        np.testing.assert_allclose(items.memory.hidden, hidden, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(items.memory.last_action, last)
        steps = jax.tree.map(lambda x: jnp.asarray(np.swapaxes(x, 0, 1)), items.steps)
        sequences = dataclasses.replace(items, memory=jax.tree.map(jnp.asarray, items.memory), steps=steps)
        hidden, last = np.asarray(look(params, sequences).features[-1]), items.steps.action[:, -1]
        ended = bool(state.env.timestep.done[0])
        fresh.append(ended)
        if ended:
            hidden, last = np.zeros_like(hidden), np.full_like(last, -1)
    assert True in fresh and False in fresh


def test_whole_episodes():
    """Each update starts anew, a sequence counts up to its first end, and metrics are those of counted episodes."""
    env = EpisodeStatistics(TimeLimit(Noisy(), limit=4))
    sizes = {"num_envs": 16, "capacity": 16, "rollout_length": 7}
    learner = Learner("vdn", env, whole_episodes=True, recurrent=True, learning_starts=10**6, **sizes)
    ctx = learner.context()
    state, lengths = learner.init(jax.random.key(0), ctx), set()
    for _ in range(2):
        state, metrics = learner.update(state, ctx)
        items = stored(learner, state)
        assert not items.memory.hidden.any() and (items.memory.last_action == -1).all()
        assert not items.steps.start[:, 0].any()
        first_end = np.where(items.steps.start[:, 1:].any(axis=1), items.steps.start[:, 1:].argmax(axis=1), 6)
        assert (first_end <= 3).all()
        np.testing.assert_array_equal(items.steps.weight, np.arange(7)[None] <= first_end[:, None])
        counted = items.steps.weight
        assert metrics.episodes["length"].weight == metrics.episodes["return"].weight == 16
        assert metrics.episodes["length"].total == counted.sum()
        expected = (items.steps.reward.mean(-1) * counted).sum()
        np.testing.assert_allclose(metrics.episodes["return"].total, expected, rtol=1e-5)
        lengths |= set(first_end)
    assert len(lengths) > 2
