"""check_environment passes what is right and names what is wrong."""

import dataclasses
import random
import time

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import EnvSpec, ProtocolError, check_environment
from jaxmarl_envs.core import restart, transition

SPEC = EnvSpec(
    id="test/env", n_agents=2, obs_shape=(3,), num_actions=2, state_size=1, episode_limit=4, obs_bounds=(0.0, 1.0),
    metrics=("win",), optimum=4.0,
)  # fmt: skip
CONTINUOUS = SPEC.replace(num_actions=0, action_dim=2, optimum=None)


class Good:
    """Pays 1 a step for four steps if both agents choose 1. Subclasses break one thing each."""

    spec = SPEC
    default_params = ()

    def reset(self, key, params):
        return {"t": jnp.int32(0)}, self.first(restart(self.spec, obs=jnp.zeros((2, 3)), state=jnp.zeros(1)))

    def step(self, key, state, action, params):
        t = state["t"] + 1
        win = action.all().astype(jnp.float32)
        timestep = transition(
            self.spec,
            obs=jnp.full((2, 3), t.astype(jnp.float32)).clip(0, 1),
            state=jnp.ones(1),
            reward=win,
            terminated=t >= 4,
            metrics={"win": win},
        )
        return {"t": t}, self.change(timestep, t, key)

    def first(self, timestep):
        return timestep

    def change(self, timestep, t, key):
        return timestep


def test_a_sound_environment_passes():
    report = check_environment(Good())
    assert report.num_episodes >= 8 and 0 < report.mean_return < 4
    assert "test/env: ok" in str(report) and "vmap" in str(report)


def test_large_entries_are_warned_of_by_index():
    class Large(Good):
        spec = SPEC.replace(obs_bounds=(-50.0, 50.0))

        def change(self, timestep, t, key):
            obs = timestep.obs.at[1, 2].set(jnp.float32(-8) * t.astype(jnp.float32))
            return timestep.replace(
                obs=obs, final_obs=obs, state=10.0 * timestep.state, final_state=10.0 * timestep.state
            )

    (warning,) = check_environment(Large()).warnings  # 10 itself is none
    assert warning.startswith("1 of 6 entries of obs go beyond 10 in magnitude, most of all [1, 2] in [-32, 0]")
    assert f"warning  {warning}" in str(check_environment(Large()))
    assert check_environment(Good()).warnings == ()


QUICK = {
    "hallway": ("4-4", "2-6-10"),
    "micro": ("terran_5_vs_5",),
    "football": ("3_vs_1_with_keeper",),
    "rag": ("cache-L0", "cache-L1"),  # serving: test_rag_serve_env.py, on fewer windows
}
"""Of the large families, the variant with most in it; the others have other units, grounds or players."""
OWN = [
    pytest.param(
        f"{f.name}/{variant}", marks=[pytest.mark.slow] if variant not in QUICK.get(f.name, (variant,)) else []
    )
    for f in jaxmarl_envs.families()
    if not f.package
    for variant in f.variants
]


@pytest.mark.parametrize("env_id", OWN)  # those of other projects: test_adapters_*.py
def test_listed_environments_pass(env_id):
    assert check_environment(jaxmarl_envs.make(env_id)).warnings == ()


@pytest.mark.parametrize("wrap", [jaxmarl_envs.AgentId, jaxmarl_envs.LastAction, jaxmarl_envs.EpisodeStatistics])
def test_wrapped_environments_pass(wrap):
    check_environment(wrap(jaxmarl_envs.make("hallway/2-3", clock=True)))


BROKEN = {}


def broken(*words):
    """Registers a broken environment with the words its message must contain."""

    def add(cls):
        BROKEN[cls.__name__] = (cls, words)
        return cls

    return add


@broken("step: reward has nan, expected finite numbers")
class NanReward(Good):
    def change(self, timestep, t, key):
        return timestep.replace(reward=jnp.where(t == 2, jnp.nan, timestep.reward))


@broken("step: obs is float32[2, 4], expected float32[2, 3]", "step: final_obs is float32[2, 4]")
class WrongShape(Good):
    def change(self, timestep, t, key):
        return timestep.replace(obs=jnp.zeros((2, 4)), final_obs=jnp.zeros((2, 4)))


@broken("reset: reward is int32[2], expected float32[2]")
class WrongDtype(Good):
    def first(self, timestep):
        return timestep.replace(reward=jnp.zeros(2, jnp.int32))


