"""One whole update of every PPO method against a reference in plain numpy, number by number."""

import dataclasses
import itertools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_ppo as reference
from jaxmarl_envs import VectorEnv
from toy_envs import Continuous, Noisy, Padded, ThreeSteps, context

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms.ppo import _core as _ppo
from jaxmarl_suite.algorithms.ppo._core import PPOLearners
from jaxmarl_suite.ops import ValueNorm

ENV = Noisy()
N = ENV.spec.n_agents
PROGRESS = 0.3
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
CASES = [
    *((name, "forward", True) for name in ("ippo", "mappo", "tad-ppo")),
    *((name, "recurrent", False) for name in ("mappo", "tad-ppo")),
    ("happo", "forward", False),
]
OTHER_CASES = [
    ("ippo", "recurrent", False),  # as with real numbers
    ("happo", "recurrent", False),
    *itertools.product(("ippo", "mappo", "tad-ppo"), ("forward",), (False,)),
    *itertools.product(("ippo", "mappo", "tad-ppo"), ("recurrent",), (True,)),
]
REALS = Continuous()
CONTINUOUS_CASES = [
    ("ippo", "recurrent", False, "tanh-normal", True),
    ("mappo", "forward", True, "gaussian", False),
    ("happo", "forward", False, "gaussian", False),
    ("tad-ppo", "forward", True, "gaussian", True),
]
UNEQUAL = Padded()
UNEQUAL_CASES = [("happo", "forward", False, "gaussian", True), ("tad-ppo", "forward", True, "tanh-normal", False)]


def config_of(name, memory, shared, **more):
    spec = algorithms.get(name)
    settings = {
        "num_envs": 3,
        "rollout_length": 6,
        "chunk_length": 3,
        "epochs": 2,
        "hidden": (3,),
        "memory_size": 2,
        "recurrent": memory == "recurrent",
        "share_parameters": shared,
        "learning_rate": 0.1,
        "critic_learning_rate": 0.2,
        "adam_eps": 0.05,
        "max_grad_norm": 0.4,
        "entropy": 0.2,
        "entropy_end": 0.05,
        "clip": 0.05,
        "huber_delta": 0.7,
        "anneal_learning_rate": True,
        # The student's parameters are shared or not; for the teacher the flag picks what it sees.
        **({"teacher_context": "state" if shared else "local"} if name == "tad-ppo" else {}),
    }
    return spec.config(**(settings | more))


def random_state(algorithm, config, ctx, env=ENV, seed=0):
    """A state in the middle of training, made without compiling `init`: everything is random, nothing is zero."""
    rng = np.random.default_rng(seed)

    def noise(tree):
        return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) * 0.5, s.dtype), tree)

    def fill(learner):
        return dataclasses.replace(
            learner,
            params=noise(learner.params),
            opt=jax.tree.map(lambda s: jnp.asarray(np.zeros(s.shape, s.dtype)), learner.opt),
        )

    shapes = jax.eval_shape(algorithm.init, jax.random.key(0), ctx)
    ppo = getattr(shapes, "ppo", shapes)
    ppo = dataclasses.replace(
        ppo,
        learners=PPOLearners(
            fill(ppo.learners.actor),
            fill(ppo.learners.critic),
            ValueNorm(jnp.float32(0.4), jnp.float32(1.5), jnp.float32(0.6)),
        ),
        env=jax.jit(VectorEnv(env, config.num_envs).reset)(jax.random.key(5), ctx.env_params),
        actor_carry=noise(ppo.actor_carry),
        critic_carry=noise(ppo.critic_carry),
        key=jax.random.key(seed),
    )
    if ppo is shapes or not hasattr(shapes, "ppo"):
        return ppo
    return dataclasses.replace(shapes, ppo=ppo, student=fill(shapes.student))


