"""Wrappers and batching on a counting environment, against hand-computed values."""

import dataclasses

import jax
import jax.extend.core
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import (
    AgentId,
    Clock,
    DelayReward,
    EnvSpec,
    EpisodeStatistics,
    LastAction,
    PadAgents,
    ShowOwed,
    TimeLimit,
    VectorEnv,
)
from jaxmarl_envs.core import pytree_dataclass, restart, transition

KEY = jax.random.key(1)


COUNTER = EnvSpec(id="test/counter", n_agents=2, obs_shape=(1,), num_actions=3, state_size=1)
RAGGED = EnvSpec(
    id="test/ragged",
    n_agents=2,
    obs_shape=(3,),
    num_actions=4,
    agent_obs_sizes=(3, 1),
    agent_num_actions=(2, 4),
    episode_limit=1,
)


@pytree_dataclass
class CountState:
    count: jax.Array  # [] int32


@dataclasses.dataclass(frozen=True)
class Counter:
    """Two agents; the reward is the sum of actions, and the task ends once the sum of all of them reaches `goal`."""

    default_params: dict = dataclasses.field(default_factory=lambda: {"goal": jnp.int32(4)}, compare=False)
    spec: EnvSpec = COUNTER

    def show(self, count):
        return {"obs": jnp.full((2, 1), count.astype(jnp.float32)), "state": -count.astype(jnp.float32)[None]}

    def reset(self, key, params):
        count = jax.random.bits(key).astype(jnp.int32) % 2  # 0 or 1
        return CountState(jnp.abs(count)), restart(self.spec, **self.show(jnp.abs(count)))

    def step(self, key, state, action, params):
        count = state.count + action.sum()
        reward = action.sum().astype(jnp.float32)
        return CountState(count), transition(
            self.spec, **self.show(count), reward=reward, terminated=count >= params["goal"]
        )


def act(*action):
    return jnp.array(action, jnp.int32)


def start_at(env, count):
    """An episode that starts at `count`."""
    for i in range(20):
        state, timestep = env.reset(jax.random.key(i), env.default_params)
        if timestep.obs[0, 0] == count:
            return state, timestep
    raise AssertionError


def test_time_limit_truncates_but_never_terminates():
    env = TimeLimit(Counter(), 2)
    state, _ = start_at(env, 0)
    state, one = env.step(KEY, state, act(0, 1), env.default_params)
    _, two = env.step(KEY, state, act(0, 1), env.default_params)
    assert not one.done and two.truncated and not two.terminated
    _, ended = env.step(KEY, state, act(2, 2), env.default_params)
    assert ended.terminated and not ended.truncated
    assert env.spec.episode_limit == 2
    assert TimeLimit(env, 5).spec.episode_limit == 2
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        TimeLimit(Counter(), 0)


def test_a_shorter_limit_lowers_a_game_s_optimum():
    assert TimeLimit(jaxmarl_envs.make("matrix/M1"), 3).spec.optimum == 24


def test_clock_last_action_and_agent_id_append_columns():
    env = AgentId(LastAction(Clock(TimeLimit(Counter(), 4))))
    assert env.spec.obs_shape == (1 + 1 + 3 + 2,) and env.spec.state_size == 2
    state, first = start_at(env, 1)
    assert first.obs.tolist() == [[1, 0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 1]]
    assert first.state.tolist() == [-1, 0]
    _, second = env.step(KEY, state, act(2, 0), env.default_params)
    assert second.obs.tolist() == [[3, 0.25, 0, 0, 1, 1, 0], [3, 0.25, 1, 0, 0, 0, 1]]
    assert second.final_obs.tolist() == second.obs.tolist()
    assert second.state.tolist() == [-3, 0.25] == second.final_state.tolist()
    assert env.unwrapped == Counter()


def test_clock_needs_a_limit_and_flat_observations():
    with pytest.raises(ValueError, match="needs a time limit"):
        _ = Clock(Counter()).spec
    image = dataclasses.replace(Counter(), spec=Counter().spec.replace(obs_shape=(2, 2)))
    with pytest.raises(ValueError, match="flat observations"):
        _ = AgentId(image).spec