@broken("state['t']: step returns float32[], expected int32[] as from reset")
class DriftingState(Good):
    def step(self, key, state, action, params):
        _, timestep = super().step(key, {"t": state["t"].astype(jnp.int32)}, action, params)
        return {"t": state["t"].astype(jnp.float32) + 1}, timestep


@broken("state: step returns the tree structure", "'extra'")
class GrowingState(Good):
    def step(self, key, state, action, params):
        state, timestep = super().step(key, state, action, params)
        return {**state, "extra": state["t"]}, timestep


@broken("step: action_mask allows nothing for agent(s) [1]")
class EmptyMask(Good):
    def change(self, timestep, t, key):
        return timestep.replace(action_mask=timestep.action_mask.at[1].set(t < 4))


@broken("terminated and truncated are both true")
class BothFlags(Good):
    def change(self, timestep, t, key):
        return timestep.replace(truncated=timestep.terminated)


@broken("step is not pure")
class Impure(Good):
    calls = 0

    def change(self, timestep, t, key):
        Impure.calls += 1
        return timestep.replace(reward=timestep.reward * jnp.float32(1 / Impure.calls))


@broken("step is not pure")
class NumpyRandom(Good):
    def change(self, timestep, t, key):
        noise = jnp.asarray(np.random.default_rng().uniform(size=(2, 3)), jnp.float32)
        return timestep.replace(obs=noise, final_obs=noise)


@broken("step draws from the random state of Python or NumPy", "the same in every step; draw from the key")
class GlobalNumpyRandom(Good):
    def change(self, timestep, t, key):
        return timestep.replace(reward=timestep.reward * jnp.float32(np.random.randint(2)))  # both traces may agree


@broken("reset draws from the random state of Python or NumPy")
class GlobalPythonRandom(Good):
    def first(self, timestep):
        return timestep.replace(state=jnp.full(1, jnp.float32(random.randint(0, 1))))


@broken(
    "step uses a traced value that an earlier call of reset or step has kept (a leaked tracer)",
    "in the state",
)
class LeakedTracer(Good):
    kept = None

    def change(self, timestep, t, key):
        reward = timestep.reward if self.kept is None else timestep.reward + 0 * self.kept
        self.kept = timestep.reward
        return timestep.replace(reward=reward)


@broken("uses a traced value that an earlier call", "(a leaked tracer)")
class LeakedFromReset(Good):
    def first(self, timestep):
        self.kept = timestep.obs + 0
        return timestep

    def change(self, timestep, t, key):
        return timestep.replace(reward=timestep.reward + self.kept.sum())


@broken("reset: action_mask allows nothing for agent(s) [0, 1]", "step: action_mask allows nothing for agent(s) [0, 1]")
class NothingIsLegal(Good):
    def first(self, timestep):
        return timestep.replace(action_mask=jnp.zeros((2, 2), bool), final_mask=jnp.zeros((2, 2), bool))

    def change(self, timestep, t, key):
        return self.first(timestep)


@broken("an episode of random play ran for 300 steps or more, but spec.episode_limit is 300")
class TooLongBeyondTheUsualPlay(Good):
    spec = SPEC.replace(episode_limit=300, optimum=None)

    def change(self, timestep, t, key):
        return timestep.replace(terminated=t >= 301)


@broken("step: metrics is a NoneType, expected a dict of spec.metrics ['win']")
class NoMetrics(Good):
    def change(self, timestep, t, key):
        return timestep.replace(metrics=None)


@broken("not deterministic", "step has side effects")
class ReadsTheClock(Good):
    def change(self, timestep, t, key):
        now = jax.experimental.io_callback(
            lambda: np.float32(time.perf_counter() % 1), jax.ShapeDtypeStruct((), "float32")
        )
        return timestep.replace(reward=jnp.full(2, now))


@broken("ran for 6 steps or more, but spec.episode_limit is 4")
class TooLong(Good):
    def change(self, timestep, t, key):
        return timestep.replace(terminated=t >= 10)


@broken("obs spans [0, 5], outside spec.obs_bounds [0, 1]")
class OutOfBounds(Good):
    def change(self, timestep, t, key):
        obs = timestep.obs.at[0, 0].set(jnp.where(t == 3, 5.0, 0.0))
        return timestep.replace(obs=obs, final_obs=obs)


@broken("spec.optimum is 4, but random play returned 400")
class BeatsTheOptimum(Good):
    def change(self, timestep, t, key):
        return timestep.replace(reward=jnp.full(2, 100.0))


@broken("final_obs differs from obs")
class WrongFinalObs(Good):
    def change(self, timestep, t, key):
        return timestep.replace(final_obs=timestep.obs * 0.5)


