"""Off-policy actor-critics: what is stored and drawn, losses in plain NumPy, blocks, delays, targets, who may use what."""

import dataclasses
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from line_env import EDGE, PUSH, Line
from toy_envs import Noisy, context

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms import masac, matd3, sac, td3
from jaxmarl_suite.algorithms._off_policy import make_off_policy
from jaxmarl_suite.algorithms._off_policy_parts import Batch, Step, draw_batch
from jaxmarl_suite.replay import Draw, make_step_replay

QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
SMALL = {
    "num_envs": 2,
    "rollout_length": 5,
    "gradient_steps": 2,
    "capacity": 20,
    "batch_size": 3,
    "warmup_steps": 0,
    "hidden": (4, 3),
    "learning_rate": 0.01,
}
MODULES = {"td3": td3, "matd3": matd3, "sac": sac, "masac": masac}


def parts_of(name, n_agents=1, **changes):
    """`(config, team, method)`."""
    module = MODULES[name]
    config = algorithms.get(name).config(**(SMALL | changes))
    return config, *module.parts(config, Line(n_agents))


def compiled(fn):
    return jax.jit(fn, compiler_options=QUICK)


def doubles(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


# What is drawn


def history(rng, steps):
    """Random steps with both kinds of ends."""
    return [
        {
            "obs": rng.normal(),
            "reward": rng.normal(),
            "terminated": rng.random() < 0.15,
            "truncated": rng.random() < 0.15,
            "next_obs": rng.normal(),
        }
        for _ in range(steps)
    ]


def as_steps(rows):
    """[E][L] rows as `Step` [E, L, ...]."""

    def column(name, dtype, *shape):
        return jnp.asarray([[row[name] for row in own] for own in rows], dtype).reshape(len(rows), len(rows[0]), *shape)

    empty = jnp.zeros((len(rows), len(rows[0]), 0))
    return Step(
        obs=column("obs", jnp.float32, 1, 1),
        state=empty,
        action=column("obs", jnp.float32, 1, 1),
        reward=column("reward", jnp.float32),
        terminated=column("terminated", jnp.bool_),
        truncated=column("truncated", jnp.bool_),
        next_obs=column("next_obs", jnp.float32, 1, 1),
        next_state=empty,
        next_mask=jnp.zeros((*empty.shape[:2], 1, 0), bool),
    )


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_batches_hold_n_step_returns_of_what_is_stored(blocks):
    """Every stored step, against a loop over the episodes as they were played; rings that wrap, too."""
    num_envs, length, capacity, n, gamma = 2, 6, 14, 3, 0.9
    rng = np.random.default_rng(blocks)
    replay = make_step_replay(num_envs, capacity)
    played = [history(rng, blocks * length) for _ in range(num_envs)]
    one = as_steps([own[:1] for own in played])
    ring = replay.init(jax.tree.map(lambda x: x[0, 0], one))
    for block in range(blocks):
        ring = replay.add(ring, as_steps([own[block * length : (block + 1) * length] for own in played]))
    kept = [own[-capacity:] for own in played]
    count = len(kept[0])
    env, position = (x.ravel().astype(np.int32) for x in np.meshgrid(range(num_envs), range(count), indexing="ij"))
    beside = ring.experience.reward * 2.0
    draw = compiled(lambda ring, beside, draw: draw_batch(ring, beside, draw, n_step=n, gamma=jnp.float32(gamma)))
    batch = draw(ring, beside, Draw(jnp.asarray(env), jnp.asarray(position)))
    stops = set()
    for row, (e, t) in enumerate(zip(env, position)):
        total, discount = 0.0, 1.0
        for k in range(t, t + n):
            last = kept[e][k]
            total, discount = total + discount * last["reward"], discount * gamma
            stops.add(
                ("terminated" if last["terminated"] else "truncated" if last["truncated"] else k == count - 1, k - t)
            )
            if last["terminated"] or last["truncated"] or k == count - 1:
                break
        discount *= not last["terminated"]
        np.testing.assert_allclose(batch.obs[row], kept[e][t]["obs"], rtol=1e-6)
        np.testing.assert_allclose(batch.reward[row], total, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(batch.discount[row], discount, rtol=1e-5)
        np.testing.assert_allclose(batch.next_obs[row], last["next_obs"], rtol=1e-6)
        np.testing.assert_allclose(batch.prepared[row], 2 * kept[e][t]["reward"], rtol=1e-6)
    if blocks == 5:
        assert {(kind, k) for kind in ("terminated", "truncated") for k in range(n)} <= stops
        assert (True, 0) in stops and (False, n - 1) in stops


# Losses


def random_batch(n_agents, size, rng):
    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return Batch(
        obs=normal(size, n_agents, 1),
        state=normal(size, 1),
        action=jnp.tanh(normal(size, n_agents, 1)),
        reward=normal(size),
        discount=jnp.asarray(rng.choice([0.0, 0.9, 0.81], size), jnp.float32),
        next_obs=normal(size, n_agents, 1),
        next_state=normal(size, 1),
        next_mask=jnp.zeros((size, n_agents, 0), bool),
        prepared=(),
    )


def layers(tree):
    """Dense layers in order, [(kernel, bias)]."""
    found = tree["params"]
    return [(found[f"Dense_{i}"]["kernel"], found[f"Dense_{i}"]["bias"]) for i in range(len(found))]


def mlp(dense, x):
    for k, b in dense[:-1]:
        x = np.maximum(x @ k + b, 0.0)
    k, b = dense[-1]
    return x @ k + b


def actor_output(params, obs, shared):
    """[B, N, outputs] from observations [B, N, D]; one-hot indices where several agents share parameters."""
    n = obs.shape[1]
    if shared:
        index = np.broadcast_to(np.eye(n), (len(obs), n, n))
        return mlp(layers(params["head"]), np.concatenate([obs, index], -1) if n > 1 else obs)
    rows = [mlp(layers(jax.tree.map(lambda x, i=i: x[i], params["head"])), obs[:, i]) for i in range(n)]
    return np.stack(rows, 1)


def critic_values(params, context, action):
    """[C, B]."""
    x = np.concatenate([context, action.reshape(len(action), -1)], -1)
    num = len(jax.tree.leaves(params)[0])
    return np.stack([mlp(layers(jax.tree.map(lambda p, c=c: p[c], params)), x)[:, 0] for c in range(num)])


CASES = [
    ("td3", 1, {}),
    ("td3", 1, {"num_critics": 4, "critic_groups": 2, "climb": "mean"}),
    ("matd3", 3, {}),
    ("matd3", 2, {"share_parameters": False, "others": "policy", "context": "observations"}),
    ("sac", 1, {}),
    ("masac", 2, {"share_parameters": False, "context": "observations"}),
    ("masac", 2, {"others": "replay", "tune_temperature": False, "temperature": 0.3}),
]  # fmt: skip


@pytest.mark.parametrize("name, n_agents, changes", CASES)
def test_losses_are_their_formulas(name, n_agents, changes):
    config, _, method = parts_of(name, n_agents, **changes)
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(method.init, jax.random.key(0))

    def draw_params():
        return jax.tree.map(lambda s: jnp.asarray(0.7 * rng.normal(size=s.shape), s.dtype), shapes)

    params, targets = draw_params(), method.targets(draw_params())
    batch, ctx, key = random_batch(n_agents, 6, rng), context(config, Line(n_agents)), jax.random.key(7)
    loss, metrics = compiled(method.critic_loss)(params["critic"], params["actor"], targets, batch, key, ctx)
    improve, own_metrics = compiled(method.actor_loss)(params["actor"], params["critic"], batch, key, ctx)

    noise = np.asarray(jax.random.normal(key, (6, n_agents, 1)), np.float64)
    b, p, old = doubles(batch), doubles(params), doubles(targets)
    is_central = getattr(config, "context", "observations") != "observations"
    shared = getattr(config, "share_parameters", True)
    seen, then = (b.state, b.next_state) if is_central else (b.obs.reshape(6, -1), b.next_obs.reshape(6, -1))
    is_sac = name in ("sac", "masac")

    def gaussian(obs):
        """Tanh-normal actions and log-densities; the deviations are asked of the head, the rest is computed here."""
        output = actor_output(p["actor"]["policy"], obs, shared)
        mean, raw = np.split(output, 2, -1)
        low, width = np.log(1e-3), np.log(1e4)
        part = -low / width
        std = np.exp(low + width / (1 + np.exp(-(raw / (width * part * (1 - part)) + np.log(part / (1 - part))))))
        u = mean + std * noise
        log_prob = -0.5 * noise**2 - np.log(std) - 0.5 * np.log(2 * np.pi) - np.log1p(-(np.tanh(u) ** 2))
        return np.tanh(u), log_prob.sum((1, 2))

    if is_sac:
        alpha = config.temperature * np.exp(p["actor"]["log_temperature"])
        action, log_prob = gaussian(b.next_obs)
    else:
        smooth = np.clip(0.2 * noise, -0.5, 0.5)
        action = np.clip(np.tanh(actor_output(old["actor"], b.next_obs, shared)) + smooth, -1.0, 1.0)
    after = critic_values(old["critic"], then, action)
    groups, num = config.critic_groups, config.num_critics
    expected = 0.0
    for c in range(num):
        group = c // (num // groups)
        least = after[group * num // groups : (group + 1) * num // groups].min(0)
        if is_sac:
            least = least - alpha * log_prob
        y = b.reward + b.discount * least
        expected += np.mean((critic_values(p["critic"], seen, b.action)[c] - y) ** 2)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["q_mean"], critic_values(p["critic"], seen, b.action).mean(), rtol=1e-4)

    if is_sac:
        own, log_prob = gaussian(b.obs)
    else:
        own = np.tanh(actor_output(p["actor"], b.obs, shared))
    joints = [own]
    if getattr(config, "others", "policy") == "replay":
        joints = []
        for i in range(n_agents):
            joint = b.action.copy()
            joint[:, i] = own[:, i]
            joints.append(joint)
    if is_sac:
        value = sum(critic_values(p["critic"], seen, joint).min(0) for joint in joints)
        expected = np.mean(alpha * log_prob - value)
        np.testing.assert_allclose(own_metrics["actor_loss"], expected, rtol=1e-5)
        np.testing.assert_allclose(own_metrics["entropy"], -log_prob.mean(), rtol=1e-5)
        if config.tune_temperature:
            alpha_loss = np.mean(-alpha * (log_prob - n_agents))
            np.testing.assert_allclose(own_metrics["temperature_loss"], alpha_loss, rtol=1e-5)
            expected += alpha_loss
    else:
        climbed = slice(0, 1) if config.climb == "first" else slice(None)
        expected = -sum(critic_values(p["critic"], seen, joint)[climbed].mean() for joint in joints)
    np.testing.assert_allclose(improve, expected, rtol=1e-5)


def test_the_temperature_moves_the_entropy_towards_its_target():
    """It rises where the entropy is below the target, and nothing but the entropy moves it."""
    config, _, method = parts_of("sac")
    params = method.init(jax.random.key(0))
    batch = random_batch(1, 6, np.random.default_rng(0))

    slope_of = compiled(jax.grad(method.actor_loss, has_aux=True))

    def slope(wanted):
        ctx = context(dataclasses.replace(config, target_entropy=wanted), Line())
        grads, metrics = slope_of(params["actor"], params["critic"], batch, jax.random.key(1), ctx)
        return float(grads["log_temperature"]), float(metrics["entropy"])

    (low, entropy), (high, _) = slope(-5.0), slope(5.0)
    np.testing.assert_allclose([low, high], [entropy + 5.0, entropy - 5.0], rtol=1e-4)
    assert high < 0 < low, "Adam steps down the slope"


# The core


class Learner:
    """An algorithm with compiled functions."""

    def __init__(self, name, n_agents=1, env=None, **changes):
        self.config, self.team, self.method = parts_of(name, n_agents, **changes)
        self.env = env or Line(n_agents)
        (phase,) = algorithms.get(name).build(self.config, self.env)
        self._compile(phase.algorithm)

    def _compile(self, algorithm):
        self.algorithm = algorithm
        self.init, self.update = compiled(algorithm.init), compiled(algorithm.update)

    def with_method(self, **changes):
        (phase,) = make_off_policy(self.team, self.env, self.method._replace(**changes))
        self._compile(phase.algorithm)
        return self

    def course(self, updates, **changes):
        """States before and after each update, and metrics."""
        config = dataclasses.replace(self.config, **changes)
        states, metrics = [self.init(jax.random.key(0), context(config, self.env))], []
        for clock in range(updates):
            state, found = self.update(states[-1], context(config, self.env, clock=clock))
            states.append(state)
            metrics.append(jax.device_get(found))
        return states, metrics


def count_of(learner):
    return int(learner.opt[0].count)


def assert_unequal(a, b):
    assert any((np.asarray(x) != np.asarray(y)).any() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.fixture(scope="module")
def delayed():
    """Two gradient steps an update, an actor step after every third, in five updates of ten steps."""
    learner = Learner("td3", policy_delay=3, warmup_steps=21, capacity=200)
    return learner, *learner.course(6, target_rate=0.25, exploration_noise=0.0)


def test_learning_starts_after_the_warm_up(delayed):
    _, states, metrics = delayed
    for k, (before, after) in enumerate(pairwise(states)):
        is_learning = k >= 2  # 30 steps stored
        assert count_of(after.learnt.critic) == 2 * max(k - 1, 0)
        assert metrics[k]["critic_loss"].weight == is_learning
        if is_learning:
            assert_unequal(before.learnt.critic.params, after.learnt.critic.params)
        else:
            jax.tree.map(np.testing.assert_array_equal, before.learnt, after.learnt)


def test_actors_and_targets_wait_for_their_turn(delayed):
    """Gradient steps 1..12 of the run's clock; 4 are not taken, and steps 6, 9 and 12 improve the actors."""
    _, states, metrics = delayed
    due = [0, 0, 1, 0, 1, 1]
    assert [count_of(b.learnt.actor) - count_of(a.learnt.actor) for a, b in pairwise(states)] == due
    for k, (before, after) in enumerate(pairwise(states)):
        assert metrics[k]["actor_loss"].weight == due[k]
        if not due[k]:
            jax.tree.map(np.testing.assert_array_equal, before.learnt.targets, after.learnt.targets)


def test_targets_move_a_share_of_the_way(delayed):
    """The last of an update's steps moves them (updates 2 and 5), so that what they move to is what the update leaves."""
    _, states, _ = delayed
    for k in (2, 5):
        old, new, params = states[k].learnt.targets, states[k + 1].learnt.targets, states[k + 1].learnt.params
        assert set(new) == {"actor", "critic"}
        for name in new:
            jax.tree.map(
                lambda a, b, c: np.testing.assert_allclose(b, a + 0.25 * (c - a), rtol=1e-5, atol=1e-7),
                old[name],
                new[name],
                params[name],
            )


def test_play_is_random_first_and_the_actors_later(delayed):
    learner, states, _ = delayed
    stored = jax.tree.map(np.asarray, states[-1].replay.experience)
    x, action, after = stored.obs[..., 0, 0], stored.action[..., 0, 0], stored.next_obs[..., 0, 0]
    filled = 30  # of each environment
    assert not stored.obs[:, filled:].any()
    # The environment got the action in its own bounds, the replay in [-1, 1].
    np.testing.assert_allclose(after[:, :filled], x[:, :filled] + 2 * PUSH * action[:, :filled], atol=1e-5)
    for k in range(3, 6):
        own = slice(5 * k, 5 * k + 5)
        played = learner.method.greedy(states[k].learnt.params["actor"], stored.obs[:, own].reshape(10, 1, 1), None)
        np.testing.assert_allclose(np.asarray(played).reshape(2, 5), action[:, own], atol=1e-6)
    assert states[-1].replay.experience.state.shape[-1] == 0, "a critic of observations stores no global state"


def test_warm_up_is_uniform_and_ends_are_kept_apart():
    learner = Learner("td3", warmup_steps=10**6, num_envs=64, rollout_length=40, capacity=64 * 40)
    state = learner.course(1, reward_scale=0.5)[0][-1]
    stored = jax.tree.map(np.asarray, state.replay.experience)
    action = np.sort(stored.action.ravel())
    expected = np.linspace(-1, 1, len(action))
    assert np.abs(action - expected).max() < 2 * 1.95 / np.sqrt(len(action)), "Kolmogorov-Smirnov, p = 0.001"
    fell = np.abs(stored.next_obs[..., 0, 0]) > EDGE
    np.testing.assert_array_equal(stored.terminated, fell)
    assert fell.any() and (stored.truncated & ~fell).any()
    force = 2 * stored.action[..., 0, 0]
    cost = stored.obs[..., 0, 0] ** 2 + 0.1 * force**2 + 20.0 * fell
    np.testing.assert_allclose(stored.reward, -0.5 * cost, rtol=1e-4, atol=1e-5)


def test_exploration_noise_is_added_and_clipped():
    config, _, method = parts_of("td3")
    actor = method.init(jax.random.key(0))["actor"]
    obs, key = jnp.linspace(-2, 2, 8).reshape(8, 1, 1), jax.random.key(3)
    for noise in (0.1, 3.0):
        ctx = context(dataclasses.replace(config, exploration_noise=noise), Line())
        found = method.explore(actor, obs, None, key, ctx)
        expected = np.clip(method.greedy(actor, obs, None) + noise * jax.random.normal(key, (8, 1, 1)), -1, 1)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert (np.abs(found) == 1).any()


def test_a_method_prepares_each_block_and_decides_when_targets_follow():
    """What GEM needs: targets that jump once a block, and numbers beside the replay that batches bring along."""
    learner = Learner("td3", gradient_steps=3, capacity=20)

    def prepare(params, targets, ring, key, ctx):
        return params, 2.0 * ring.experience.reward

    def critic_loss(critic, actor, targets, batch, key, ctx):
        loss, metrics = learner.method.critic_loss(critic, actor, targets, batch, key, ctx)
        return loss, metrics | {"gap": jnp.abs(batch.prepared - 2.0 * batch.reward).max(), "some": batch.prepared.std()}

    learner.with_method(prepare=prepare, critic_loss=critic_loss, follow=lambda targets, params, ctx: targets)
    states, metrics = learner.course(3)
    for (before, after), found in zip(pairwise(states), metrics):
        assert found["gap"].total == 0 and found["some"].total > 0
        jax.tree.map(np.testing.assert_array_equal, after.learnt.targets, before.learnt.params)
        assert_unequal(after.learnt.targets, after.learnt.params)


@pytest.mark.parametrize("one, team", [("td3", "matd3"), ("sac", "masac")])
def test_a_team_of_one_is_the_single_agent(one, team):
    single, of_one = Learner(one), Learner(team, context="observations")
    ours, theirs = (learner.course(2)[0][-1] for learner in (of_one, single))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ours.learnt, theirs.learnt)


def test_deployed_actions_are_within_the_bounds_of_the_environment():
    learner = Learner("masac", 2)
    state = learner.init(jax.random.key(0), context(learner.config, learner.env))
    timestep = learner.env.reset(jax.random.key(1), ())[1]
    timestep = jax.tree.map(lambda x: x[None], timestep.replace(obs=timestep.obs * 1e6))
    policy = jax.tree.map(lambda x: 50.0 * x, learner.algorithm.policy(state))
    action, _ = learner.algorithm.act(policy, None, timestep, jax.random.key(2), None)
    low, high = learner.env.spec.action_bounds
    assert action.shape == (1, 2, 1)
    assert ((np.asarray(action) >= low) & (np.asarray(action) <= high)).all()
    assert np.isin(np.asarray(action), [low, high]).all(), "saturated"


# Who may use what


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_envs": 0}, "num_envs must be at least 1, got 0"),
        ({"warmup_steps": -1}, "warmup_steps must be at least 0, got -1"),
        ({"n_step": 0}, "n_step must be at least 1, got 0"),
        ({"hidden": (4, 0)}, r"hidden must hold positive widths, got \(4, 0\)"),
        ({"hidden": (), "action_twice": True}, "action_twice needs a first layer"),
        ({"gamma": 1.5}, "gamma must lie between 0 and 1, got 1.5"),
        ({"target_rate": -0.1}, "target_rate must lie between 0 and 1, got -0.1"),
        ({"learning_rate": -1.0}, "learning_rate must be at least 0, got -1.0"),
        ({"target_noise": -1.0}, "target_noise must be at least 0, got -1.0"),
        ({"num_critics": 3, "critic_groups": 2}, r"critic_groups must divide the 3 critics \(num_critics\), got 2"),
        ({"capacity": 9}, r"capacity must hold the 10 steps of one update \(num_envs 2 x rollout_length 5\), got 9"),
        ({"capacity": 21}, "capacity must be a multiple of num_envs, .* got 21 and 2"),
        ({"n_step": 11}, "n_step must not exceed the 10 steps kept of each environment .* got 11"),
        ({"climb": "last"}, "climb must be 'first' or 'mean', got 'last'"),
        ({"context": "all"}, "context must be 'auto' or 'state' or 'observations', got 'all'"),
        ({"others": "none"}, "others must be 'replay' or 'policy', got 'none'"),
    ],
)
def test_settings_that_cannot_work(settings, message):
    with pytest.raises(ValueError, match=message):
        algorithms.get("matd3").config(**(SMALL | settings))


