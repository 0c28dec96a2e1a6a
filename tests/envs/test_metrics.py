"""Metrics describe whole episodes at their ends, in every family; and names that are taken are refused."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import EnvSpec, EpisodeMetrics, EpisodeStatistics, ProtocolError, check_environment
from jaxmarl_envs.adapters._packages import foreign
from jaxmarl_envs.core import _check_play, restart, transition

from tests.envs.adapter_tools import needs, play

KEY = jax.random.key(11)
KINDS = {
    "at the end": (
        "hallway win",
        "toy/chain success",
        "toy/chain-continuous success",
        "smax win",
        "micro win",
        "hanabi perfect",
    ),
    "until it fails": ("toy/inverted-pendulum success",),
    "progress": (
        "jumanji percent_eaten",
        "jumanji num_connections",
        "jumanji ratio_connections",
        "jumanji total_path_length",
        "jumanji num_dirty_tiles",
        "jumanji ratio_dirty_tiles",
        "micro dead_allies",
        "micro dead_enemies",
        "football goal",
        "football conceded",
        "football passes",
        "football shots",
    ),
    "mean": (
        *(
            f"toy/{task} success"
            for task in ("pendulum", "pendulum-2", "point-mass", "point-mass-2", "puck", "handover")
        ),
        "mabrax forward_velocity",
        "mabrax target_distance",
        "mabrax height",
    ),
    "sum": ("overcooked shaped_reward", "mabrax distance"),
    "of all requests so far": tuple(  # compared with plain simulators in test_rag_cache_env and test_rag_serve_env
        f"rag {name}"
        for name in (
            *("local_hit", "peer_hit", "cost", "ttft", "request_ttft_p50", "request_ttft_p99", "slo", "tpot", "hit"),
            *("goodput", "fairness", "token_hit", "tokens_per_second", "imbalance", "conflicts", "unfinished"),
        )
    ),
    "failure": ("mabrax physics_failures",),  # terminates
}
IDS = (
    "hallway/2-3",
    *(f"toy/{variant}" for family in jaxmarl_envs.families() if family.name == "toy" for variant in family.variants),
    "matrix/M1",
    "micro/3m",
    "football/3_vs_1_with_keeper",
    "rag/cache-L0",
    "rag/serve-L2",
    *(
        pytest.param(env_id, marks=needs("jaxmarl"))
        for env_id in (
            "smax/3m",
            "mpe/simple-spread",
            "mpe/simple-reference",
            "mpe/simple-speaker-listener",
            "hanabi/very-small-2p",
            "overcooked/cramped_room",
        )
    ),
    "jumanji/rware-tiny-2ag",
    "jumanji/lbf-5x5-2p-1f",
    "jumanji/connector-5x5-3ag",
    "jumanji/cleaner-4x4-2ag",
    "mabrax/halfcheetah",
    "mabrax/reacher-2x1",
    "mabrax/humanoidstandup",
    pytest.param("gymnax/catch", marks=needs("gymnax")),
)


def test_every_family_is_here():
    named = {str(getattr(one, "values", (one,))[0]).partition("/")[0] for one in IDS}
    assert {family.name for family in jaxmarl_envs.families()} == named


def kind_of(env_id, name):
    family = env_id.partition("/")[0]
    for kind, metrics in KINDS.items():
        if f"{family} {name}" in metrics or f"{env_id} {name}" in metrics:
            return kind
    raise AssertionError(f"say in this file what {name!r} of {env_id!r} is of an episode")


@pytest.mark.parametrize("env_id", IDS)
def test_every_metric_is_of_a_known_kind(env_id):
    """So that whoever adds a metric says what it is of an episode."""
    spec = jaxmarl_envs.make(env_id).spec
    assert all(kind_of(env_id, name) for name in spec.metrics)
    EpisodeStatistics(jaxmarl_envs.make(env_id))  # and none has a name that is taken


@pytest.mark.parametrize(
    "env_id", ["hallway/2-3", "toy/chain", "toy/chain-continuous", "toy/inverted-pendulum", "jumanji/lbf-5x5-2p-1f",
               "jumanji/cleaner-4x4-2ag",
               # Compared with their own counts in the tests of these families.
               *(pytest.param(env_id, marks=pytest.mark.slow)
                 for env_id in ("jumanji/connector-5x5-3ag", "micro/3m", "football/3_vs_1_with_keeper")),
               pytest.param("smax/3m", marks=[needs("jaxmarl"), pytest.mark.slow]),
               pytest.param("hanabi/very-small-2p", marks=needs("jaxmarl"))],
)  # fmt: skip
def test_outcomes_and_progress(env_id):
    """An outcome is 0 until the end; progress never turns back, so that its last value is the episode's."""
    options = {"length": 1} if "chain" in env_id else {}
    env = jaxmarl_envs.make(env_id, **options)
    _, _, shown = jax.jit(jax.vmap(lambda key: play_once(env, key)))(jax.random.split(KEY, 6))
    done = np.asarray(shown.terminated | shown.truncated)
    for name in env.spec.metrics:
        values, kind = np.asarray(shown.metrics[name]), kind_of(env_id, name)
        for value, ended in zip(values, done):
            episode = value[: int(ended.argmax()) + 1 if ended.any() else None]
            steps = np.diff(episode)
            if kind == "at the end":
                assert not episode[:-1].any()
            elif kind == "until it fails":
                assert (episode[:-1] == 1).all()
            else:
                assert (steps >= 0).all() or (steps <= 0).all()


