"""The toy tasks' dynamics and rewards against plain Python loops, written from the rules alone."""

import math

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest

KEY = jax.random.key(5)
STEPS = 30
NAN, INF = float("nan"), float("inf")


def played(env, actions, key=KEY):
    """`(states, timesteps)` of one episode [T + 1, ...], from its start, past its end."""
    params = env.default_params
    start = env.reset(key, params)

    def step(carry, action):
        state, _ = carry
        return env.step(key, state, action, params), carry

    last, before = jax.lax.scan(step, start, jnp.asarray(actions))
    return jax.tree.map(lambda rows, row: jnp.concatenate([rows, row[None]]), before, last)


def run(env_id, actions, **options):
    """`(params, states, timesteps)` of the task without its time limit."""
    env = jaxmarl_envs.make(env_id, **options).unwrapped
    states, timesteps = jax.jit(lambda a: played(env, a))(actions)
    numbers = {name: np.asarray(value, np.float64) for name, value in vars(env.default_params).items()}
    return numbers, jax.tree.map(np.asarray, states), jax.tree.map(np.asarray, timesteps)


def random_actions(*shape):
    """Beyond the bounds at times, and with one NaN and both infinities at the end."""
    actions = np.random.default_rng(1).uniform(-1.4, 1.4, shape).astype(np.float32)
    actions[-3:].reshape(3, -1)[:, 0] = NAN, INF, -INF
    return actions


def inside(action):
    """What a bad action stands for."""
    return 0.0 if math.isnan(action) else min(max(float(action), -1.0), 1.0)


def close(ours, theirs, atol=1e-5):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=atol)


