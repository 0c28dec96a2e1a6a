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
    "coupled-halfcheetah": 12,
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
    "coupled-halfcheetah": "2x6",
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


def test_what_coupled_cheetahs_see():
    # Of either cheetah x (of the second), z, pitch and 6 joints, 0-16; their rates, 17-34.
    env = jaxmarl_envs.make("mabrax/coupled-halfcheetah-2x6")
    assert (env.spec.state_size, env.spec.action_dim, env.unwrapped.partition[1]) == (35, 6, tuple(range(6, 12)))
    roots = (0, 1, 8, 9, 10, 17, 18, 19, 26, 27, 28)
    joints = [[entry for j in range(6) for entry in (first + j, first + 18 + j)] for first in (2, 11)]
    tree, layout = tree_of(robot_of(env).sys), ROBOTS["coupled-halfcheetah"].layout
    for reach in (1, 9):  # no way leads from one to the other
        rows = local_entries(tree, layout, env.unwrapped.partition, reach)
        assert [sorted(row) for row in rows] == [sorted((*roots, *own)) for own in joints]
        assert all(row[:11] == roots for row in rows)
    assert [list(row[11:]) for row in local_entries(tree, layout, env.unwrapped.partition, 0)] == joints


def test_a_tendon_joins_two_cheetahs_of_brax():
    # In MuJoCo itself: each alone moves as one cheetah does, and the tendon keeps them together.
    import mujoco

    one = robot_of(jaxmarl_envs.make("mabrax/halfcheetah", backend="mjx")).sys.mj_model
    two = robot_of(jaxmarl_envs.make("mabrax/coupled-halfcheetah-2x6")).sys.mj_model
    assert (two.nq, two.nu, two.ntendon) == (2 * one.nq, 2 * one.nu, 1)
    for name in ("actuator_gear", "jnt_range", "jnt_stiffness", "dof_damping", "geom_contype"):
        first = 1 if name.startswith("geom") else 0  # the floor
        np.testing.assert_array_equal(getattr(two, name)[first:], np.tile(getattr(one, name)[first:].T, 2).T)
    np.testing.assert_allclose(two.body_mass[1:], np.tile(one.body_mass[1:], 2) / 2)
    assert two.tendon_invweight0 == 2 * two.dof_invweight0[0] > 0
    names = [two.joint(two.actuator_trnid[i, 0]).name for i in range(12)]
    assert names == [one.joint(one.actuator_trnid[i, 0]).name + end for end in "01" for i in range(6)]
    data = mujoco.MjData(two)
    mujoco.mj_forward(two, data)
    np.testing.assert_allclose(data.ten_length, [2.0])
    for gap in (1.0, 4.0):
        data.qpos[9] = gap
        mujoco.mj_forward(two, data)
        length = np.sqrt(4 + gap**2)
        np.testing.assert_allclose(data.ten_length, [length])
        # Hooke's law along the tendon, and beyond 3.5 m a stop.
        np.testing.assert_allclose(data.qfrc_passive[[0, 9]], 0.1 * (length - 2) * gap / length * np.array([1, -1]))
        assert (data.qfrc_constraint[0] > 100, data.qfrc_constraint[9] < -100) == (gap > 3, gap > 3)


def test_joints_that_share_a_body_are_neighbors_and_the_world_is_none():
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


def compiled_brax(brax):
    """A robot of brax around one compiled step, around which everything else is computed as written.

    Compiled as a whole, XLA fuses the physics in other ways and rounds differently.
    """
    return types.SimpleNamespace(sys=brax.sys, dt=brax.dt, reset=jax.jit(brax.reset), step=jax.jit(brax.step))


def beside_brax(env, compiled, key, actions):
    """Plays brax alone and asserts that `env` goes through the same states, bit for bit.

    Yields `(TimeStep, brax's State, is over)` after the reset and each step.
    """
    from brax.envs.base import State

    env, zero = dataclasses.replace(env.unwrapped, brax_env=compiled), jnp.zeros(())
    with foreign():
        theirs = compiled.reset(key)
    is_over = False
    state, timestep = env.reset(key, ())
    assert_same((state.pipeline, timestep.state), (theirs.pipeline_state, theirs.obs))
    yield timestep, theirs, is_over
    for action in actions:
        state, timestep = env.step(key, state, jnp.asarray(action), ())
        joint = np.zeros(sum(len(part) for part in env.partition), np.float32)
        for part, entries in zip(env.partition, action):
            joint[list(part)] = entries[: len(part)].clip(-1, 1)
        with foreign():
            theirs = compiled.step(State(theirs.pipeline_state, None, zero, zero, {}), jnp.asarray(joint))
        assert_same((state.pipeline, timestep.state), (theirs.pipeline_state, theirs.obs))
        assert_same(timestep.reward, np.full(len(env.partition), 0.0 if is_over else theirs.reward))
        is_over = is_over or bool(theirs.done)
        assert timestep.terminated == is_over and not timestep.truncated
        yield timestep, theirs, is_over


