"""Robots divided among agents: the divisions, what agents see, brax's own episodes, ends, failures and mistakes."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import VectorEnv, check_environment, record_episode, render
from jaxmarl_envs.adapters._packages import foreign
from jaxmarl_envs.core import check_drawable
from jaxmarl_envs.mabrax._joints import Tree, entry_owners, joint_distances, local_entries, tree_of
from jaxmarl_envs.mabrax._robots import ROBOTS

from tests.envs.adapter_tools import assert_same, play

KEY = jax.random.key(3)
NUM_STEPS = 250
LIMIT = 260
NUM_ACTUATORS = {
    "halfcheetah": 6,
    "ant": 8,
    "walker2d": 6,
    "hopper": 3,
    "humanoid": 17,
    "humanoidstandup": 17,
    "swimmer": 2,
    "reacher": 2,
    "pusher": 7,
}
LISTED = {
    "halfcheetah": "2x3 3x2 6x1",
    "ant": "2x4 2x4d 4x2 8x1",
    "walker2d": "2x3 3x2 6x1",
    "hopper": "3x1",
    "humanoid": "9|8 17x1",
    "humanoidstandup": "9|8 17x1",
    "swimmer": "2x1",
    "reacher": "2x1",
    "pusher": "3|4 3|2|2 7x1",
}
ALL = [(robot, label) for robot, labels in LISTED.items() for label in labels.split()]


def robot_of(env):
    return env.unwrapped.brax_env


@pytest.fixture(scope="module")
def hopper():
    return jaxmarl_envs.make("mabrax/hopper-3x1", time_limit=LIMIT)


@pytest.fixture(scope="module")
def played(hopper):
    """Random play until it falls, and beyond."""
    return play(hopper, KEY, NUM_STEPS)


def test_every_partition_covers_every_actuator_once():
    assert {name: " ".join(robot.partitions) for name, robot in ROBOTS.items()} == LISTED
    for robot, label in ALL:
        parts = ROBOTS[robot].partitions[label]
        assert sorted(actuator for part in parts for actuator in part) == list(range(NUM_ACTUATORS[robot]))
        if "|" in label:
            assert [len(part) for part in parts] == [int(size) for size in label.split("|")]
        else:
            agents, size = map(int, label.rstrip("d").split("x"))
            assert [len(part) for part in parts] == [size] * agents


def test_agents_own_what_the_names_say():
    def names(env_id):
        env = jaxmarl_envs.make(f"mabrax/{env_id}")
        model = robot_of(env).sys.mj_model
        joints = [model.joint(model.actuator_trnid[i, 0]).name for i in range(model.nu)]
        return [{joints[actuator] for actuator in part} for part in env.unwrapped.partition]

    assert names("halfcheetah-2x3") == [{"bthigh", "bshin", "bfoot"}, {"fthigh", "fshin", "ffoot"}]
    legs = [{f"hip_{leg}", f"ankle_{leg}"} for leg in (1, 2, 3, 4)]
    assert names("ant-4x2") == [legs[3], *legs[:3]]
    assert names("ant-2x4d") == [legs[3] | legs[1], legs[0] | legs[2]]


def test_humanoids_are_divided_into_arms_and_legs():
    model = robot_of(jaxmarl_envs.make("mabrax/humanoid-9-8")).sys.mj_model
    joints = [model.joint(model.actuator_trnid[i, 0]).name for i in range(model.nu)]
    upper, lower = ROBOTS["humanoid"].partitions["9|8"]
    assert all("hip" in joints[a] or "knee" in joints[a] for a in lower)
    assert all(any(w in joints[a] for w in ("abdomen", "shoulder", "elbow")) for a in upper)


# Entries of brax's observation of the cheetah: 0 z, 1 pitch, 2-7 joints, 8-9 root velocity, 10 pitch rate, 11-16 joint
# rates; joints in the order back thigh, shin, foot, front thigh, shin, foot.
CHEETAH_ROOT = (0, 1, 8, 9, 10)
CHEETAH_6X1 = [
    (2, 11, 3, 12, 5, 14),  # back thigh: shin, and front thigh across the torso
    (3, 12, 2, 11, 4, 13),
    (4, 13, 3, 12),
    (5, 14, 2, 11, 6, 15),
    (6, 15, 5, 14, 7, 16),
    (7, 16, 6, 15),
]


def test_what_cheetahs_see():
    tree, layout = tree_of(robot_of(jaxmarl_envs.make("mabrax/halfcheetah")).sys), ROBOTS["halfcheetah"].layout
    parts = ROBOTS["halfcheetah"].partitions

    def seen(label, reach):
        return list(local_entries(tree, layout, parts[label], reach))

    assert seen("6x1", 1) == [CHEETAH_ROOT + row for row in CHEETAH_6X1]
    assert seen("6x1", 0) == [CHEETAH_ROOT + row[:2] for row in CHEETAH_6X1]
    assert seen("2x3", 1) == [
        (*CHEETAH_ROOT, 2, 11, 3, 12, 4, 13, 5, 14),
        (*CHEETAH_ROOT, 5, 14, 6, 15, 7, 16, 2, 11),
    ]
    # From foot to foot there are five steps.
    assert [len(row) for row in seen("6x1", 4)] == [17, 17, 15, 17, 17, 15]
    assert all(sorted(row) == list(range(17)) for row in seen("6x1", 5))


def test_what_ants_see():
    # 0 z, 1-4 orientation, 5-12 hip and ankle of the legs 1-4, 13-18 root velocities, 19-26 joint rates. Actuators begin
    # with leg 4. Hips meet at the torso.
    tree = tree_of(robot_of(jaxmarl_envs.make("mabrax/ant")).sys)
    parts, layout = ROBOTS["ant"].partitions, ROBOTS["ant"].layout
    root = (0, 1, 2, 3, 4, 13, 14, 15, 16, 17, 18)
    hip = {leg: (3 + 2 * leg, 17 + 2 * leg) for leg in (1, 2, 3, 4)}
    ankle = {leg: (4 + 2 * leg, 18 + 2 * leg) for leg in (1, 2, 3, 4)}
    assert list(local_entries(tree, layout, parts["4x2"], 1)) == [
        root + hip[leg] + ankle[leg] + sum((hip[other] for other in (1, 2, 3, 4) if other != leg), ())
        for leg in (4, 1, 2, 3)
    ]
    single = local_entries(tree, layout, parts["8x1"], 1)
    assert single[1] == root + ankle[4] + hip[4]
    assert local_entries(tree, layout, ((0, 7), (1, 2, 3, 4, 5, 6)), 0)[0] == root + hip[4] + ankle[3]
    # Two legs and the hips of the others; with two steps everything.
    assert [len(row) for row in local_entries(tree, layout, parts["2x4d"], 1)] == [11 + 8 + 4] * 2
    assert all(sorted(row) == list(range(27)) for row in local_entries(tree, layout, parts["2x4d"], 2))


def test_joints_that_share_a_body_are_neighbours_and_the_world_is_none():
    # torso (free), waist with two hinges, thigh, arm; two slides of their own.
    tree = Tree("f21111", (-1, 0, 1, 0, -1, -1), (6, 7, 8, 9, 10, 11))
    expected = [
        [0, 1, 1, 1, 6, 6],
        [1, 0, 1, 1, 6, 6],
        [1, 1, 0, 2, 6, 6],
        [1, 1, 2, 0, 6, 6],
        [6, 6, 6, 6, 0, 6],
        [6, 6, 6, 6, 6, 0],
    ]
    assert joint_distances(tree).tolist() == expected


@pytest.mark.parametrize("robot", ["halfcheetah", "ant", "hopper"])
def test_entries_belong_to_the_coordinates_that_brax_shows(robot):
    # Coordinates that are their own index: what brax shows says which one it is.
    env = robot_of(jaxmarl_envs.make(f"mabrax/{robot}"))
    system = env.sys
    q, qd = np.arange(system.q_size(), dtype=np.float32), np.arange(system.qd_size(), dtype=np.float32) / 100
    body = types.SimpleNamespace(pos=np.full((system.num_links(), 3), q[1] if robot == "hopper" else 0.0, np.float32))
    with foreign():
        shown = np.asarray(env._get_obs(types.SimpleNamespace(q=jnp.asarray(q), qd=jnp.asarray(qd), x=body)))
    q_of = {float(q[i]): a for a, i in enumerate(np.asarray(system.actuator.q_id))}
    qd_of = {float(qd[i]): a for a, i in enumerate(np.asarray(system.actuator.qd_id))}
    count = sum(value in q for value in shown.tolist()) - 1  # zero is a position and a velocity
    expected = [q_of.get(v) for v in shown[:count].tolist()] + [qd_of.get(v) for v in shown[count:].tolist()]
    owners = entry_owners(tree_of(system), ROBOTS[robot].layout)
    assert list(owners) == [() if owner is None else (owner,) for owner in expected]


def test_brax_plays_the_same_episode(hopper, played):
    # Around one compiled step of brax everything else is computed as written: what is shown is brax's, bit for bit.
    # Compiled as a whole, XLA fuses the physics in other ways and rounds differently.
    from brax.envs.base import State

    _, actions, shown = played
    brax = robot_of(hopper)
    compiled = types.SimpleNamespace(sys=brax.sys, dt=brax.dt, reset=jax.jit(brax.reset), step=jax.jit(brax.step))
    env, zero = dataclasses.replace(hopper.unwrapped, brax_env=compiled), jnp.zeros(())
    key = jax.random.split(KEY)[0]
    with foreign():
        theirs = compiled.reset(key)
    x, is_over = theirs.pipeline_state.x.pos[0, 0], False
    state, timestep = env.reset(key, ())
    assert_same(timestep.state, theirs.obs)
    for t in range(NUM_STEPS):
        state, timestep = env.step(key, state, actions[t], ())
        with foreign():
            theirs = compiled.step(State(theirs.pipeline_state, None, zero, zero, {}), jnp.asarray(actions[t].ravel()))
        assert_same(state.pipeline, theirs.pipeline_state)
        assert_same(timestep.state, theirs.obs)
        assert_same(timestep.reward, jnp.full(3, 0.0 if is_over else theirs.reward))
        is_over = is_over or bool(theirs.done)
        assert timestep.terminated == is_over and not timestep.truncated
        distance = theirs.metrics["x_position"] - x
        np.testing.assert_allclose(timestep.metrics["distance"], distance, atol=1e-5)
        np.testing.assert_allclose(
            timestep.metrics["forward_velocity"], distance / ((t + 1) * brax.dt), rtol=1e-4, atol=1e-3
        )
        if t < 10:
            np.testing.assert_allclose(shown.state[t], theirs.obs, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(shown.reward[t], timestep.reward, rtol=1e-4, atol=1e-4)
        if is_over and shown.terminated[t - 3]:  # three steps beyond the end
            break
    assert is_over and t > 10 and not timestep.reward.any()
    over = np.maximum.accumulate(shown.terminated)
    assert_same(shown.terminated, over)
    assert shown.reward[: over.argmax() + 1].any(1).all() and not shown.reward[over.argmax() + 1 :].any()
    assert not shown.metrics["physics_failures"].any() and not shown.truncated.any()


def test_entries_of_the_observations(hopper, played):
    # 0 z, 1 pitch, 2-4 thigh, leg, foot, 5-7 root, 8-10 rates of the joints
    raw = np.concatenate([played[2].state, np.zeros((NUM_STEPS, 1), np.float32)], 1)
    root = [0, 1, 5, 6, 7]
    rows = [[*root, 2, 8, 3, 9, -1, -1], [*root, 3, 9, 2, 8, 4, 10], [*root, 4, 10, 3, 9, -1, -1]]
    assert_same(played[2].obs, raw[:, np.array(rows)])
    spec = hopper.spec
    assert (spec.agent_obs_sizes, spec.obs_shape, spec.state_size, spec.action_dim) == ((9, 11, 9), (11,), 11, 1)
    full, dima = (jaxmarl_envs.make("mabrax/hopper-3x1", obs=obs) for obs in ("full", "dima"))
    assert full.spec.obs_shape == (11,) and dima.spec.obs_shape == (14,) and not dima.spec.agent_obs_sizes
    shown = jnp.asarray(raw[7, :-1])
    assert_same(full.unwrapped._observe(shown), np.tile(raw[7, :-1], (3, 1)))
    named = np.concatenate([np.tile(raw[7, :-1], (3, 1)), np.eye(3, dtype=np.float32)], 1)
    expected = np.stack([(row - row.mean()) / np.sqrt(((row - row.mean()) ** 2).mean()) for row in named])
    np.testing.assert_allclose(dima.unwrapped._observe(shown), expected, rtol=1e-4, atol=1e-5)


def test_actions_reach_their_actuators():
    class Recorder:
        sys = robot_of(jaxmarl_envs.make("mabrax/ant")).sys
        dt = 0.5
        control = None

        def step(self, state, control):
            self.control = control
            ones = types.SimpleNamespace(q=jnp.ones(15), qd=jnp.ones(14))
            metrics = {"x_velocity": jnp.float32(2)}
            return types.SimpleNamespace(
                pipeline_state=ones, obs=jnp.ones(27), reward=jnp.ones(()), done=jnp.zeros(()), metrics=metrics
            )

    env = jaxmarl_envs.make("mabrax/ant", partition="5,0,7|2|6,1,3,4").unwrapped
    assert env.agent_action_sizes == (3, 1, 4) and env.spec.action_dim == 4
    recorder = Recorder()
    env = jaxmarl_envs.mabrax.MultiAgentBrax(recorder, env.layout, env.partition, "distance", "full")
    action = jnp.arange(12.0).reshape(3, 4) / 12 - 0.5
    state = jaxmarl_envs.mabrax.MultiAgentBraxState(None, jnp.int32(0), jnp.float32(1), jnp.bool_(False))
    _, timestep = env.step(KEY, state, action, ())
    expected = np.zeros(8, np.float32)
    expected[[5, 0, 7]], expected[2], expected[[6, 1, 3, 4]] = action[0, :3], action[1, 0], action[2]
    np.testing.assert_allclose(recorder.control, expected)
    assert (
        timestep.action_mask.all() and timestep.metrics["distance"] == 2 and timestep.metrics["forward_velocity"] == 4
    )
    env.step(KEY, state, action * 10, ())
    assert recorder.control.min() == -1 and recorder.control.max() == 1


@pytest.mark.slow
def test_hopper_keeps_the_protocol_and_time_truncates(hopper):
    report = check_environment(hopper, num_steps=LIMIT + 1)
    assert report.num_episodes >= 8
    short = jaxmarl_envs.make("mabrax/hopper-3x1", time_limit=2)
    state, _ = short.reset(KEY, ())
    step = jax.jit(short.step)
    for expected in (False, True):
        state, timestep = step(KEY, state, jnp.zeros((3, 1)), ())
        assert (bool(timestep.terminated), bool(timestep.truncated)) == (False, expected)
    assert timestep.reward.any()


@pytest.fixture(scope="module")
def pair(hopper):
    """Two hoppers after a step, and their compiled step."""
    vector, action = VectorEnv(hopper, 2), jnp.zeros((2, 3, 1))
    step = jax.jit(lambda state: vector.step(KEY, state, action, ()))
    return step(jax.jit(vector.reset)(KEY, ())), step


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
def test_failed_physics_ends_the_episode(pair, value):
    state, step = pair
    inner = state.inner.inner
    pipeline = inner.pipeline
    broken = pipeline.replace(
        **{
            name: jax.tree.map(lambda x: x.at[0].set(value), getattr(pipeline, name))
            for name in ("q", "qd", "x_i", "xd_i")
        }
    )
    timelimit = type(state.inner)(type(inner)(broken, inner.t, inner.measure, inner.is_over), state.inner.t)
    after = step(type(state)(timelimit, state.timestep))
    timestep = jax.tree.map(np.asarray, after.timestep)
    assert timestep.terminated.tolist() == [True, False] and not timestep.truncated.any()
    assert timestep.metrics["physics_failures"].tolist() == [1, 0]
    assert timestep.metrics["distance"][0] == inner.measure[0]
    assert not timestep.reward[0].any() and timestep.reward[1].any()
    assert not timestep.final_obs[0].any() and not timestep.final_state[0].any() and timestep.final_obs[1].any()
    assert timestep.obs[0].any()
    jax.tree.map(
        lambda x: np.testing.assert_array_equal(np.isfinite(x), True), (timestep, after.inner.inner.pipeline.q)
    )
    again = step(after).timestep
    assert not again.terminated.any() and not again.metrics["physics_failures"].any()


def test_pages(hopper, tmp_path):
    episode = record_episode(hopper, KEY, max_steps=3)
    path = render(hopper, episode, tmp_path / "episode.html")
    assert path.read_text(encoding="utf-8").count("<html") == 1
    with pytest.raises(ValueError, match=r"'mabrax/hopper-3x1' into '.*x.jpg': the suffix must be"):
        check_drawable(hopper, "x.jpg")
    with pytest.raises(ValueError, match=r"the suffix must be \.gif or \.png"):
        check_drawable(jaxmarl_envs.make("hallway/2-2"), "x.html")


@pytest.mark.parametrize(
    ("env_id", "options", "words"),
    [
        ("ants-4x2", {}, ["unknown environment 'mabrax/ants-4x2'", "did you mean 'mabrax/ant-4x2'?", "hopper"]),
        ("ant-3x2", {}, ["unknown environment", "ant is divided as 2x4, 2x4d, 4x2, 8x1, or not at all ('ant')"]),
        ("ant-", {}, ["ant is divided as 2x4"]),
        ("ant-4x2", {"speed": 1}, ["unknown option 'speed'", "obs, backend, time_limit, partition"]),
        ("ant-4x2", {"time_limit": 0}, ["time_limit must be at least 1 step, got 0"]),
        ("ant-4x2", {"time_limit": 1.5}, ["time_limit must be a int", "got 1.5"]),
        ("ant-4x2", {"backend": "bullet"}, ["unknown backend 'bullet'", "ant has spring, positional, generalized"]),
        ("swimmer-2x1", {"backend": "spring"}, ["unknown backend 'spring'", "swimmer has generalized"]),
        ("ant-4x2", {"obs": "local"}, ["'local-K'", "'full' or 'dima'", "got 'local'"]),
        ("ant-4x2", {"partition": "0|1"}, ["both divide the robot; use 'mabrax/ant'"]),
        ("hopper", {"partition": 3}, ["indices of each agent's actuators", "got 3"]),
        ("hopper", {"partition": ((0, 1.5), (2,))}, ["indices of each agent's actuators"]),
        ("hopper", {"partition": "0,a|1"}, ["indices of each agent's actuators"]),
        ("hopper", {"partition": ()}, ["indices of each agent's actuators"]),
        ("hopper", {"partition": ((0,), (2,))}, ["actuators 0..2", "missing: 1 (leg_joint)"]),
        ("hopper", {"partition": "0,1|1,2,2"}, ["more than once: 1 (leg_joint), 2 (foot_joint)"]),
        ("hopper", {"partition": ((0, 1, 2), (3,))}, ["unknown: 3"]),
        ("hopper", {"partition": ((0, 1, 2), ())}, ["agent 1 has none"]),
    ],
)
def test_mistakes(env_id, options, words):
    with pytest.raises(ValueError) as error:
        jaxmarl_envs.make(f"mabrax/{env_id}", **options)
    for word in words:
        assert word in str(error.value)


def test_making_a_robot_leaves_nothing_behind(tmp_path, monkeypatch, capfd):
    # MuJoCo remarks on the model of the cheetah, aloud and into a file of the working directory.
    from jaxmarl_envs.mabrax._family import _simulation

    monkeypatch.chdir(tmp_path)
    _simulation.__wrapped__("halfcheetah", "spring")
    assert not list(tmp_path.iterdir()) and capfd.readouterr() == ("", "")


def test_names_and_equality():
    make = jaxmarl_envs.make
    assert make("mabrax/humanoid-9-8").spec.id == make("mabrax/humanoid-9|8").spec.id == "mabrax/humanoid-9|8"
    assert make("mabrax/humanoid-9-8") == make("mabrax/humanoid-9|8")
    assert make("mabrax/hopper", partition="0|1|2") == make("mabrax/hopper-3x1") != make("mabrax/hopper")
    assert make("mabrax/hopper", partition=[[0], [1], [2]]) == make("mabrax/hopper", partition=((0,), (1,), (2,)))
    assert make("mabrax/hopper").spec.n_agents == 1 and make("mabrax/hopper").spec.action_dim == 3


@pytest.mark.slow
@pytest.mark.parametrize(("robot", "label"), ALL)
def test_every_variant_keeps_the_protocol(robot, label):
    env = jaxmarl_envs.make(f"mabrax/{robot}-{label}", time_limit=12)
    assert robot_of(env).action_size == NUM_ACTUATORS[robot]
    assert check_environment(env, num_steps=14).num_episodes >= 8
