"""Known optima reached, known failures shown, known values learned."""

import dataclasses

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from toy_envs import Quadratic, QuadraticParams, ThreeSteps, ThreeStepsParams, context

from jaxmarl_suite import algorithms

# Both with three actions, so that one program plays both. In "xor" the third action is useless.
CLIMBING = ((11, -30, 0), (-30, 7, 6), (0, 0, 5))
XOR = ((0, 1, 0), (1, 0, 0), (0, 0, 0))


def train(phases, config, env, env_params, updates):
    """The last phase's algorithm, and states and metrics of one lane for each row of `env_params`."""
    lanes = jax.tree.leaves(env_params)[0].shape[0]
    state = metrics = handed = None
    for phase, horizon in zip(phases, updates):

        def run(key, handed, params, phase=phase, horizon=horizon):
            ctx = context(config, env, horizon=horizon, env_params=params)
            init_key, key = jax.random.split(key)
            algorithm = phase.algorithm
            state = algorithm.init(init_key, ctx) if phase.begin is None else phase.begin(handed, init_key, ctx)

            def update(clock, carried):
                return algorithm.update(carried[0], dataclasses.replace(ctx, clock=clock))

            first = algorithm.update(state, dataclasses.replace(ctx, clock=jnp.int32(0)))
            return jax.lax.fori_loop(1, horizon, update, first)

        keys = jax.random.split(jax.random.key(3), lanes)
        state, metrics = jax.jit(jax.vmap(run))(keys, handed, env_params)
        handed = state if phase.artifact is None else phase.artifact(state)
    return phases[-1].algorithm, state, metrics


def greedy_payoffs(env, algorithm, state, env_params, acts):
    """What each policy earns in the one-shot games, [lane] each."""

    def play(state, params):
        timestep = jax.tree.map(lambda a: a[None], env.reset(jax.random.key(0), params)[1])
        carry = algorithm.init_carry(1)
        ctx = context(None, env, env_params=params)
        results = {}
        for name, act in acts.items():
            action, _ = act(algorithm.policy(state), carry, timestep, jax.random.key(0), ctx)
            results[name] = params.payoff[0, 3 * action[0, 0] + action[0, 1]]
        return results

    return jax.jit(jax.vmap(play))(state, env_params)


@pytest.mark.parametrize(
    "name, climbing",
    [
        # The best joint action is dangerous for agents that act independently: they settle on 7.
        pytest.param("ippo", 7, marks=pytest.mark.slow),
        pytest.param("mappo", 7, marks=pytest.mark.slow),
        ("happo", 7),
        ("tad-ppo", 11),
    ],
)
def test_climbing_and_xor(name, climbing):
    """Equal settings for all. The entropy bonus starts high and is annealed to 0; without it TAD-PPO's teacher gives up the
    best action before the other agent has learned to answer it, and ends on 7 as well.
    """
    spec = algorithms.get(name)
    config = dataclasses.replace(
        spec.default_config, num_envs=64, rollout_length=1, epochs=4, hidden=(16,), learning_rate=4e-3,
        critic_learning_rate=1e-2, entropy=1.0,
    )  # fmt: skip
    if name == "tad-ppo":
        config = dataclasses.replace(config, distill_learning_rate=1e-2)
    env = jaxmarl_envs.make("matrix/climbing")
    payoff = jnp.asarray([CLIMBING, XOR], jnp.float32).reshape(2, 1, 9)
    successor = jnp.stack([jnp.asarray(env.default_params.successor)] * 2)
    env_params = dataclasses.replace(env.default_params, payoff=payoff, successor=successor)
    algorithm, state, _ = train(spec.build(config, env), config, env, env_params, (120, 40))
    acts = {"own": algorithm.act, **algorithm.extra_acts}
    for policy, earned in greedy_payoffs(env, algorithm, state, env_params, acts).items():
        np.testing.assert_array_equal(earned, [climbing, 1], err_msg=policy)


@pytest.mark.parametrize("name", ["mappo", pytest.param("tad-ppo", marks=pytest.mark.slow)])
def test_a_time_limit_is_not_an_end(name):
    """Reward 1 a step, γ = 1/2. Cut after three steps every state is worth 1 / (1 - γ) = 2; ended there, 7/4, 3/2, 1."""
    env = ThreeSteps()
    config = algorithms.get(name).config(
        num_envs=4, rollout_length=3, epochs=4, gamma=0.5, hidden=(8,), critic_learning_rate=2e-2
    )
    phases = algorithms.get(name).build(config, env)[:1]
    env_params = ThreeStepsParams(terminates=jnp.array([False, True]))
    _, _, metrics = train(phases, config, env, env_params, (100,))
    np.testing.assert_allclose(metrics.learner["value"], [2.0, (7 / 4 + 3 / 2 + 1) / 3], atol=0.03)


@pytest.mark.parametrize(
    "name, more",
    [
        ("ippo", {"distribution": "tanh-normal", "std_from_network": True}),
        pytest.param("mappo", {}, marks=pytest.mark.slow),
        pytest.param("happo", {}, marks=pytest.mark.slow),
        ("tad-ppo", {"distill_learning_rate": 1e-2, "distill_epochs": 8}),
    ],
)
def test_a_quadratic_game_of_real_numbers(name, more):
    """The optimum of `Quadratic` pays 0, silence (0, 0) pays -0.495, uniform play -1.5 on average. A second lane wants
    a sum of -1, whose optimum (-0.15, -0.85) is nearer to a bound. Step sizes are annealed as deviations shrink: at a
    constant one the deviation that a network gives becomes so small that updates overshoot the optimum (-0.02 to -0.1).
    """
    spec = algorithms.get(name)
    config = dataclasses.replace(
        spec.default_config, num_envs=64, rollout_length=1, epochs=4, hidden=(8,), learning_rate=1e-2,
        critic_learning_rate=1e-2, entropy=0.0, anneal_learning_rate=True, **more,
    )  # fmt: skip
    env, totals = Quadratic(), jnp.array([0.5, -1.0])
    algorithm, state, metrics = train(spec.build(config, env), config, env, QuadraticParams(totals), (100, 30))

    def play(state, params):
        timestep = jax.tree.map(lambda a: a[None], env.reset(jax.random.key(0), params)[1])
        ctx = context(config, env, env_params=params)
        acts = {"own": algorithm.act, **algorithm.extra_acts}
        args = algorithm.policy(state), algorithm.init_carry(1), timestep, jax.random.key(0), ctx
        return {name: act(*args)[0][0, :, 0] for name, act in acts.items()}

    played = jax.jit(jax.vmap(play))(state, QuadraticParams(totals))
    for policy, actions in played.items():
        first, second = np.asarray(actions).T
        pay = -((first + second - totals) ** 2) - (first - second - 0.7) ** 2 / 2
        assert (pay > -0.01).all(), (policy, actions)
    if name == "tad-ppo":  # the student plays what the teacher would, first agent and second
        np.testing.assert_allclose(played["own"], played["teacher"], atol=1e-3)
        assert (metrics.learner["distance"] < 1e-3).all()
