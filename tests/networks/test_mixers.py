"""Mixers and QTRAN's networks: against NumPy, greedy actions, monotonicity, gradients, refusals."""

import itertools

import jax
import jax.numpy as jnp
import mixer_oracles as oracle
import numpy as np
import pytest

from jaxmarl_suite.networks import (
    central_mixer,
    duplex_mixer,
    independent_mixer,
    joint_value,
    monotonic_mixer,
    state_value,
    sum_mixer,
)

N, A, G, D, F = 3, 4, 5, 6, 7
STATES, NETWORKS = 1000, 100


def qplex(n_agents=N, state_size=G, transformation="weighted-head", **options):
    return duplex_mixer(n_agents, A, state_size, D, transformation=transformation, **options)


TEAM_MIXERS = {
    "vdn": lambda n=N, g=G: sum_mixer(),
    "qmix": lambda n=N, g=G: monotonic_mixer(n, g),
    "qplex": lambda n=N, g=G: qplex(n, g),
    "qplex, one layer": lambda n=N, g=G: qplex(n, g, heads=4, depth=1),
    "qplex, qatten": lambda n=N, g=G: qplex(n, g, "qatten", heads=4, depth=1),
    "central": lambda n=N, g=G: central_mixer(n, g, hidden=32),
}
IGM_MIXERS = ("vdn", "qmix", "qplex", "qplex, qatten")


def random_inputs(batch, n_agents=N, state_size=G, seed=0):
    """Chosen and best utilities, actions, state, observations; best is at least chosen."""
    rng = np.random.default_rng(seed)
    chosen = rng.normal(size=(*batch, n_agents))
    best = chosen + rng.exponential(size=chosen.shape) * (rng.random(chosen.shape) < 0.7)
    action = rng.integers(0, A, size=chosen.shape)
    state, obs = rng.normal(size=(*batch, state_size)), rng.normal(size=(*batch, n_agents, D))
    return (
        *(jnp.asarray(a, jnp.float32) for a in (chosen, best)),
        jnp.asarray(action, jnp.int32),
        *(jnp.asarray(a, jnp.float32) for a in (state, obs)),
    )


def expected(name, params, chosen, best, action, state, obs):
    if name == "vdn":
        return np.sum(chosen, axis=-1)
    if name == "qmix":
        return oracle.qmix(params, chosen, state)
    if name == "central":
        return oracle.central(params, chosen, state)
    return oracle.qplex(params, chosen, best, action, state, obs, A)


@pytest.mark.parametrize("state_size", [G, 0])
@pytest.mark.parametrize("name", TEAM_MIXERS)
def test_a_team_mixer_is_its_formula(name, state_size):
    mixer = TEAM_MIXERS[name](N, state_size)
    params = mixer.init(jax.random.key(1))
    inputs = random_inputs((4, 5), state_size=state_size)
    values, penalty = jax.jit(mixer.mix)(params, *inputs)
    assert mixer.outputs == 1
    assert values.shape == (4, 5, 1) and values.dtype == jnp.float32
    assert penalty.shape == () and penalty.dtype == jnp.float32
    np.testing.assert_allclose(values[..., 0], expected(name, params, *inputs), rtol=1e-5, atol=1e-5)
    penalty_expected = oracle.qplex_penalty(params, *inputs[3:]) if name.endswith("qatten") else 0.0
    np.testing.assert_allclose(penalty, penalty_expected, rtol=1e-5, atol=1e-8)
    # Batch axes are only batch axes: none at all is accepted as well.
    single, _ = mixer.mix(params, *(a[1, 2] for a in inputs))
    np.testing.assert_allclose(single, values[1, 2], rtol=1e-5, atol=1e-5)


def test_independent_utilities_pass_unchanged():
    mixer = independent_mixer(N)
    inputs = random_inputs((4, 5))
    values, penalty = jax.jit(mixer.mix)(mixer.init(jax.random.key(0)), *inputs)
    np.testing.assert_array_equal(values, inputs[0])
    assert mixer.outputs == N
    assert penalty == 0.0