def test_episode_statistics_count_the_episode():
    env = EpisodeStatistics(TimeLimit(Counter(), 4))
    assert env.spec.metrics == ("episode_return", "episode_length")
    state, timestep = start_at(env, 0)
    assert timestep.metrics == {"episode_return": 0, "episode_length": 0}
    for action, total in (((1, 0), 1), ((0, 1), 2), ((2, 2), 6)):
        state, timestep = env.step(KEY, state, act(*action), env.default_params)
        assert timestep.metrics["episode_return"] == total
    assert timestep.metrics["episode_length"] == 3 and timestep.terminated


@pytest.mark.parametrize("every", [1, 4, 100])
def test_delayed_rewards_are_paid_in_sums_and_at_both_kinds_of_ends(every):
    """Through restarts, against a loop over the rewards of the same episodes without delay."""
    base = TimeLimit(Counter(default_params={"goal": jnp.int32(13)}), 6)
    num_envs, num_steps = 5, 40

    def play(env, key):
        vector = VectorEnv(EpisodeStatistics(env), num_envs)
        reset_key, key = jax.random.split(key)

        def step(state, key):
            action = jaxmarl_envs.random_action(env.spec, key, state.timestep.action_mask)
            state = vector.step(key, state, action, env.default_params)
            return state, state.timestep

        start = vector.reset(reset_key, env.default_params)
        return jax.lax.scan(step, start, jax.random.split(key, num_steps))[1]

    plain, delayed = (
        jax.tree.map(np.asarray, jax.jit(lambda key, env=env: play(env, key))(KEY))
        for env in (base, DelayReward(base, every))
    )
    assert plain.terminated.sum() > 5 and plain.truncated.sum() > 5
    for name in ("obs", "state", "terminated", "truncated", "final_obs", "final_state"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(delayed, name))
    for e in range(num_envs):
        owed, steps = 0.0, 0
        for t in range(num_steps):
            owed, steps = owed + plain.reward[t, e, 0], steps + 1
            over = plain.terminated[t, e] or plain.truncated[t, e]
            expected = 0.0
            if over or steps % every == 0:
                expected, owed = owed, 0.0
            assert delayed.reward[t, e].tolist() == [expected, expected]
            if over:
                assert delayed.metrics["episode_return"][t, e] == plain.metrics["episode_return"][t, e]
                steps = 0


def test_delay_reward_pays_nothing_after_the_end_and_says_what_it_needs():
    env = DelayReward(Counter(), 3)
    assert env.spec == Counter().spec and env.unwrapped == Counter()
    state, _ = start_at(env, 1)
    for action, paid in (((1, 0), 0), ((0, 1), 0), ((0, 0), 2), ((2, 2), 4), ((0, 0), 0)):
        state, timestep = env.step(KEY, state, act(*action), env.default_params)
        assert timestep.reward.tolist() == [paid, paid]
    assert timestep.terminated and state.owed.tolist() == [0, 0]
    for every in (0, -2, 1.5, True, "20"):
        with pytest.raises(ValueError, match="a number of steps of at least 1, got"):
            DelayReward(Counter(), every)
    with pytest.raises(ValueError, match="'test/counter' still owes"):
        TimeLimit(AgentId(env), 5)