def test_brax_plays_the_same_episode(hopper, played):
    _, actions, shown = played
    brax = robot_of(hopper)
    episode = beside_brax(hopper, compiled_brax(brax), jax.random.split(KEY)[0], actions)
    x = next(episode)[1].pipeline_state.x.pos[0, 0]
    for t, (timestep, theirs, is_over) in enumerate(episode):
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


@pytest.mark.slow
@pytest.mark.parametrize("robot", LISTED)
def test_brax_plays_the_same_episode_of_every_partition(robot):
    compiled, random = compiled_brax(robot_of(jaxmarl_envs.make(f"mabrax/{robot}"))), np.random.default_rng(1)
    for label in (None, *LISTED[robot].split()):
        env = jaxmarl_envs.make(f"mabrax/{robot}" + (f"-{label}" if label else ""))
        shape = (12, env.spec.n_agents, env.spec.action_dim)
        actions = random.uniform(-1.2, 1.2, shape).astype(np.float32)
        steps = list(beside_brax(env, compiled, KEY, actions))
        assert len(steps) == 13 and len({float(theirs.reward) for _, theirs, _ in steps}) > 10


@pytest.mark.slow
def test_coupled_cheetahs_move_as_in_mujoco():
    import mujoco

    env = jaxmarl_envs.make("mabrax/coupled-halfcheetah-2x6").unwrapped
    model = env.brax_env.sys.mj_model
    data = mujoco.MjData(model)
    (state, _), step = jax.jit(env.reset)(KEY, ()), jax.jit(env.step)
    random = np.random.default_rng(2)
    far, fast = state.pipeline.qpos.at[9].set(2.9), state.pipeline.qvel.at[9].set(3.0)
    apart = dataclasses.replace(state, pipeline=state.pipeline.replace(qpos=far, q=far, qvel=fast, qd=fast))
    for now in (state, apart):
        for action in random.uniform(-1, 1, (6, 2, 6)).astype(np.float32):
            before = np.array(now.pipeline.qpos)
            data.qpos[:], data.qvel[:] = before, now.pipeline.qvel
            data.qacc_warmstart[:] = now.pipeline.qacc_warmstart
            data.ctrl[:] = action.ravel()
            for _ in range(5):
                mujoco.mj_step(model, data)
            now, timestep = step(KEY, now, action, ())
            np.testing.assert_allclose(now.pipeline.q, data.qpos, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(timestep.state[17:], data.qvel, rtol=1e-3, atol=1e-3)
            np.testing.assert_array_equal(timestep.state[:17], now.pipeline.q[1:])
            velocity = (data.qpos - before)[[0, 9]] / 0.05
            expected = np.mean(velocity - 0.1 * (action**2).sum(1))
            np.testing.assert_allclose(timestep.reward, expected, rtol=1e-3, atol=1e-3)
    assert data.ten_length[0] < 3.6 and data.qpos[9] - data.qpos[0] > 2


# One robot with joints of each kind, also without a ground; the robots differ in little that a backend sees.
COMPILED = [(r, b) for r in ("halfcheetah", "ant", "hopper", "reacher") for b in ("positional", "generalized")]


@pytest.mark.slow
@pytest.mark.parametrize(("robot", "backend"), [*COMPILED, ("hopper", "mjx")])
def test_backends(robot, backend):
    env = jaxmarl_envs.make(f"mabrax/{robot}", backend=backend)
    start, step = jax.jit(env.reset)(KEY, ()), jax.jit(env.step)
    ends = []
    for value in (-0.5, 0.5):
        (state, first), action = start, jnp.full((1, env.spec.action_dim), value)
        for _ in range(3):
            state, timestep = step(KEY, state, action, ())
        ends.append(timestep)
        assert np.isfinite(np.concatenate([timestep.state, timestep.reward])).all() and timestep.state.any()
        assert not timestep.metrics["physics_failures"] and not np.allclose(timestep.state, first.state, atol=1e-3)
    assert not np.allclose(ends[0].state, ends[1].state, atol=1e-2)
    assert not np.allclose(ends[0].reward, ends[1].reward, atol=1e-4)


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
    assert_same(full.unwrapped.observe(shown), np.tile(raw[7, :-1], (3, 1)))
    named = np.concatenate([np.tile(raw[7, :-1], (3, 1)), np.eye(3, dtype=np.float32)], 1)
    expected = np.stack([(row - row.mean()) / np.sqrt(((row - row.mean()) ** 2).mean()) for row in named])
    np.testing.assert_allclose(dima.unwrapped.observe(shown), expected, rtol=1e-4, atol=1e-5)


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
    assert timestep.action_mask.tolist() == [[True, True, True, False], [True, False, False, False], [True] * 4]
    assert env.spec.agent_action_sizes == (3, 1, 4)
    assert timestep.metrics["distance"] == 2 and timestep.metrics["forward_velocity"] == 4
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
        ("coupled-halfcheetah-2x6", {"backend": "spring"}, ["unknown backend 'spring'", "coupled-halfcheetah has mjx"]),
        ("coupled-halfcheetah-2x3", {}, ["coupled-halfcheetah is divided as 2x6"]),
        ("coupled", {}, ["the robots are halfcheetah, coupled-halfcheetah"]),
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