@pytest.mark.parametrize("state_size", [G, 0])
def test_qtran_networks_are_their_formulas(state_size):
    joint, alone = joint_value(N, A, F, state_size), state_value(state_size)
    _, _, action, state, _ = random_inputs((4, 5), state_size=state_size)
    features = jnp.asarray(np.random.default_rng(2).normal(size=(4, 5, N, F)), jnp.float32)
    params, state_params = joint.init(jax.random.key(1)), alone.init(jax.random.key(2))
    values = jax.jit(joint.value)(params, features, action, state)
    assert values.shape == (4, 5) and values.dtype == jnp.float32
    np.testing.assert_allclose(values, oracle.qtran_joint(params, features, action, state, A), rtol=1e-5, atol=1e-5)
    values = jax.jit(alone.value)(state_params, state)
    np.testing.assert_allclose(values, oracle.qtran_state(state_params, state), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.shape(params["params"]["encode"]["Dense_1"]["kernel"]), (F + A, F + A))


def random_nets(mixer, spread=2.0, seed=3):
    """One network for every ten states, wider than it is initialized; to make one for each would take longest."""
    params = jax.jit(jax.vmap(mixer.init))(jax.random.split(jax.random.key(seed), NETWORKS))
    return jax.tree.map(lambda p: spread * jnp.repeat(p, STATES // NETWORKS, axis=0), params)


@pytest.mark.parametrize("n_agents", [pytest.param(2, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("name", IGM_MIXERS)
def test_greedy_joint_action_is_the_tuple_of_greedy_actions(name, n_agents):
    """IGM on 1000 random states, 100 networks, with 2, 3 or 4 actions, and with any set of legal ones."""
    mixer = TEAM_MIXERS[name](n_agents)
    params = random_nets(mixer)
    joints = np.asarray(list(itertools.product(range(A), repeat=n_agents)))
    rng = np.random.default_rng(4)
    q = rng.normal(size=(STATES, n_agents, A)).astype(np.float32)
    _, _, _, state, obs = random_inputs((STATES,), n_agents, seed=5)

    @jax.jit
    @jax.vmap
    def values_of_all(params, q, legal, state, obs):
        """Values of all joint actions [S, J], by state."""

        def value(joint):
            chosen = q[jnp.arange(n_agents), joint]
            best = jnp.max(jnp.where(legal, q, jnp.finfo(jnp.float32).min), axis=-1)
            return mixer.mix(params, chosen, best, joint, state, obs)[0][0]

        return jax.vmap(value)(jnp.asarray(joints, jnp.int32))

    masks = [np.broadcast_to(np.arange(A) < size, q.shape) for size in (2, 3, 4)]
    some = rng.random(q.shape) < 0.6
    some |= np.arange(A) == rng.integers(0, A, size=(STATES, n_agents, 1))
    for legal in (*masks, some):
        values = np.asarray(values_of_all(params, q, legal, state, obs), np.float64)
        allowed = np.stack([legal[:, i, joints[:, i]] for i in range(n_agents)]).all(axis=0)
        values = np.where(allowed, values, -np.inf)
        greedy = np.where(legal, q, -np.inf).argmax(axis=-1)
        top_two = np.sort(values, axis=-1)[:, -2:]
        tied = top_two[:, 1] - top_two[:, 0] < 1e-5 * np.maximum(1.0, np.abs(top_two[:, 1]))
        assert tied.mean() < 0.05
        np.testing.assert_array_equal(joints[values.argmax(axis=-1)][~tied], greedy[~tied])
        # Where rounding makes a tie, the greedy actions are as good as any.
        at_greedy = values[np.arange(STATES), (joints[None] == greedy[:, None]).all(axis=-1).argmax(axis=-1)]
        np.testing.assert_allclose(at_greedy, values.max(axis=-1), rtol=1e-5, atol=1e-5)


def test_the_central_mixer_is_not_bound_to_greedy_actions():
    mixer = TEAM_MIXERS["central"]()
    _, slopes = random_slopes(mixer)
    assert (slopes < 0).any() and (slopes > 0).any()


def random_slopes(mixer):
    """Inputs, and derivatives of the value by the chosen utilities [S, N]."""
    inputs = random_inputs((STATES,), seed=6)

    def value(chosen, params, best, action, state, obs):
        return mixer.mix(params, chosen, best, action, state, obs)[0][0]

    chosen, *rest = inputs
    return inputs, np.asarray(jax.jit(jax.vmap(jax.grad(value)))(chosen, random_nets(mixer), *rest))


@pytest.mark.parametrize("name", ["vdn", "qmix"])
def test_monotone_in_every_utility(name):
    _, slopes = random_slopes(TEAM_MIXERS[name]())
    assert slopes.shape == (STATES, N)
    assert (slopes >= 0).all()
    assert (slopes > 0).mean() > 0.99


def test_qmix_rewards_agreement():
    """ELU is convex and weights are not negative, so Q(high, high) + Q(low, low) >= Q(high, low) + Q(low, high)."""
    mixer = TEAM_MIXERS["qmix"](2)
    _, _, _, state, _ = random_inputs((STATES,), 2, seed=7)
    low = np.random.default_rng(8).normal(scale=3, size=(STATES, 2)).astype(np.float32)
    high = low + np.random.default_rng(9).exponential(3, size=(STATES, 2)).astype(np.float32)

    @jax.jit
    @jax.vmap
    def value(params, chosen, state):
        return mixer.mix(params, chosen, chosen, jnp.zeros(2, jnp.int32), state, jnp.zeros((2, 0)))[0][0]

    params = random_nets(mixer)
    crossed = [np.stack([a[:, 0], b[:, 1]], axis=-1) for a, b in ((high, low), (low, high))]
    alike, apart = ([np.asarray(value(params, q, state), np.float64) for q in pair] for pair in ((high, low), crossed))
    size = np.max(np.abs([*alike, *apart]), axis=0)
    difference = sum(alike) - sum(apart)
    assert (difference >= -1e-5 * size).all()
    assert (difference > 1e-3 * size).any()


@pytest.mark.parametrize("transformation", ["weighted-head", "qatten"])
def test_qplex_advantage_is_exactly_zero_at_the_greedy_action(transformation):
    """Where all agents are greedy lambda has no say: values are those of any other lambda, to the last bit."""
    mixer = qplex(transformation=transformation)
    params = mixer.init(jax.random.key(0))
    chosen, _, action, state, obs = random_inputs((STATES,), seed=7)
    mix = jax.jit(mixer.mix)
    values, _ = mix(params, chosen, chosen, action, state, obs)
    other = {
        "params": {
            k: jax.tree.map(lambda p: 30.0 * p, v) if k in ("key", "agent", "act") else v
            for k, v in params["params"].items()
        }
    }
    np.testing.assert_array_equal(values, mix(other, chosen, chosen, action, state, obs)[0])
    np.testing.assert_array_equal(values, mix(params, chosen, chosen, (action + 1) % A, state, obs)[0])
    # Elsewhere it has: and it is positive.
    lower, _ = mix(params, chosen - 1.0, chosen, action, state, obs)
    assert np.abs(lower - mix(other, chosen - 1.0, chosen, action, state, obs)[0]).max() > 1e-2
    assert (np.asarray(lower) < np.asarray(values)).all()
    for s, a in zip(np.asarray(state[:50]), np.asarray(action[:50])):
        assert (oracle.qplex_importance(params["params"], s, a, A) > 0).all()


@pytest.mark.parametrize("transformation", ["weighted-head", "qatten"])
@pytest.mark.parametrize("stop_gradient", [True, False])
def test_qplex_gradients_by_hand(transformation, stop_gradient):
    """Q = sum of w q + b + (lambda - 1) w (q - m), where the last factor, w (q - m), may count as a constant."""
    mixer = qplex(transformation=transformation, stop_gradient=stop_gradient)
    params = mixer.init(jax.random.key(8))
    p = params["params"]
    chosen, best, action, state, obs = random_inputs((20,), seed=9)

    def value(params, chosen, best, action, state, obs):
        return mixer.mix(params, chosen, best, action, state, obs)[0][0]

    grad = jax.jit(jax.vmap(jax.grad(value, argnums=(0, 1, 2)), in_axes=(None, 0, 0, 0, 0, 0)))
    by_params, by_chosen, by_best = grad(params, chosen, best, action, state, obs)
    for b, (q, m, a, s, u) in enumerate(zip(*(np.asarray(x) for x in (chosen, best, action, state, obs)))):
        w, _, _ = oracle.qplex_weights(p, s, u)
        importance = oracle.qplex_importance(p, s, a, A)
        np.testing.assert_allclose(by_chosen[b], w if stop_gradient else w * importance, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(by_best[b], 0.0 * w if stop_gradient else w * (1 - importance), rtol=1e-4, atol=1e-5)
        if transformation == "weighted-head":
            through_w = q if stop_gradient else q + (importance - 1) * (q - m)
            sign = np.sign(oracle.mlp(p["weight"], s))
            got = by_params["params"]["weight"]["Dense_1"]["bias"][b]
            np.testing.assert_allclose(got, sign * through_w, rtol=1e-4, atol=1e-5)
        # lambda learns in either case; here through the last bias of the first head's key.
        key = oracle.mlp(p["key"], s, 0)[0]
        act_input = np.concatenate([s, np.eye(A)[a].ravel()])
        gates = oracle.sigmoid(oracle.mlp(p["agent"], s, 0)) * oracle.sigmoid(oracle.mlp(p["act"], act_input, 0))
        got = by_params["params"]["key"]["Dense_2"]["bias"][b, 0, 0]
        np.testing.assert_allclose(got, np.sign(key) * np.sum(gates * w * (q - m)), rtol=1e-4, atol=1e-5)


def test_parameters_start_within_the_bounds_of_torch():
    params = qplex(heads=40).init(jax.random.key(0))["params"]
    for layer, fan_in in (("Dense_0", G), ("Dense_1", 64)):
        for what in ("kernel", "bias"):
            drawn = np.asarray(params["key"][layer][what]) * fan_in**0.5
            assert np.abs(drawn).max() <= 1.0
            np.testing.assert_allclose(drawn.std(), 3**-0.5, rtol=0.05)
    first, second = np.asarray(params["key"]["Dense_1"]["kernel"])[:2]
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: independent_mixer(0), "iql: n_agents must be a whole number of at least 1, got 0"),
        (lambda: monotonic_mixer(1, G), "qmix mixes at least 2 agents, got n_agents 1; for one agent use"),
        (lambda: duplex_mixer(1, A, G), "qplex mixes at least 2 agents, got n_agents 1"),
        (lambda: central_mixer(1, G), "the central mixer mixes at least 2 agents"),
        (lambda: joint_value(1, A, F, G), "qtran mixes at least 2 agents"),
        (lambda: monotonic_mixer(N, -1), "qmix: state_size must be a whole number of at least 0, got -1"),
        (lambda: monotonic_mixer(N, G, embed=0), "qmix: embed must be a whole number of at least 1, got 0"),
        (lambda: duplex_mixer(N, 0, G), "qplex: num_actions must be .* at least 1, got 0"),
        (lambda: duplex_mixer(N, A, G, depth=0), "qplex: depth must be .* at least 1, got 0"),
        (lambda: duplex_mixer(N, A, G, heads=2.0), r"qplex: heads must be .* got 2\.0"),
        (lambda: duplex_mixer(N, A, G, transformation="linear"), "must be 'weighted-head' or 'qatten', got 'linear'"),
        (lambda: duplex_mixer(N, A, G, transformation="qatten"), "obs_size must be at least 1, got 0"),
        (lambda: central_mixer(N, G, hidden=0), "the central mixer: hidden must be .* got 0"),
        (lambda: joint_value(N, A, 0, G), "qtran: feature_size must be .* got 0"),
        (lambda: state_value(-1), "qtran: state_size must be .* at least 0, got -1"),
    ],
)
def test_sizes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["qmix", "qplex", "qplex, qatten", "central"])
def test_shapes_are_refused_before_they_are_broadcast(name):
    mixer = TEAM_MIXERS[name]()
    params = mixer.init(jax.random.key(0))
    chosen, best, action, state, obs = random_inputs((2, 3))
    with pytest.raises(ValueError, match=r"state must have shape \(2, 3, 5\), got \(3, 5\)"):
        mixer.mix(params, chosen, best, action, state[0], obs)
    with pytest.raises(ValueError, match=r"chosen must have shape \(2, 3, 3\), got \(2, 3, 2\)"):
        mixer.mix(params, chosen[..., :2], best, action, state, obs)
    if name == "qplex, qatten":
        with pytest.raises(ValueError, match=r"obs must have shape \(2, 3, 3, 6\), got \(2, 3, 3, 5\)"):
            mixer.mix(params, chosen, best, action, state, obs[..., :5])