@pytest.mark.parametrize("name", ["td3", "td3-star", "sac", "matd3", "masac"])
def test_discrete_actions_are_refused_by_name(name):
    spec = algorithms.get(name)
    with pytest.raises(ValueError, match=f"{name} supports continuous actions, but 'test/noisy' has discrete ones"):
        spec.build(spec.defaults or spec.config(), Noisy())


@pytest.mark.parametrize("name, team", [("td3", "matd3"), ("td3-star", "matd3"), ("sac", "masac")])
def test_single_agent_methods_name_those_for_teams(name, team):
    spec = algorithms.get(name)
    with pytest.raises(ValueError, match=f"{name} is for a single agent, but 'line/2' has 2; use {team}"):
        spec.build(spec.defaults or spec.config(), Line(2))
    algorithms.get(team).build(algorithms.get(team).config(), Line(2))


@dataclasses.dataclass(frozen=True)
class Unusual(Line):
    """Without a state, or without bounds."""

    high: float = 1.0

    @property
    def spec(self):
        return Line(2).spec.replace(id="test/unusual", state_size=0, action_bounds=(-1.0, self.high))


def test_environments_that_lack_something():
    config = algorithms.get("matd3").config
    with pytest.raises(ValueError, match="context 'state' needs a global state, which 'test/unusual' does not have"):
        algorithms.get("matd3").build(config(context="state"), Unusual())
    with pytest.raises(
        ValueError, match=r"need finite bounds, lower below upper, but 'test/unusual' has \(-1.0, inf\)"
    ):
        algorithms.get("matd3").build(config(), Unusual(high=float("inf")))