@broken("reset: the episode is over at once", "reset: reward is 3, expected 0")
class OverAtOnce(Good):
    def first(self, timestep):
        return timestep.replace(terminated=jnp.bool_(True), reward=jnp.full(2, 3.0))


@broken("metrics has keys ['lose', 'win'], expected spec.metrics ['win']")
class MoreMetrics(Good):
    def change(self, timestep, t, key):
        return timestep.replace(metrics={**timestep.metrics, "lose": jnp.zeros(())})


@broken("reset raised KeyError: 'mass'")
class RaisesInReset(Good):
    def first(self, timestep):
        raise KeyError("mass")


@broken("step raised TracerBoolConversionError")
class PythonBranch(Good):
    def change(self, timestep, t, key):
        return timestep if t > 2 else timestep.replace(reward=timestep.reward + 1)


@broken("reset returned float32[], expected a pair (state, TimeStep)")
class WrongReturn(Good):
    def reset(self, key, params):
        return jnp.zeros(())


@broken("the environment is not hashable")
class Unhashable(Good):
    __hash__ = None


@broken("spec is a dict, expected an EnvSpec")
class WrongSpec(Good):
    spec = {"n_agents": 2}  # noqa: RUF012


@broken("spec raised AttributeError: 'Nothing' object has no attribute 'size' when read", "step is missing")
class Nothing:
    default_params = ()

    @property
    def spec(self):
        return self.size

    def reset(self, key, params):
        return None


def wrong_in_a_batch(change):
    """The identity, but for a batch `change` of it."""

    @jax.custom_batching.custom_vmap
    def identity(x):
        return x

    @identity.def_vmap
    def _(axis_size, in_batched, x):
        return change(x), True

    return identity


DISAGREE = "vmap and scan disagree with a Python loop over step: "


class Hidden(Good):
    """Has a state that is never shown, right without `vmap`: subclasses say what is in it."""

    change_in_batch = staticmethod(lambda x: x)

    def start(self, key):
        raise NotImplementedError

    def reset(self, key, params):
        state, timestep = super().reset(key, params)
        return {**state, "hidden": self.start(key)}, timestep

    def step(self, key, state, action, params):
        after, timestep = super().step(key, {"t": state["t"]}, action, params)
        return {**after, "hidden": wrong_in_a_batch(self.change_in_batch)(state["hidden"])}, timestep


@broken(DISAGREE + ".reward at step 1 of instance 0")
class WrongReward(Good):
    def change(self, timestep, t, key):
        return timestep.replace(reward=wrong_in_a_batch(lambda x: x + 1)(timestep.reward))


@broken(DISAGREE + ".metrics['win'] at step", "of instance 7")
class FirstOfTheBatchForAll(Good):
    def change(self, timestep, t, key):
        first = wrong_in_a_batch(lambda x: jnp.broadcast_to(x[:1], x.shape))
        win = jax.random.uniform(key)
        return timestep.replace(metrics={"win": first(win)})


@broken(DISAGREE + "state['hidden'] at reset of instance 0")
class WrongStart(Hidden):
    def start(self, key):
        return wrong_in_a_batch(lambda x: x - 1)(jax.random.randint(key, (), 0, 9))


@broken(DISAGREE + "state['hidden'] at step 1 of instance 0")
class WrongHiddenFloat(Hidden):
    change_in_batch = staticmethod(lambda x: 1.001 * x)

    def start(self, key):
        return jax.random.uniform(key, (2,))


@broken(DISAGREE + "state['hidden'] at step 1 of instance 0")
class WrongHiddenInteger(Hidden):
    change_in_batch = staticmethod(lambda x: x + 1)

    def start(self, key):
        return 10**8 + jax.random.randint(key, (), 0, 9)


@broken(DISAGREE + "state['hidden'] at step 1 of instance 0")
class WrongHiddenKey(Hidden):
    change_in_batch = staticmethod(lambda x: jnp.roll(x, 1))

    def start(self, key):
        return key


@broken(DISAGREE + "state['hidden'] at step 1 of instance 0")
class HiddenNan(Hidden):
    change_in_batch = staticmethod(lambda x: x.at[:, 0].set(jnp.nan))

    def start(self, key):
        return jax.random.uniform(key, (2,))


@broken("not deterministic: the same program with the same key gave different episodes")
class ReadsTheClockIntoItsState(Hidden):
    def start(self, key):
        return jax.experimental.io_callback(
            lambda: np.float32(time.perf_counter() % 1), jax.ShapeDtypeStruct((), "float32")
        )