@pytest.mark.parametrize(("env_id", "n_agents"), [("toy/pendulum", 1), ("toy/pendulum-2", 2)])
def test_pendulum(env_id, n_agents):
    actions = random_actions(STEPS, n_agents, 1)
    actions[: STEPS // 2] = np.abs(actions[: STEPS // 2])  # far enough to reach the largest speed and to turn over
    p, states, shown = run(env_id, actions, mass=0.3, gravity=30.0, max_torque=4.0)
    th, speed = float(states.angle[0]), float(states.velocity[0])
    assert -math.pi <= th < math.pi and -1 <= speed < 1
    fastest = 0.0
    for t in range(STEPS):
        u = p["max_torque"] * sum(inside(a) for a in actions[t, :, 0]) / n_agents
        close(shown.reward[t + 1], -(th**2 + 0.1 * speed**2 + 0.001 * u**2), atol=2e-4)
        pull = 3 * p["gravity"] / (2 * p["length"]) * math.sin(th) + 3 / (p["mass"] * p["length"] ** 2) * u
        speed = min(max(speed + pull * p["dt"], -8), 8)
        th = th + speed * p["dt"]
        th -= 2 * math.pi * math.floor((th + math.pi) / (2 * math.pi))
        fastest = max(fastest, abs(speed))
        close(shown.state[t + 1], [math.cos(th), math.sin(th), speed], atol=1e-4)
        assert shown.metrics["success"][t + 1] == (abs(th) < 0.2)
        assert -math.pi <= states.angle[t + 1] < math.pi
    assert fastest == 8 and np.ptp(states.angle) > 4
    assert shown.obs.shape == (STEPS + 1, n_agents, 3) and (shown.obs == shown.state[:, None]).all()
    assert not (shown.terminated | shown.truncated).any()


def test_two_half_torques_are_one():
    actions = random_actions(STEPS, 1, 1)
    _, one, _ = run("toy/pendulum", actions)
    _, two, _ = run("toy/pendulum-2", np.repeat(actions, 2, axis=1))
    close(one.angle, two.angle)


def test_inverted_pendulum():
    actions = random_actions(STEPS, 1, 1)
    actions[:8] = 0.3
    p, states, shown = run("toy/inverted-pendulum", actions, gravity=9.0, pole_length=0.8)
    x, v, th, w = (float(number[0]) for number in vars(states).values())
    assert max(map(abs, (x, v, th, w))) <= 0.05
    fallen = 0
    half, total = p["pole_length"] / 2, p["cart_mass"] + p["pole_mass"]
    for t in range(STEPS):
        if not fallen:
            f = p["max_force"] * inside(actions[t, 0, 0])
            temp = (f + p["pole_mass"] * half * w**2 * math.sin(th)) / total
            spin = (p["gravity"] * math.sin(th) - math.cos(th) * temp) / (
                half * (4 / 3 - p["pole_mass"] * math.cos(th) ** 2 / total)
            )
            accel = temp - p["pole_mass"] * half * spin * math.cos(th) / total
            x, v, th, w = x + p["dt"] * v, v + p["dt"] * accel, th + p["dt"] * w, w + p["dt"] * spin
        close(shown.state[t + 1], [x, v, th, w])
        up = abs(th) <= math.radians(12) and abs(x) <= 2.4
        fallen += not up
        assert shown.reward[t + 1, 0] == up == (not shown.terminated[t + 1]) == shown.metrics["success"][t + 1]
    assert 3 < fallen < STEPS - 3  # both on the way and after the end


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        ("toy/point-mass", {"goal": "fixed"}),
        ("toy/point-mass-2", {}),
        ("toy/point-mass", {"goal": "hidden", "goal_x": 0.25, "goal_y": -0.5}),
    ],
)
def test_point_mass(env_id, options):
    n_agents = 2 if env_id.endswith("2") else 1
    actions = random_actions(STEPS, n_agents, 2 // n_agents)
    actions[5:20] = np.abs(actions[5:20])
    p, states, shown = run(env_id, actions, max_force=4.0, drag=0.7, mass=0.8, **options)
    x, v, goal = states.position[0].astype(float), np.zeros(2), states.goal[0].astype(float)
    given = [options.get(name, 0.0) for name in ("goal_x", "goal_y")]
    assert np.abs(x).max() <= 1 and (goal == given).all() == ("goal" in options)
    shows = slice(None) if options.get("goal") != "hidden" else slice(4)  # of position, velocity, goal
    hits = 0
    for t in range(STEPS):
        for axis, action in enumerate(actions[t].ravel()):
            f = p["max_force"] * inside(action)
            v[axis] = (p["mass"] * v[axis] + p["dt"] * f) / (p["mass"] + p["drag"] * p["dt"])
            x[axis] += v[axis] * p["dt"]
            if abs(x[axis]) > 1:
                x[axis], v[axis], hits = math.copysign(1, x[axis]), 0.0, hits + 1
        close(shown.state[t + 1], [*x, *v, *goal][shows])
        close(shown.obs[t + 1], [[*x, *v, *(goal - x)][shows]] * n_agents)
        away = math.dist(x, goal)
        close(shown.reward[t + 1], [-away] * n_agents)
        assert shown.metrics["success"][t + 1] == (away < 0.1)
    assert hits > 3 and not (shown.terminated | shown.truncated).any()


@pytest.mark.parametrize(("interaction", "action_size"), [(0.0, 1), (0.6, 2)])
def test_linear_team(interaction, action_size):
    n, m = 3, 4
    actions = random_actions(STEPS, n, action_size)
    options = {"action_size": action_size, "seed": 2, "noise": 0.0, "action_cost": 0.3, "start": 1.0}
    p, states, shown = run("toy/linear-team", actions, interaction=interaction, **options)
    close(np.abs(np.linalg.eigvals(p["drift"])).max(), 0.9)
    s = states.x[0].astype(float)
    pairs = [(0, 1), (0, 2), (1, 2)]
    for t in range(STEPS):
        a = np.array([[inside(entry) for entry in row] for row in actions[t]])
        close(shown.reward[t + 1], [-((s**2).sum() / m + 0.3 * (a**2).sum() / (n * action_size))] * n)
        new = p["drift"] @ s
        for i in range(n):
            new = new + p["control"][i] @ a[i]
        for k, (i, j) in enumerate(pairs):
            new = new + interaction * p["coupling"][k] @ (a[i] * a[j])
        s = new
        close(shown.state[t + 1], s)
        close(shown.obs[t + 1], [s] * n)
    assert not (shown.terminated | shown.truncated).any()


def test_linear_team_noise_and_start_have_their_spread():
    env = jaxmarl_envs.make("toy/linear-team", noise=0.2, start=0.7).unwrapped

    def one(key):
        reset_key, step_key = jax.random.split(key)
        state, _ = env.reset(reset_key, env.default_params)
        after, _ = env.step(step_key, state, jnp.zeros((3, 1)), env.default_params)
        return state.x, after.x - jnp.asarray(env.default_params.drift) @ state.x

    start, noise = jax.jit(jax.vmap(one))(jax.random.split(KEY, 4000))
    for drawn, spread in ((start, 0.7), (noise, 0.2)):
        np.testing.assert_allclose(np.cov(drawn.T), spread**2 * np.eye(4), atol=0.07 * spread**2)


@pytest.mark.parametrize("n_agents", [1, 3])
def test_puck(n_agents):
    """Agents that run to the middle, where the puck and the others are, and on."""
    env = jaxmarl_envs.make("toy/puck", n_agents=n_agents, stiffness=60.0, puck_mass=0.4, approach=0.2).unwrapped
    p = {name: float(value) for name, value in vars(env.default_params).items()}
    start, _ = env.reset(KEY, env.default_params)
    towards = np.asarray(start.position[-1:] - start.position[:-1]) * 2
    actions = 0.5 * random_actions(STEPS, n_agents, 2) + towards.astype(np.float32)
    states, shown = jax.tree.map(np.asarray, jax.jit(lambda a: played(env, a))(actions))
    x, goal = states.position[0].astype(float), states.goal[0].astype(float)
    close(np.linalg.norm(x[:-1] - x[-1], axis=1), [0.5] * n_agents)
    assert np.abs(x[-1]).max() <= 0.3 and np.abs(goal).max() <= 0.8
    v = np.zeros_like(x)
    contacts, walls = set(), 0
    size = [0.1] * n_agents + [0.15]
    for t in range(STEPS):
        for _ in range(4):
            force = np.zeros_like(x)
            for i in range(n_agents + 1):
                if i < n_agents:
                    force[i] += [p["max_force"] * inside(a) for a in actions[t, i]]
                for j in range(n_agents + 1):
                    apart = math.dist(x[i], x[j])
                    if i != j and apart < size[i] + size[j]:
                        force[i] += p["stiffness"] * (size[i] + size[j] - apart) * (x[i] - x[j]) / apart
                        contacts.add("puck" if n_agents in (i, j) else "agents")
            for i in range(n_agents + 1):
                kind, h = "agent" if i < n_agents else "puck", p["dt"] / 4
                m, drag = p[f"{kind}_mass"], p[f"{kind}_drag"]
                for k in range(2):
                    v[i, k] = (v[i, k] + force[i, k] * h / m) / (1 + drag * h / m)
                    x[i, k] += v[i, k] * h
                    if abs(x[i, k]) > 1:
                        x[i, k], v[i, k], walls = math.copysign(1, x[i, k]), 0.0, walls + 1
        close(states.position[t + 1], x, atol=1e-4)  # contacts multiply what rounding does
        close(shown.state[t + 1], [*x.ravel(), *v.ravel(), *goal], atol=2e-3)
        away = math.dist(x[-1], goal)
        reach = sum(math.dist(x[i], x[-1]) for i in range(n_agents)) / n_agents
        close(shown.reward[t + 1], [-(away + 0.2 * reach)] * n_agents, atol=1e-4)
        assert shown.metrics["success"][t + 1] == (away < 0.15)
        for i in range(n_agents):
            expected = [*x[i], *v[i], *(x[-1] - x[i]), *v[-1], *(goal - x[-1])]
            for j in range(n_agents):
                if j != i:
                    expected += [*(x[j] - x[i]), *(v[j] - v[i])]
            close(shown.obs[t + 1, i], expected, atol=2e-3)
    assert contacts == ({"puck", "agents"} if n_agents > 1 else {"puck"}) and walls
    assert not (shown.terminated | shown.truncated).any()


@pytest.mark.parametrize("wrong", ["back", "end"])
@pytest.mark.parametrize(("env_id", "n_agents"), [("toy/chain", 2), ("toy/chain-continuous", 1)])
def test_chain(env_id, n_agents, wrong):
    length, k, t_wrong = 4, 3, 2
    env = jaxmarl_envs.make(env_id, length=length, n_agents=n_agents, num_actions=k, wrong=wrong, seed=1).unwrapped
    right = np.asarray(env.default_params.right)
    assert right.shape == (length, n_agents) and set(right.ravel()) <= set(range(k)) and len(set(right.ravel())) > 1
    cell, choices, cells = 0, [], []
    for t in range(9):
        action = right[min(cell, length - 1)].copy()
        if t == t_wrong:
            action[-1] = (action[-1] + 1) % k  # one agent is enough
        if cell < length:
            cell = (0 if wrong == "back" else length) if t == t_wrong else cell + 1
        choices.append(action)
        cells.append(cell)
    actions = np.array(choices, np.int32)
    if "continuous" in env_id:
        actions = ((actions + 0.5) / k * 2 - 1).astype(np.float32)[..., None]
    states, shown = jax.tree.map(np.asarray, jax.jit(lambda a: played(env, a))(actions))
    assert states.cell.tolist() == [0, *cells]
    paid = [float(c == length and wrong == "back" and (t == 0 or cells[t - 1] < length)) for t, c in enumerate(cells)]
    assert sum(paid) == (wrong == "back")
    assert shown.reward[1:, 0].tolist() == paid == shown.metrics["success"][1:].tolist()
    assert shown.terminated.tolist() == [False] + [c == length for c in cells] and not shown.truncated.any()
    np.testing.assert_array_equal(shown.state, np.eye(length + 1, length)[states.cell])
    np.testing.assert_array_equal(shown.obs, np.repeat(shown.state[:, None], n_agents, axis=1))


def test_chain_continuous_reads_its_interval_in_equal_parts():
    env = jaxmarl_envs.make("toy/chain-continuous", length=1, num_actions=4).unwrapped
    values = [
        (-1.0, 0),
        (-0.51, 0),
        (-0.49, 1),
        (0.01, 2),
        (0.49, 2),
        (0.51, 3),
        (1.0, 3),
        (INF, 3),
        (-INF, 0),
        (NAN, 2),
    ]
    actions = jnp.array([value for value, _ in values])

    def choice(right):
        params = type(env.default_params)(right=right, slip=jnp.float32(0))
        state, _ = env.reset(KEY, params)
        return jax.vmap(lambda a: env.step(KEY, state, a.reshape(1, 1), params)[1].reward[0])(actions)

    paid = jax.jit(jax.vmap(choice))(jnp.arange(4, dtype=jnp.int32).reshape(4, 1, 1))
    assert np.asarray(paid).argmax(axis=0).tolist() == [part for _, part in values] and (paid.sum(axis=0) == 1).all()


def test_random_starts_differ_by_key_and_only_by_key():
    for name in ("pendulum", "inverted-pendulum", "point-mass", "linear-team", "puck"):
        env = jaxmarl_envs.make(f"toy/{name}")
        reset = jax.jit(lambda key, env=env: env.reset(key, env.default_params)[1].state)
        first, again, other = reset(KEY), reset(KEY), reset(jax.random.key(6))
        assert (first == again).all() and (first != other).any()