def update_and_rollout(algorithm):
    """`(state, ctx) -> ((state, metrics), trajectory)`: the update with the rollout that it learned from."""

    def fn(state, ctx):
        seen = []

        def spy(*args):
            seen.append(_rollout(*args))
            return seen[-1]

        with mock.patch.object(_ppo, "rollout", spy):
            result = algorithm.update(state, ctx)
        return result, seen[-1][2]

    return fn


_rollout = _ppo.rollout


def reference_head(config, spec):
    if spec.is_discrete:
        return reference.Categorical(spec.num_actions)
    kind = reference.Gaussian if config.distribution == "gaussian" else reference.TanhNormal
    return kind(spec.action_dim, *spec.action_bounds, config.initial_std)


def reference_method(name, config, env):
    shared, head = config.share_parameters, reference_head(config, env.spec)
    local, both = reference.local(shared), {"actor_rows": N}
    if name == "ippo":
        return reference.Method(head, local, shared, critic_view=local, critic_shared=shared, critic_rows=N,
                                critic_outputs=N, **both)  # fmt: skip
    if name in ("mappo", "happo"):
        return reference.Method(head, local, shared, critic_view=reference.central, critic_shared=True, critic_rows=1,
                                critic_outputs=1, **both)  # fmt: skip
    own_obs = config.teacher_context == "local"
    return reference.Method(
        head,
        reference.sequential(head, own_obs),
        True,
        actor_rows=N if own_obs else 1,
        critic_view=reference.sequential(head, False),
        critic_shared=True,
        critic_rows=1,
        critic_outputs=N,
        sequential=True,
    )


def to_numpy(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def assert_same(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4), found, expected)


@pytest.fixture(scope="module")
def run():
    """Results of one compiled update by case; compiled with few optimizations, which is quicker here."""
    made = {}

    def get(case, env):
        if case not in made:
            more = dict(zip(("distribution", "std_from_network"), case[3:]))
            config = config_of(*case[:3], **more)
            (phase, *_) = algorithms.get(case[0]).build(config, env)
            ctx = context(config, env, clock=3, horizon=10)
            state = random_state(phase.algorithm, config, ctx, env)
            fn = jax.jit(update_and_rollout(phase.algorithm), compiler_options=QUICK)
            made[case] = (config, state, *fn(state, ctx))
        return made[case]

    return get