@pytest.mark.parametrize("name", BROKEN)
def test_broken_environments_are_named(name):
    cls, words = BROKEN[name]
    with pytest.raises(ProtocolError) as error:
        check_environment(cls())
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("value", ["key", "nan", "growing"])
def test_states_that_are_sound(value):
    """Random keys and NaN are equal to themselves, and rounding may grow from step to step."""
    rounding = wrong_in_a_batch(lambda x: x * (1 + 1e-6))

    class Sound(Good):
        def reset(self, key, params):
            hidden = {"key": key, "nan": jnp.full(2, jnp.nan), "growing": 1 + jax.random.uniform(key, (2,))}[value]
            return {"t": jnp.int32(0), "hidden": hidden}, self.first(
                restart(self.spec, obs=jnp.zeros((2, 3)), state=jnp.zeros(1))
            )

        def step(self, key, state, action, params):
            after, timestep = super().step(key, {"t": state["t"]}, action, params)
            hidden = state["hidden"]
            if value == "growing":
                hidden = 1 + (30 * rounding(hidden)) % 1  # differences grow thirtyfold in a step
                timestep = timestep.replace(reward=hidden)
            return {**after, "hidden": hidden}, timestep

    class Unbounded(Sound):
        spec = SPEC.replace(optimum=None)

    check_environment(Unbounded())


def test_equal_structures_may_look_different():
    """What is static in a state is compared by `==`; its text may hold an address."""

    class Static:
        def __eq__(self, other):
            return isinstance(other, Static)

        def __hash__(self):
            return 3

        def __call__(self):
            return None

    class Rolling(Good):
        def reset(self, key, params):
            state, timestep = super().reset(key, params)
            return jax.tree_util.Partial(Static(), state["t"]), timestep

        def step(self, key, state, action, params):
            after, timestep = super().step(key, {"t": state.args[0]}, action, params)
            return jax.tree_util.Partial(Static(), after["t"]), timestep

    check_environment(Rolling())


def test_all_failures_are_listed_together():
    class Twice(Good):
        def change(self, timestep, t, key):
            return timestep.replace(reward=jnp.full(2, jnp.inf), truncated=timestep.terminated)

    with pytest.raises(ProtocolError) as error:
        check_environment(Twice())
    assert len(error.value.failures) >= 2 and isinstance(error.value, ValueError)


def test_limits_beyond_the_usual_play_are_kept():
    class Long(Good):
        spec = SPEC.replace(episode_limit=300, optimum=None)

        def change(self, timestep, t, key):
            return timestep.replace(terminated=t >= 300)

    assert check_environment(Long()).num_steps == 256


BIG = np.zeros((2, 2**22), np.float32)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (
            "numpy",
            "step closes over env.tables[1]['big'], float32[2, 4194304] (32 MiB): a constant of every compiled program",
        ),
        ("jax", "step closes over env.env.tables[1]['big'], float32[2, 4194304] (32 MiB)"),
        ("global", "step closes over BIG, float32[2, 4194304] (32 MiB)"),
        ("hidden", "step closes over an array, float32[2, 4194304] (32 MiB)"),
        ("small", ""),
    ],
)
def test_large_arrays_that_are_closed_over_are_named(where, words):
    class Big(Good):
        def __init__(self):
            big = {"jax": jnp.asarray(BIG), "small": BIG[:, :9]}.get(where, BIG)
            self.tables = [None, {"big": big}] if where not in ("global", "hidden") else []

        def change(self, timestep, t, key):
            table = self.tables[1]["big"] if self.tables else _hidden()
            return timestep.replace(reward=timestep.reward + jnp.asarray(table)[0, t])

    class Global(Big):
        def step(self, key, state, action, params):
            state, timestep = super().step(key, state, action, params)
            return state, timestep.replace(reward=jnp.asarray(BIG)[0, :2])

    env = Global() if where == "global" else jaxmarl_envs.AgentId(Big()) if where == "jax" else Big()
    warnings = check_environment(env, num_steps=2).warnings
    assert len(warnings) == bool(words) and all(warning.startswith(words) for warning in warnings)


def _hidden():
    return BIG


def test_continuous_actions():
    @dataclasses.dataclass(frozen=True)
    class Continuous(Good):
        spec: EnvSpec = CONTINUOUS

        def step(self, key, state, action, params):
            return super().step(key, state, action[:, 0] > 0, params)

    assert check_environment(Continuous(), num_steps=3).num_episodes == 0
    check_environment(jaxmarl_envs.LastAction(Continuous()))
