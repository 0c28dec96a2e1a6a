"""Joint policies: what is recorded while acting is what the loss computes again, greedy play, masks, causality."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxmarl_envs import EnvSpec, restart
from toy_envs import Noisy

from jaxmarl_suite.algorithms.core._views import local_view, sequential_view
from jaxmarl_suite.algorithms.ppo._policies import autoregressive_policy, independent_policy
from jaxmarl_suite.networks import attention_over_agents, attention_over_time, make_network
from jaxmarl_suite.ops import categorical

ENV = Noisy(n_agents=3)
SPEC = ENV.spec
HEAD = categorical(3)
T, E, N, A = 5, 4, 3, 3


def build(kind, memory_size):
    if kind in ("shared", "separate"):
        view = local_view(SPEC, agent_id=kind == "shared")
        network = make_network(view.size, A, hidden=(4,), memory_size=memory_size)
        return independent_policy(network, view, HEAD, shared=kind == "shared")
    if kind == "attention over time":
        view = local_view(SPEC, agent_id=True)
        return independent_policy(
            attention_over_time(view.size, A, window=3, width=4, heads=2), view, HEAD, shared=True
        )
    view = sequential_view(SPEC, HEAD, local_context=kind.endswith("local"))
    if kind.startswith("attention over agents"):
        sizes = {"action_size": HEAD.embed_size, "width": 4, "heads": 2, "memory_size": memory_size}
        return autoregressive_policy(attention_over_agents(view.size, A, N, **sizes), view, HEAD)
    network = make_network(view.size, A, extra_size=view.extra_size, hidden=(4,), memory_size=memory_size)
    return autoregressive_policy(network, view, HEAD)


def random_params(policy, seed=0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(policy.init, jax.random.key(0))
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape), jnp.float32), shapes)


def random_timesteps(seed=1):
    """[T, E, ...]; some are first steps of an episode, some leave an agent one legal action."""
    rng = np.random.default_rng(seed)
    one = restart(
        SPEC, obs=jnp.zeros((N, 2)), state=jnp.zeros(2), action_mask=jnp.ones((N, A), bool), metrics={"illegal": 0.0}
    )
    many = jax.tree.map(lambda a: jnp.broadcast_to(a, (T, E, *a.shape)), one)
    mask = rng.random((T, E, N, A)) < 0.5
    mask |= np.eye(A, dtype=bool)[rng.integers(A, size=(T, E, N))]
    return many.replace(
        obs=jnp.asarray(rng.normal(size=(T, E, N, 2)), jnp.float32),
        state=jnp.asarray(rng.normal(size=(T, E, 2)), jnp.float32),
        action_mask=jnp.asarray(mask),
        terminated=jnp.asarray(rng.random((T, E)) < 0.3),
    )


KINDS = ["shared", "separate", "autoregressive, state", "autoregressive, local"]


@pytest.mark.parametrize(
    ("kind", "memory_size"),
    [
        *((kind, 3) for kind in KINDS),
        ("autoregressive, state", 0),
        *(
            pytest.param(kind, 0, marks=pytest.mark.slow)
            for kind in (*KINDS, "attention over agents, state")
            if kind != "autoregressive, state"
        ),
        ("attention over agents, local", 3),
        ("attention over time", 3),
    ],
)
def test_log_probs_while_acting_are_those_of_the_unrolled_network(kind, memory_size):
    policy, steps = build(kind, memory_size), random_timesteps()
    params = random_params(policy)
    carry = jax.tree.map(lambda c: c + 0.5 if c.dtype == jnp.float32 else ~c, policy.initial_carry(E))

    @jax.jit
    def rollout(params, carry, steps, key):
        def step(carry, inputs):
            timestep, key = inputs
            action, log_prob, new = policy.select(params, carry, timestep, key)
            greedy, memory = policy.greedy(params, carry, timestep, key)
            return new, (action, log_prob, new, greedy, memory)

        return jax.lax.scan(step, carry, (steps, jax.random.split(key, T)))[1]

    action, log_prob, carries, greedy, greedy_carries = rollout(params, carry, steps, jax.random.key(2))
    for chosen in (action, greedy):
        assert np.take_along_axis(np.asarray(steps.action_mask), np.asarray(chosen)[..., None], axis=-1).all()

    def unroll_agent(action):
        """Outputs [T, E, N, A] and memories; separate parameters one agent at a time, as the loss does."""
        x, extra = policy.view.encode(steps.obs, steps.state, action)
        if policy.shared:
            return policy.network.unroll(params, carry, x, extra, steps.done)
        parts = [
            policy.network.unroll(
                jax.tree.map(lambda p, i=i: p[i], params),
                carry[:, i : i + 1],
                x[:, :, i : i + 1],
                extra[:, :, i : i + 1],
                steps.done,
            )
            for i in range(N)
        ]
        return tuple(jnp.concatenate(part, axis=2) for part in zip(*parts))

    unroll = jax.jit(unroll_agent)
    output, memory = unroll(action)
    np.testing.assert_allclose(HEAD.log_prob(output, steps.action_mask, action), log_prob, rtol=1e-5, atol=1e-5)
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, memory, carries)
    # Greedy: every agent's mode, given its predecessors' greedy actions; the memory is that of any play.
    output, _ = unroll(greedy)
    np.testing.assert_array_equal(HEAD.mode(output, steps.action_mask), greedy)
    jax.tree.map(close, greedy_carries, carries)


def copycats(seed):
    """Three agents with two actions: the first plays fair, the others copy their predecessor."""
    spec = EnvSpec(id="test/copycats", n_agents=3, obs_shape=(1,), num_actions=2, state_size=1)
    head = categorical(2)
    view = sequential_view(spec, head)
    policy = autoregressive_policy(make_network(1, 2, extra_size=view.extra_size, hidden=()), view, head)
    kernel = np.zeros((1 + 3 + 6, 2), np.float32)  # state, k, then (agent, action)
    # With both of its predecessors equal, adding up their votes is copying.
    for j in range(2):
        for a in range(2):
            kernel[4 + 2 * j + a, a] = 50.0
    params = {"head": {"params": {"Dense_0": {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(2)}}}}
    one = restart(spec, obs=jnp.zeros((3, 1)), state=jnp.zeros(1))
    batch = jax.tree.map(lambda a: jnp.broadcast_to(a, (512, *a.shape)), one)
    return policy, params, batch, jax.random.key(seed)


def test_agents_see_their_predecessors_choices():
    """Only an autoregressive policy can play at random and always agree."""
    policy, params, batch, key = copycats(0)
    action, log_prob, _ = jax.jit(policy.select)(params, policy.initial_carry(512), batch, key)
    action = np.asarray(action)
    assert (action == action[:, :1]).all()
    assert 0.4 < action[:, 0].mean() < 0.6
    np.testing.assert_allclose(log_prob, np.broadcast_to([np.log(0.5), 0, 0], (512, 3)), atol=1e-5)
    greedy, _ = policy.greedy(params, policy.initial_carry(512), batch, key)
    np.testing.assert_array_equal(greedy, 0)  # the tie goes to the lowest index, and so do its followers