def test_show_owed_appends_what_is_owed():
    env = ShowOwed(DelayReward(Counter(), 2))
    assert env.spec.obs_shape == (3,) and env.spec.state_size == 4
    params = {"goal": jnp.int32(9)}
    state, timestep = start_at(env, 0)
    assert timestep.obs.tolist() == [[0, 0, 0]] * 2 and timestep.state.tolist() == [0, 0, 0, 0]
    # count, half of the way to the payment, and half of what is owed
    for action, count, waited, owed, paid in ((1, 1, 0.5, 0.5, 0), (2, 3, 0, 0, 3), (4, 7, 0.5, 2, 0), (2, 9, 0, 0, 6)):
        state, timestep = env.step(KEY, state, act(action, 0), params)
        assert timestep.obs.tolist() == [[count, waited, owed]] * 2 == timestep.final_obs.tolist()
        assert timestep.state.tolist() == [-count, waited, owed, owed] == timestep.final_state.tolist()
        assert timestep.reward.tolist() == [paid] * 2
    with pytest.raises(ValueError, match="directly around it, got Counter"):
        ShowOwed(Counter())
    flat = ShowOwed(DelayReward(dataclasses.replace(Counter(), spec=COUNTER.replace(state_size=0)), 2))
    assert flat.spec.state_size == 0


def test_vector_env_restarts_and_keeps_what_the_episode_ended_in():
    env = VectorEnv(EpisodeStatistics(TimeLimit(Counter(), 3)), 4)
    params = env.env.default_params
    step = jax.jit(env.step)
    state = env.reset(KEY, params)
    started = np.asarray(state.timestep.obs[:, 0, 0])
    # Environment 0 ends at once, 1 never moves and is cut at the third step.
    actions = jnp.array([[2, 2], [0, 0], [1, 0], [0, 0]], jnp.int32)
    state = step(KEY, state, actions, params)
    timestep = state.timestep
    assert timestep.terminated.tolist() == [True, False, False, False] and not timestep.truncated.any()
    assert timestep.final_obs[0, :, 0].tolist() == [started[0] + 4] * 2
    assert timestep.final_state[0].tolist() == [-started[0] - 4]
    assert timestep.obs[0, 0, 0] in (0, 1) and timestep.reward[0].tolist() == [4, 4]
    assert timestep.metrics["episode_length"].tolist() == [1, 1, 1, 1]
    np.testing.assert_array_equal(timestep.obs[1:], timestep.final_obs[1:])
    assert state.inner.inner.t.tolist() == [0, 1, 1, 1]
    for _ in range(2):
        state = step(KEY, state, jnp.zeros((4, 2), jnp.int32), params)
    assert state.timestep.truncated.tolist() == [False, True, True, True]
    assert state.timestep.metrics["episode_length"].tolist() == [2, 3, 3, 3]
    assert state.timestep.final_obs[1, 0, 0] == started[1]


def test_vector_env_gives_every_environment_its_own_key():
    keys = jaxmarl_envs.core._vector.environment_keys(KEY, 4)
    more = jaxmarl_envs.core._vector.environment_keys(KEY, 4, start=4)
    data = np.concatenate([jax.random.key_data(k) for k in (KEY[None], keys, more)])
    assert len(np.unique(data, axis=0)) == 9
    draws = jax.vmap(lambda k: jax.random.uniform(k, (500,)))(keys)
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.15
    with pytest.raises(ValueError, match="at least 1, got 0"):
        VectorEnv(Counter(), 0)


@pytest.mark.parametrize("padding", [0, 96])
def test_random_actions_are_legal_and_uniform(padding):
    """Every mask of four actions, also as the last ones of a hundred."""
    masks = np.array([[mask >> a & 1 for a in range(4)] for mask in range(16)], bool)
    spec = EnvSpec("test/masks", 16, (1,), num_actions=4 + padding)
    shown = jnp.broadcast_to(np.pad(masks, ((0, 0), (padding, 0))), (20_000, 16, 4 + padding))
    action = np.asarray(jaxmarl_envs.random_action(spec, KEY, shown))
    assert action.dtype == np.int32 and np.all(action[:, 0] == 0)
    for row, mask in enumerate(masks[1:], start=1):
        share = np.bincount(action[:, row], minlength=4 + padding)[padding:] / 20_000
        np.testing.assert_allclose(share, mask / mask.sum(), atol=0.015)  # four standard deviations