def play_once(env, key, num_steps=40):
    """`play`, traced."""

    def body(carry, key):
        state, timestep = carry
        action_key, step_key = jax.random.split(key)
        action = jaxmarl_envs.random_action(env.spec, action_key, timestep.action_mask)
        carry = env.step(step_key, state, action, env.default_params)
        return carry, (action, carry[1])

    reset_key, key = jax.random.split(key)
    start = env.reset(reset_key, env.default_params)
    return start[1], *jax.lax.scan(body, start, jax.random.split(key, num_steps))[1]


def upright(state):
    return np.abs(np.arctan2(state[:, 1], state[:, 0])) < 0.2


def near(place, goal, reach):
    return lambda state: np.linalg.norm(state[:, place] - state[:, goal], axis=-1) < reach


@pytest.mark.parametrize(
    ("env_id", "options", "now"),
    [
        ("toy/pendulum", {}, upright),
        ("toy/pendulum-2", {}, upright),
        ("toy/point-mass", {"goal": "fixed"}, near(slice(0, 2), slice(4, 6), 0.1)),
        ("toy/point-mass-2", {"goal": "fixed"}, near(slice(0, 2), slice(4, 6), 0.1)),
        ("toy/puck", {"max_force": 20.0}, near(slice(4, 6), slice(12, 14), 0.15)),
    ],
)
def test_success_of_tasks_without_an_end_is_the_share_of_steps(env_id, options, now):
    env = jaxmarl_envs.make(env_id, limit=200, **options)
    _, _, every = jax.jit(jax.vmap(lambda key: play_once(env, key, 200)))(jax.vmap(jax.random.key)(np.arange(8)))
    shares = []
    for seed in range(8):
        shown = jax.tree.map(lambda x, seed=seed: np.asarray(x[seed]), every)
        held = now(shown.state)
        assert shown.truncated[-1]
        np.testing.assert_allclose(shown.metrics["success"], np.cumsum(held) / np.arange(1, 201), rtol=1e-5, atol=1e-6)
        shares.append(held.mean())
    assert max(shares) > 0


@needs("jaxmarl")
def test_shaped_rewards_are_summed():
    env = jaxmarl_envs.make("overcooked/cramped_room", max_steps=400)
    _, actions, shown = play(env, KEY, 400)
    theirs = env.unwrapped.env

    def body(state, inputs):
        key, action = inputs
        by_name = {agent: action[i] for i, agent in enumerate(theirs.agents)}
        _, state, _, _, infos = theirs.step_env(key, state, by_name)
        return state, jnp.stack([infos["shaped_reward"][agent] for agent in theirs.agents])

    reset_key, key = jax.random.split(KEY)
    keys = jax.vmap(lambda key: jax.random.split(key)[1])(jax.random.split(key, 400))
    with foreign():
        _, state = jax.jit(theirs.reset)(reset_key)
        shaped = np.asarray(jax.jit(lambda s: jax.lax.scan(body, s, (keys, actions))[1])(state))  # [T, 2]
    assert shown.truncated[-1] and shaped.any() and not shaped[-1].any()  # its last step says nothing of the episode
    np.testing.assert_allclose(shown.metrics["shaped_reward"], np.cumsum(shaped.mean(1)), rtol=1e-6)


