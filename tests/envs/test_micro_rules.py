"""The rules of `micro/` by themselves: duels, walking, mirrored fights, what is conserved, rewards, ends, the enemy."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import AgentId, LastAction, ObserveState, alive, random_action, record_episode, render_frames
from jaxmarl_envs.micro._kinds import KINDS
from jaxmarl_envs.micro._maps import MAPS
from jaxmarl_envs.micro._params import CELL
from jaxmarl_envs.micro._viewer import CLIFF, GROUND

from tests.envs.micro_tools import arena, first_episodes, repeat, with_level

KEY = jax.random.key(5)

# Duels: who shoots, at whom, shots to kill, loop of the last. Worked out by hand from the table of kinds.
DUELS = [
    ("marine", "marine", 8, 7 * 13.773),
    ("marine", "zealot", 29, 28 * 13.773),
    ("zealot", "marine", 3, 2 * 19.199),
    ("zealot", "stalker", 11, 10 * 19.199),
    ("stalker", "zealot", 13, 12 * 29.922),
    ("colossus", "zergling", 2, 24.0),
    ("zergling", "zealot", 35, 34 * 11.137),
    ("spine crawler", "stalker", 6, 5 * 29.602),
]
PAIRS = [  # ally, enemy
    ("marine", "marine"), ("marine", "zealot"), ("zealot", "stalker"), ("colossus", "zergling"), ("zealot", "zergling"),
    ("stalker", "spine crawler"),
]  # fmt: skip
SPOTS = [(3, 3), (16, 3), (29, 3), (3, 28), (16, 28), (27, 28)]


@pytest.fixture(scope="module")
def duels():
    """Each ally beside its enemy, all too far away from the others to see them."""
    allies, enemies = [], []
    for (ours, theirs), (x, y) in zip(PAIRS, SPOTS):
        gap = KINDS[ours].radius + KINDS[theirs].radius + 0.05
        allies.append((ours, 1, (float(x), float(y))))
        enemies.append((theirs, 1, (x + gap if x < 16 else x - gap, float(y))))
    env = arena(allies, enemies)
    return env, with_level(env.default_params, "guard", noise=0.0)


def died(states, unit):
    """The step, from 1, in which a unit died."""
    hp = np.asarray(states.inner.hp)[:, unit]
    return int((hp <= 0).argmax()) + 1 if (hp <= 0).any() else None


def step_of(loop):
    return max(1, math.ceil(loop / 8))


def test_shots_to_kill(duels):
    env, guard = duels
    expected = {(ours, theirs): step_of(loop) for ours, theirs, _, loop in DUELS}
    attack = 6 + jnp.arange(len(PAIRS))
    ours, _ = repeat(env, 70, KEY, attack, with_level(guard, "passive"))
    theirs, _ = repeat(env, 70, KEY, jnp.ones(len(PAIRS), jnp.int32), guard)
    checked = set()
    for i, (ally, enemy) in enumerate(PAIRS):
        for states, shooter, target, unit in ((ours, ally, enemy, len(PAIRS) + i), (theirs, enemy, ally, i)):
            if (shooter, target) in expected:
                assert died(states, unit) == expected[shooter, target], (shooter, target)
                checked.add((shooter, target))
    assert checked == set(expected)
    assert all(died(ours, i) is None and died(theirs, len(PAIRS) + i) is None for i in range(len(PAIRS)))
    both, shown = repeat(env, 70, KEY, attack, guard)  # a draw of equals: both shoot in the same moments
    assert died(both, 0) == died(both, len(PAIRS)) == expected["marine", "marine"] == 13
    assert not shown.metrics["win"].any()


def test_walking(duels):
    env, guard = duels
    start, _ = env.reset(KEY, guard)
    for action, way in ((2, 1), (3, -1)):
        states, _ = repeat(env, 70, KEY, jnp.full(len(PAIRS), action, jnp.int32), with_level(guard, "passive"))
        moved = np.asarray(states.inner.y[0] - start.inner.y) / CELL
        np.testing.assert_array_equal(moved[:4], [way * 1.125] * 4)  # 2.25 cells a second for half a second
        np.testing.assert_array_equal(moved[5], way * 756 * 8 / CELL)  # a stalker: 2.9531, in 1/4096 cell a loop
        end = np.asarray(states.inner.y)[-1, : len(PAIRS)]
        edge = 32 if way == 1 else 0
        assert (np.abs(end / CELL - edge) <= 1).all() and (end > 0).all() and (end < 32 * CELL).all()


@pytest.fixture(scope="module")
def team():
    """`micro/2s3z`, and `(params, key, order) -> (states, time steps), actions` of play that mostly attacks when it can."""
    env = jaxmarl_envs.make("micro/2s3z")

    @jax.jit
    def run(params, key, order):
        """`order` [A]: what each action is called; an involution."""

        def body(carry, key):
            state, timestep = carry
            act_key, step_key = jax.random.split(key)
            numbers = jnp.arange(env.spec.num_actions)
            wish = jnp.where(numbers >= 6, 6.0, jnp.where(numbers == 4, 2.0, 1.0))
            mask = timestep.action_mask[:, order]
            action = order[jax.random.categorical(act_key, jnp.where(mask, jnp.log(wish), -jnp.inf))]
            carry = env.step(step_key, state, action, params)
            return carry, (*carry, action)

        start_key, key = jax.random.split(key)
        start = env.reset(start_key, params)
        states, shown, actions = jax.lax.scan(body, start, jax.random.split(key, 60))[1]
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, (states, shown)), actions

    return env, lambda *arguments: jax.tree.map(np.asarray, run(*arguments))


def order_of(*swaps):
    order = np.arange(11)
    for a, b in swaps:
        order[[a, b]] = b, a
    return jnp.asarray(order)


def test_mirrored_fights_stay_mirrored(team):
    env, run = team
    params = with_level(env.default_params, "smac")
    (plain, shown), _ = run(params, KEY, order_of())
    assert (plain.inner.hp[-1] < plain.inner.hp[0]).any()
    for axis, swap in (("x", (4, 5)), ("y", (2, 3))):
        k = "xy".index(axis)
        start = np.array(params.start)
        start[:, k] = 32 - start[:, k]
        goal = {f"goal_{axis}": np.float32(32 - getattr(params, f"goal_{axis}"))}
        (mirrored, reflected), _ = run(dataclasses.replace(params, start=start, **goal), KEY, order_of(swap))
        for name in ("hp", "shield", "cool", "quiet", "target", "y" if axis == "x" else "x"):
            np.testing.assert_array_equal(getattr(mirrored.inner, name), getattr(plain.inner, name), name)
        np.testing.assert_array_equal(getattr(mirrored.inner, axis), 32 * CELL - getattr(plain.inner, axis))
        np.testing.assert_array_equal(reflected.reward, shown.reward)


def test_the_same_key_plays_the_same_fight(team):
    env, run = team
    first, again, other = (run(env.default_params, key, order_of())[0] for key in (KEY, KEY, jax.random.key(6)))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (first[0].inner.hp != other[0].inner.hp).any()


def test_without_noise_a_fight_does_not_depend_on_keys(team):
    env, _ = team
    attack = jnp.full(5, 6, jnp.int32)
    for noise, same in ((0.0, True), (1.0, False)):
        params = with_level(env.default_params, "smac", noise=noise)
        states = [repeat(env, 60, jax.random.key(seed), attack, params)[0].inner for seed in (0, 1)]
        assert (states[0].hp[-1] < states[0].hp[0]).any()
        assert all((getattr(states[0], name) == getattr(states[1], name)).all() for name in ("x", "hp", "cool")) == same


def test_what_is_conserved(team):
    env, run = team
    p = env.default_params
    (states, shown), actions = run(p, jax.random.key(8), order_of())
    fight = states.inner
    n, lives = env.spec.n_agents, fight.hp > 0
    kinds = np.array(env.unwrapped.plan.allies + env.unwrapped.plan.enemies)
    most_hp, most_shield = (np.asarray(getattr(p.allies, name))[kinds] for name in ("hp", "shield"))
    assert (fight.hp >= 0).all() and (fight.hp <= most_hp).all()
    assert (fight.shield >= 0).all() and (fight.shield <= most_shield).all()
    assert (np.diff(fight.hp, axis=0) <= 0).all()  # nothing heals Protoss
    assert (np.diff(fight.shield, axis=0) <= 8 * 0.125).all()  # shields only as fast as they grow
    assert not lives.all() and (lives[:-1] | ~lives[1:]).all()  # the dead stay so,
    dead = ~lives[:-1]
    for name in ("x", "y", "cool", "shield"):  # and do nothing
        np.testing.assert_array_equal(getattr(fight, name)[1:][dead], getattr(fight, name)[:-1][dead])
    np.testing.assert_array_equal(alive(env.spec, shown.action_mask), lives[:, :n])
    np.testing.assert_array_equal(shown.action_mask.sum(-1)[~lives[:, :n]], 1)
    assert (actions[~lives[:-1, :n]] == 0).all() and not shown.obs[~lives[:, :n]].any()
    # Reward is what enemies lost.
    lost = (fight.hp + fight.shield)[:, n:]
    fallen = (lives[:-1] & ~lives[1:])[:, n:].sum(1)
    worth = np.maximum((lost[:-1] - lost[1:]).sum(1), 0) + 10 * fallen
    scale = 20 / (10 * (len(kinds) - n) + 200 + (most_hp + most_shield)[n:].sum())
    over = shown.terminated[1:]
    np.testing.assert_allclose(shown.reward[1:, 0][~over], worth[~over] * scale, rtol=1e-5, atol=1e-6)
    assert (shown.reward == shown.reward[:, :1]).all()


def test_orders_that_cannot_be_carried_out_are_stops(team):
    env, run = team
    params = with_level(env.default_params, "smac", enemy_health=0.3)
    (states, shown), _ = run(params, KEY, order_of())
    t = int((states.inner.hp[:, 5:] <= 0).any(1).argmax())
    assert t and not shown.terminated[t]
    state = jax.tree.map(lambda x: x[t], states)
    gone = int((state.inner.hp[5:] <= 0).argmax())
    lives = state.inner.hp[:5] > 0
    step = jax.jit(env.step)

    def after(action):
        return step(KEY, state, jnp.asarray(action, jnp.int32), params)[0].inner

    stop = after(np.where(lives, 1, 0))
    for action in (0, 6 + gone, 99):
        jax.tree.map(np.testing.assert_array_equal, after(np.where(lives, action, 0)), stop)
    # Whatever the dead are told.
    first_fell = np.arange(10) > 0
    fight = dataclasses.replace(
        state.inner, hp=np.where(first_fell, state.inner.hp, 0), shield=np.where(first_fell, state.inner.shield, 0)
    )
    state = dataclasses.replace(state, inner=fight)
    stop = after(np.where(lives & first_fell[:5], 1, 0))
    for told in (1, 2, *range(6, 11)):
        jax.tree.map(np.testing.assert_array_equal, after([told, *np.where(lives[1:], 1, 0)]), stop)


@pytest.fixture(scope="module")
def marines():
    return jaxmarl_envs.make("micro/3m")


def test_a_flawless_win_returns_twenty(marines):
    env = marines
    params = with_level(env.default_params, "passive", goal_x=16.0, advance=1.0)
    wins, total, over = first_episodes(env, "nearest", 4, 60, KEY, params)
    assert wins == 1 and over.all()
    np.testing.assert_allclose(total, 20, rtol=1e-6)


@pytest.mark.slow
def test_the_enemy_by_level(marines):
    """From harmless to strong; a sane enemy beats random play."""
    env = marines
    found = {}
    for level in ("passive", "easy", "smac", "focus"):
        found[level] = first_episodes(env, "nearest", 64, 60, KEY, with_level(env.default_params, level))
    wins = {level: float(won) for level, (won, _, _) in found.items()}
    assert wins["passive"] == 1 and wins["easy"] > 0.95 and wins["smac"] >= wins["focus"]
    harder = {}
    for damage in (1.0, 1.5):
        params = with_level(env.default_params, "smac", enemy_damage=damage)
        harder[damage] = float(first_episodes(env, "nearest", 64, 60, KEY, params)[0])
    assert harder[1.5] < harder[1.0] - 0.3
    won, total, over = first_episodes(env, None, 64, 60, KEY, env.default_params)
    assert won <= 0.02 and 0.5 < total < 6 and over.all()


def test_guards_stand_and_the_harmless_do_not_shoot(marines):
    env = marines
    stop = jnp.ones(3, jnp.int32)
    states, shown = repeat(env, 60, KEY, stop, with_level(env.default_params, "guard"))
    assert (np.asarray(states.inner.x)[:, 3:] == np.asarray(states.inner.x)[0, 3:]).all()
    assert not shown.terminated.any() and shown.truncated.tolist() == [False] * 59 + [True]
    assert env.spec.episode_limit == 60 and not shown.metrics["win"].any()
    states, _ = repeat(env, 60, KEY, stop, with_level(env.default_params, "passive", advance=1.0))
    assert (np.asarray(states.inner.x)[-1, 3:] < np.asarray(states.inner.x)[0, 3:] - 4 * CELL).all()
    assert (np.asarray(states.inner.hp) == 45).all()
    _, shown = repeat(env, 60, KEY, stop, with_level(env.default_params, "smac"))
    ends = int(shown.terminated.argmax())  # who stands and does not shoot loses
    assert shown.terminated[ends] and not shown.truncated[ends] and shown.metrics["dead_allies"][ends] == 3


# Observation, state and number of actions as SMAC has them.
SIZES = {
    "3m": (30, 48), "8m": (80, 168), "25m": (250, 950), "5m_vs_6m": (55, 98), "8m_vs_9m": (85, 179),
    "10m_vs_11m": (105, 243), "27m_vs_30m": (285, 1170), "MMM": (160, 290), "MMM2": (176, 322), "2s3z": (80, 120),
    "3s5z": (128, 216), "3s5z_vs_3s6z": (136, 230), "1c3s5z": (162, 270), "3s_vs_3z": (36, 54), "3s_vs_4z": (42, 61),
    "3s_vs_5z": (48, 68), "2m_vs_1z": (16, 26), "2s_vs_1sc": (17, 27), "6h_vs_8z": (78, 140),
    "bane_vs_bane": (336, 984), "so_many_baneling": (202, 397), "corridor": (156, 282), "2c_vs_64zg": (332, 342),
}  # fmt: skip


def test_sizes_are_those_of_smac():
    assert set(SIZES) == set(MAPS)
    for name, (obs, state) in SIZES.items():
        env = jaxmarl_envs.make(f"micro/{name}")
        spec = env.spec
        assert (spec.obs_shape, spec.state_size) == ((obs,), state), name
        assert spec.num_actions == 6 + env.unwrapped.plan.n_enemies and spec.episode_limit == MAPS[name].limit
        start = env.default_params.start
        assert start.shape == (spec.n_agents + spec.num_actions - 6, 2)
        distance = np.linalg.norm(start[:, None] - start[None], axis=-1) + 9 * np.eye(len(start))
        assert distance.min() > 0.5, name  # nobody starts in another


@pytest.mark.parametrize("variant", ["3m", "MMM", "corridor", "terran_5_vs_6", "protoss_3_vs_3"])
def test_entities_name_every_column(variant):
    env = jaxmarl_envs.make(f"micro/{variant}")
    spec = env.spec
    assert AgentId(LastAction(env)).spec.entities == spec.entities and ObserveState(env).spec.entities == ()
    at = 0
    for block in spec.entities:
        assert block.start == at
        at += block.count * len(block.features)
    assert (at,) == spec.obs_shape
    obs = jnp.arange(float(at))
    enemies = spec.entities[1]
    assert enemies.read(obs)[1, 2] == enemies.start + 2 * enemies.count + 1


def test_fights_of_equal_plans_are_one_program(marines):
    easy, shown = (jaxmarl_envs.make("micro/3m", **o) for o in ({"difficulty": "easy"}, {"own_position": "shown"}))
    assert easy == marines and hash(easy) == hash(marines) and shown != marines
    assert easy.default_params.accuracy < marines.default_params.accuracy
    before = repeat._cache_size()
    for level in ("smac", "kite"):
        repeat(easy, 60, KEY, jnp.ones(3, jnp.int32), with_level(easy.default_params, level, enemy_damage=0.7))
    assert repeat._cache_size() <= before + 1


def test_drawn_teams():
    env = jaxmarl_envs.make("micro/terran_5_vs_7")
    states, shown = jax.jit(jax.vmap(env.reset, (0, None)))(jax.random.split(KEY, 512), env.default_params)
    fight = jax.tree.map(np.asarray, states.inner)
    shares = [(fight.kinds == k).mean() for k in range(3)]
    np.testing.assert_allclose(shares, (0.45, 0.45, 0.1), atol=0.03)
    np.testing.assert_array_equal(fight.kinds[:, :5], fight.kinds[:, 5:10])  # enemies are our team and two more
    assert not (fight.kinds[:, :5] == 2).all(1).any()  # never medivacs only
    assert (fight.x > 0).all() and (fight.x < 32 * CELL).all() and (fight.y > 0).all() and (fight.y < 32 * CELL).all()
    away = np.abs(fight.x[:, :5] - fight.x[:, :1]).max(1) / CELL
    assert 0.3 < (away > 4).mean() < 0.75  # half of the fights start from all over the left half
    assert len(np.unique(fight.x[:, 0])) > 200 and shown.action_mask[..., 1].all()


@pytest.mark.parametrize("variant", ["3m", pytest.param("terran_5_vs_6", marks=pytest.mark.slow)])
def test_rules_do_what_is_allowed(variant):
    env = jaxmarl_envs.make(f"micro/{variant}")

    @jax.jit
    def run(key, params):
        def body(carry, key):
            state, shown = carry
            legal = []
            for rule in env.unwrapped.rules.values():
                action = rule(shown)
                legal.append(jnp.take_along_axis(shown.action_mask, action[:, None], 1).all())
            random = random_action(env.spec, key, shown.action_mask)
            action = jnp.where(jax.random.bernoulli(key, 0.3), random, action)
            return env.step(key, state, action, params), jnp.stack(legal)

        start = env.reset(key, params)
        return jax.lax.scan(body, start, jax.random.split(key, 40))[1]

    assert np.asarray(run(KEY, env.default_params)).all()


@pytest.mark.parametrize(
    ("variant", "options", "words"),
    [
        ("3x", {}, ["unknown environment 'micro/3x'", "did you mean 'micro/3m'?", "RACE_N_vs_M"]),
        ("protos_5_vs_5", {}, ["did you mean 'micro/protoss_5_vs_5'?"]),
        ("protoss_05_vs_5", {}, ["unknown environment 'micro/protoss_05_vs_5'"]),
        ("protoss_5_vs_-5", {}, ["unknown environment"]),
        ("protoss_5_vs_4", {}, ["no fewer enemies", "got 5 against 4"]),
        ("zerg_0_vs_4", {}, ["1 to 32 allies", "got 0 against 4"]),
        ("zerg_33_vs_40", {}, ["1 to 32 allies", "got 33 against 40"]),
        ("terran_5_vs_65", {}, ["at most 64"]),
        ("3m", {"difficulty": "hard"}, ["micro/3m: difficulty must be 'passive' or", "got 'hard'"]),
        ("3m", {"difficulty": 9}, ["difficulty must be", "got 9"]),
        ("3m", {"dificulty": "easy"}, ["unknown option 'dificulty'; did you mean 'difficulty'?"]),
        ("3m", {"reward": "dense"}, ["reward must be 'positive' or 'abs' or 'sparse', got 'dense'"]),
        ("3m", {"substeps": 3}, ["substeps must be 1, 2, 4 or 8, got 3"]),
        ("3m", {"substeps": 16}, ["substeps must be an integer from 1 to 8, got 16"]),
        ("3m", {"own_position": True}, ["own_position must be 'hidden' or 'shown', got True"]),
        ("terran_5_vs_5", {"start": "jitter"}, ["unknown option 'start'"]),
    ],
)
def test_bad_input(variant, options, words):
    with pytest.raises(ValueError) as error:
        jaxmarl_envs.make(f"micro/{variant}", **options)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


@pytest.mark.parametrize("variant", [pytest.param("2c_vs_64zg", marks=pytest.mark.slow), "terran_3_vs_3"])
def test_every_step_is_drawn(variant):
    env = jaxmarl_envs.make(f"micro/{variant}")
    rule = jax.jit(env.unwrapped.rules["nearest"])
    episode = record_episode(env, KEY, lambda key, shown: rule(shown), max_steps=14)
    frames = render_frames(env, episode)
    assert len(frames) == len(episode) + 1
    for before, after in itertools.pairwise(frames):
        assert before.shape == (480, 640, 3) and (before != after).any()
    if variant.startswith("2c"):
        colors = {tuple(color) for color in frames[0].reshape(-1, 3)}
        assert {GROUND, CLIFF} <= {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colors}