def test_uniform_index_is_uniform_and_stays_inside():
    draws = np.asarray(jaxmarl_envs.uniform_index(KEY, 7, (70000,)))
    np.testing.assert_allclose(np.bincount(draws, minlength=7) / 10000, 1, atol=0.04)
    # The largest draw of bits must not round up to `size`.
    top = np.float32(2**24 - 1)
    sizes = np.arange(1, 70000, dtype=np.float32)
    assert ((top * (sizes * np.float32(2**-24))).astype(np.int32) < sizes).all()


def test_one_hot_rows():
    assert jaxmarl_envs.one_hot(act(2, 0, 3), 3).tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0]]


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Agent 0 sees three numbers and has two actions, agent 1 sees one and has four."""

    default_params: tuple = ()
    spec: EnvSpec = RAGGED

    def show(self, timestep, value):
        obs = (jnp.full((3,), value), jnp.full((1,), value))
        mask = (jnp.array([True, False]), jnp.array([True, True, False, True]))
        return timestep.replace(obs=obs, final_obs=obs, action_mask=mask)

    def reset(self, key, params):
        return jnp.int32(0), self.show(restart(self.spec, obs=jnp.zeros((2, 3))), 1.0)

    def step(self, key, state, action, params):
        timestep = transition(self.spec, obs=jnp.zeros((2, 3)), reward=1.0, terminated=True)
        return state, self.show(timestep, 2.0)


def test_pad_agents():
    env = PadAgents(Ragged())
    _, timestep = env.reset(KEY, ())
    assert timestep.obs.tolist() == [[1, 1, 1], [1, 0, 0]] == timestep.final_obs.tolist()
    assert timestep.action_mask.tolist() == [[True, False, False, False], [True, True, False, True]]
    assert env.spec.obs_shape == (3,) and env.spec.num_actions == 4
    jaxmarl_envs.check_environment(env)
    wide = AgentId(env)
    assert wide.spec.agent_obs_sizes == (5, 3) and wide.spec.obs_shape == (5,)
    with pytest.raises(ValueError, match="needs agent_obs_sizes"):
        _ = PadAgents(Counter()).spec


@dataclasses.dataclass(frozen=True)
class CostlyReset(jaxmarl_envs.Wrapper):
    """The same environment, said to have a costly reset."""

    @property
    def spec(self):
        return self.env.spec.replace(reset_is_costly=True)


@pytest.mark.parametrize("num_envs", [1, 5, 64])
def test_costly_resets_only_where_an_episode_ended_are_the_same_episodes(num_envs):
    env = jaxmarl_envs.EpisodeStatistics(jaxmarl_envs.make("hallway/2-3"))

    def play(env, key):
        vector = VectorEnv(env, num_envs)
        reset_key, key = jax.random.split(key)

        def step(state, key):
            action_key, step_key = jax.random.split(key)
            action = jaxmarl_envs.random_action(env.spec, action_key, state.timestep.action_mask)
            state = vector.step(step_key, state, action, env.default_params)
            return state, state

        return jax.lax.scan(step, vector.reset(reset_key, env.default_params), jax.random.split(key, 60))[1]

    every, ended = (jax.jit(lambda key, env=env: play(env, key))(KEY) for env in (env, CostlyReset(env)))
    assert every.timestep.done.sum() > 4 * num_envs
    jax.tree.map(np.testing.assert_array_equal, every, ended)


def primitives(jaxpr, skip):
    """Names of the operations of a program, without what is inside of `skip`."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        if equation.primitive.name != skip:
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                yield from primitives(inner, skip)


@pytest.mark.parametrize(("env", "is_drawing"), [(Counter(), True), (CostlyReset(Counter()), False)])
def test_costly_resets_are_inside_a_loop_that_runs_only_when_an_episode_ends(env, is_drawing):
    vector = VectorEnv(env, 4)
    state, action = vector.reset(KEY, env.default_params), jnp.zeros((4, 2), jnp.int32)
    program = jax.make_jaxpr(vector.step)(KEY, state, action, env.default_params).jaxpr
    assert "random_bits" in set(primitives(program, skip="nothing"))
    assert ("random_bits" in set(primitives(program, skip="while"))) == is_drawing