@pytest.mark.parametrize(
    ("env_id", "name", "now"),
    [
        ("mabrax/reacher", "target_distance", lambda state: np.linalg.norm(state[:, -3:], axis=-1)),
        pytest.param("mabrax/humanoidstandup", "height", lambda state: state[:, 0], marks=pytest.mark.slow),
    ],
)
def test_distances_and_heights_are_means(env_id, name, now):
    """Of what the state shows after each step."""
    _, _, shown = play(jaxmarl_envs.make(env_id), KEY, 12)
    expected = np.cumsum(now(shown.state)) / np.arange(1, 13)
    np.testing.assert_allclose(shown.metrics[name], expected, rtol=2e-2)


class Steps:
    """Four steps whose metrics are those of single steps: their number, and whether it is 2."""

    spec = EnvSpec("test/steps", 1, (1,), num_actions=2, episode_limit=4, metrics=("number", "second"))
    default_params = ()

    def reset(self, key, params):
        return jnp.int32(0), restart(self.spec, obs=jnp.ones((1, 1)))

    def step(self, key, state, action, params):
        t = state + 1
        metrics = {"number": t.astype(jnp.float32), "second": (t == 2).astype(jnp.float32)}
        return t, transition(self.spec, obs=jnp.ones((1, 1)), reward=0.0, terminated=t >= 4, metrics=metrics)


def test_episode_metrics_sums_and_averages():
    env = EpisodeMetrics(Steps(), sums=("number",), means=("second",))
    start, _, shown = play(env, KEY, 4)
    assert start.metrics == {"number": 0, "second": 0}
    assert shown.metrics["number"].tolist() == [1, 3, 6, 10]
    np.testing.assert_allclose(shown.metrics["second"], [0, 1 / 2, 1 / 3, 1 / 4])
    assert check_environment(env).warnings == ()
    for wrong in ({"sums": ("length",)}, {"sums": ("second",), "means": ("second",)}):
        with pytest.raises(ValueError, match=r"each of the metrics \('number', 'second'\) at most once"):
            EpisodeMetrics(Steps(), **wrong)


def test_metrics_of_single_steps_are_warned_of():
    (warning,) = check_environment(Steps()).warnings
    assert warning.startswith("metrics['second'] is 0 at the end of all 8 episodes and was not before")


@pytest.mark.parametrize("name", ["return", "length", "episode_return", "episode_length", "learner/entropy"])
def test_names_that_are_taken(name):
    class Taken(Steps):
        spec = Steps.spec.replace(metrics=("number", name))

        def step(self, key, state, action, params):
            state, timestep = Steps.step(self, key, state, action, params)
            return state, timestep.replace(metrics={"number": timestep.reward[0], name: timestep.reward[0]})

    words = rf"metrics cannot be called '{name}': return, length, episode_return, episode_length and all names with '/'"
    with pytest.raises(ValueError, match=rf"^environment 'test/steps': {words} are the runner's; rename them$"):
        EpisodeStatistics(Taken())
    with pytest.raises(ProtocolError, match=words):
        check_environment(Taken())


def test_learners_names_are_free():
    """What an algorithm computes has names of its own."""

    class Free(Steps):
        spec = Steps.spec.replace(metrics=("entropy", "value"))

        def step(self, key, state, action, params):
            state, timestep = Steps.step(self, key, state, action, params)
            return state, timestep.replace(metrics=dict.fromkeys(self.spec.metrics, timestep.reward[0]))

    assert set(EpisodeStatistics(Free()).spec.metrics) == {"entropy", "value", "episode_return", "episode_length"}
    check_environment(EpisodeStatistics(Free()))


def test_episodes_that_have_not_ended_say_nothing_about_metrics():
    """A rare event in an episode that goes on is no sign of a metric of single steps; in one that ends at 0 it is."""
    done = np.zeros((3, 5), bool)
    done[1, :4] = True  # one episode ends in each of four instances; the fifth goes on
    unfinished, finished = np.zeros((3, 5)), np.zeros((4, 5))
    unfinished[2, :] = 1.0
    finished[1, 0] = 1.0

    def warnings(done, values):
        shown = SimpleNamespace(terminated=done, truncated=np.zeros_like(done), metrics={"shots": values})
        return _check_play.last_step_metrics(shown)

    assert warnings(done, unfinished) == []
    assert len(warnings(np.concatenate([np.zeros((1, 5), bool), done]), finished)) == 1