@pytest.mark.parametrize(
    "case",
    [
        *CASES,
        *CONTINUOUS_CASES,
        *UNEQUAL_CASES,
        *(pytest.param(case, marks=pytest.mark.slow) for case in OTHER_CASES),
    ],
    ids=lambda case: "-".join(map(str, case)),
)
def test_update(run, case):
    env = REALS if case in CONTINUOUS_CASES else UNEQUAL if case in UNEQUAL_CASES else ENV
    config, before, (after, metrics), rollout = run(case, env)
    if case[0] == "tad-ppo":
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), before.student, after.student))
        before, after = before.ppo, after.ppo
    data = {
        "obs": rollout.timestep.obs,
        "state": rollout.timestep.state,
        "mask": rollout.timestep.action_mask,
        "start": rollout.timestep.done,
        "action": rollout.record.action,
        "reward": rollout.next_timestep.reward,
        "terminated": rollout.next_timestep.terminated,
        "truncated": rollout.next_timestep.truncated,
        "final_obs": rollout.next_timestep.final_obs,
        "final_state": rollout.next_timestep.final_state,
    }
    data = {name: np.asarray(a) for name, a in data.items()}
    # The rollout has everything that can go wrong in it, in the middle of chunks too.
    assert data["terminated"][:-1].any() and data["truncated"][:-1].any() and data["start"][[1, 2, 4, 5]].any()
    if env is ENV:
        assert (data["mask"].sum(-1) == 1).any() and (data["mask"].sum(-1) > 1).any()
        assert np.take_along_axis(data["mask"], data["action"][..., None], axis=-1).all(), "an illegal action"
    else:
        low, high = env.spec.action_bounds
        assert data["action"].shape == (6, 3, N, 2) and ((data["action"] < low) | (data["action"] > high)).any()
    norm = before.learners.value_norm
    start = {
        "actor": to_numpy(before.learners.actor.params),
        "critic": to_numpy(before.learners.critic.params),
        "actor_carry": to_numpy(before.actor_carry),
        "critic_carry": to_numpy(before.critic_carry),
        "value_norm": (float(norm.mean), float(norm.mean_square), float(norm.weight)),
    }
    method = reference_method(case[0], config, env)
    orders = list(itertools.permutations(range(N))) if case[0] == "happo" else [None]
    fits = []
    for order in orders:
        expected = reference.update(dataclasses.replace(method, order=order), config, config, start, data, PROGRESS)
        np.testing.assert_allclose(rollout.record.log_prob, expected["log_prob"], rtol=1e-4, atol=1e-5)
        assert_same(after.learners.critic.params, expected["critic"])
        np.testing.assert_allclose(after.critic_carry, expected["critic_carry"], rtol=1e-4, atol=1e-5)
        norm = after.learners.value_norm
        np.testing.assert_allclose([norm.mean, norm.mean_square, norm.weight], expected["value_norm"], rtol=1e-4)
        try:
            assert_same(after.learners.actor.params, expected["actor"])
            assert_same({name: metrics.learner[name] for name in expected["metrics"]}, expected["metrics"])
            fits.append(order)
        except AssertionError:
            if order is None:
                raise
    assert len(fits) == 1, "HAPPO's result must be that of one order of the agents, and the order must matter"
    assert 0 < metrics.learner["clip_fraction"] < 1  # clipping took part in what was compared
    assert metrics.episodes["illegal"].total == 0


def test_happo_of_one_agent_is_mappo():
    """Nobody comes before the only agent, so nothing weights its advantages."""
    env = Noisy(n_agents=1)
    results = []
    for name in ("mappo", "happo"):
        config = config_of(name, "forward", False)
        (phase,) = algorithms.get(name).build(config, env)
        ctx = context(config, env)
        state = random_state(phase.algorithm, config, ctx, env)
        results.append(jax.jit(phase.algorithm.update, compiler_options=QUICK)(state, ctx))
    (mappo, mappo_metrics), (happo, happo_metrics) = results
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # noqa: E731
    jax.tree.map(close, (mappo.learners, mappo_metrics), (happo.learners, happo_metrics))


@pytest.mark.parametrize(
    "name, memory, shared",
    [
        ("mappo", "forward", True),
        pytest.param("ippo", "forward", True, marks=pytest.mark.slow),
        pytest.param("happo", "forward", False, marks=pytest.mark.slow),
        pytest.param("tad-ppo", "recurrent", True, marks=pytest.mark.slow),
    ],
)
def test_first_gradient_step_starts_from_ratio_one_and_runs_without_jit(name, memory, shared):
    """With a single epoch new and old policy are the same: no divergence, nothing clipped; and nothing needs tracing."""
    config = config_of(name, memory, shared, num_envs=2, rollout_length=1, chunk_length=1, epochs=1)
    env = ThreeSteps()
    (phase, *_) = algorithms.get(name).build(config, env)
    ctx = context(config, env)
    state = random_state(phase.algorithm, config, ctx, env)
    with jax.disable_jit():
        after, metrics = phase.algorithm.update(state, ctx)
    assert metrics.learner["approx_kl"] == pytest.approx(0.0, abs=1e-6)
    assert metrics.learner["clip_fraction"] == 0.0
    if shared:  # minus the mean of advantages that have mean zero
        assert metrics.learner["policy_loss"] == pytest.approx(0.0, abs=1e-6)
    floats = [x for x in jax.tree.leaves(after) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert all(np.isfinite(x).all() for x in floats)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype) or pytest.fail("changed"), after, state)
