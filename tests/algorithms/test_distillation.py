"""Distillation: what the student is taught, and why the teacher has to be deterministic."""

import dataclasses

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
import pytest
from jaxmarl_envs import VectorEnv
from toy_envs import context

from jaxmarl_suite.algorithms.core._views import sequential_view
from jaxmarl_suite.algorithms.ppo._decentralized import local_policy
from jaxmarl_suite.algorithms.ppo._policies import autoregressive_policy
from jaxmarl_suite.algorithms.ppo.tad_ppo import Distiller, TADConfig, make_distillation
from jaxmarl_suite.networks import make_network
from jaxmarl_suite.ops import categorical

ENV = jaxmarl_envs.make("matrix/xor")
CONFIG = TADConfig(
    num_envs=128, rollout_length=1, epochs=4, hidden=(), distill_learning_rate=0.05, share_parameters=False
)
HEAD = categorical(2)


def undecided_teacher():
    """Plays (0, 1) and (1, 0) with probability 1/2 each: an optimal joint policy of xor."""
    view = sequential_view(ENV.spec, HEAD)
    policy = autoregressive_policy(make_network(view.size, 2, extra_size=view.extra_size, hidden=()), view, HEAD)
    kernel = np.zeros((view.size + view.extra_size, 2), np.float32)
    first = view.size + 2  # behind the state and the one-hot of k: the first agent's action
    kernel[first, 1] = kernel[first + 1, 0] = 30.0
    return policy, {"head": {"params": {"Dense_0": {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(2)}}}}


def distill(teacher, teacher_params, updates=60):
    """The student's action probabilities [N, A], and the last metrics."""
    student = local_policy(CONFIG, ENV)
    algorithm = make_distillation(Distiller(CONFIG, ENV.spec, teacher, student), ENV)
    ctx = context(CONFIG, ENV, horizon=updates)

    @jax.jit
    def run(key):
        state = dataclasses.replace(algorithm.init(key, ctx), teacher=teacher_params)

        def update(clock, carried):
            return algorithm.update(carried[0], dataclasses.replace(ctx, clock=clock))

        first = algorithm.update(state, ctx)
        state, metrics = jax.lax.fori_loop(1, updates, update, first)
        timestep = VectorEnv(ENV, 1).reset(key, ctx.env_params).timestep
        log_prob = []
        for action in range(2):
            x, extra = student.view.encode(timestep.obs, timestep.state, jnp.zeros((1, 2), jnp.int32))
            networks = jax.vmap(student.network.step, (0, 1, 1, 1, None), (1, 1))
            output, _ = networks(state.student.params, student.initial_carry(1), x, extra, timestep.done)
            log_prob.append(HEAD.log_prob(output, timestep.action_mask, jnp.full((1, 2), action))[0])
        return jnp.exp(jnp.stack(log_prob, axis=-1)), metrics

    return run(jax.random.key(0))


def expected_return(p):
    payoff = np.asarray(ENV.default_params.payoff).reshape(2, 2)
    return float(np.asarray(p[0]) @ payoff @ np.asarray(p[1]))


def test_the_greedy_teacher_is_matched():
    p, metrics = distill(*undecided_teacher())
    np.testing.assert_allclose(p, [[1, 0], [0, 1]], atol=0.02)  # the tie of the first choice goes to action 0
    assert expected_return(p) == pytest.approx(1.0, abs=0.03)
    assert metrics.learner["agreement"] == 1.0


def test_sampled_labels_give_the_product_of_the_marginals():
    """The same optimal teacher, cloned by its samples: the student does no better than chance."""
    teacher, params = undecided_teacher()

    def sampled(params, carry, timestep, key, greedy=False):
        return teacher.select(params, carry, timestep, key, greedy=False)

    p, metrics = distill(teacher._replace(select=sampled), params)
    np.testing.assert_allclose(p, 0.5, atol=0.08)
    assert expected_return(p) == pytest.approx(0.5, abs=0.02)
    assert metrics.learner["agreement"] < 0.8
