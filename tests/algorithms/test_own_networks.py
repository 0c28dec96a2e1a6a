"""Networks that methods are given: carries of any form, attention, and computing in bfloat16."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from q_tools import QUICK, SMALL, config_of
from test_q_play import stored
from toy_envs import Noisy, context

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms.core import central_view
from jaxmarl_suite.algorithms.ppo import PPOConfig, local_policy, make_ppo, make_ppo_learner
from jaxmarl_suite.algorithms.q_learning import QConfig, make_q_learning, make_team, mixed
from jaxmarl_suite.networks import attention_over_time, per_agent, sum_mixer

ENV = Noisy()
PPO_SIZES = {"num_envs": 4, "rollout_length": 6, "epochs": 1, "hidden": (4,), "chunk_length": 3, "memory_size": 4}


def compiled(algorithm):
    return tuple(jax.jit(f, compiler_options=QUICK) for f in (algorithm.init, algorithm.update))


def assert_acted_as_it_learned(metrics):
    """With a single gradient step, probabilities are those of play: unrolled from stored memories as step by step."""
    assert abs(float(metrics["approx_kl"])) < 1e-5 and metrics["clip_fraction"] == 0
    assert metrics["actor_grad_norm"] > 1e-4 and metrics["critic_grad_norm"] > 1e-4


@pytest.mark.parametrize("share", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_ppo_with_a_policy_and_a_critic_of_the_callers(share):
    """Both attend to the last steps, so that their memories are caches."""
    config = PPOConfig(**PPO_SIZES, recurrent=True, share_parameters=share)

    def actor(view, outputs, out_scale):
        return attention_over_time(view.size, outputs, window=3, width=4, heads=2, out_scale=out_scale)

    policy = local_policy(config, ENV, actor)
    view = central_view(ENV.spec)
    critic = attention_over_time(view.size, 1, window=2, width=4, heads=1)
    algorithm = make_ppo(make_ppo_learner(config, ENV.spec, policy, view, critic=critic), ENV)
    ctx = context(config, ENV)
    init, update = compiled(algorithm)
    state, before = init(jax.random.key(0), ctx), None
    for _ in range(2):
        before = state
        state, metrics = update(state, ctx)
        assert_acted_as_it_learned(metrics.learner)
    for carry, window in ((state.actor_carry, 3), (state.critic_carry, 2)):
        assert carry.keys.shape[2:] == (window, 4)
        assert carry.is_known.any() and not np.array_equal(carry.keys, jnp.zeros_like(carry.keys))
    assert jax.tree.structure(state) == jax.tree.structure(before)


@pytest.mark.slow
@pytest.mark.parametrize(("context_of", "recurrent"), [("state", False), ("local", True)])
def test_a_transformer_as_teacher(context_of, recurrent):
    sizes = PPO_SIZES | {"recurrent": recurrent, "teacher_width": 4, "teacher_heads": 2}
    spec = algorithms.get("tad-ppo")
    config = spec.config(**sizes, teacher_network="transformer", teacher_context=context_of)
    teach, distill = spec.build(config, ENV)
    ctx = context(config, ENV)
    init, update = compiled(teach.algorithm)
    state = init(jax.random.key(0), ctx)
    for _ in range(2):
        state, metrics = update(state, ctx)
        assert_acted_as_it_learned(metrics.learner)
    assert "attention" in state.ppo.learners.actor.params and "attention" in state.ppo.learners.critic.params
    taught = distill.begin(teach.artifact(state), jax.random.key(1), ctx)
    _, metrics = jax.jit(distill.algorithm.update, compiler_options=QUICK)(taught, ctx)
    assert np.isfinite(metrics.learner["distill_loss"])


@dataclasses.dataclass
class QPlayer:
    """A VDN whose agents attend to their last three steps, as the tests of play read learners."""

    share: bool

    def __post_init__(self):
        self.env = ENV
        sizes = {"num_envs": 3, "rollout_length": 4, "capacity": 3, "batch_size": 3, "share_parameters": self.share}
        self.config = config_of("vdn", **sizes)
        team = make_team(self.config, ENV)
        one = attention_over_time(team.agents.input_size, ENV.spec.num_actions, window=3, width=4, heads=2)
        network = one if self.share else per_agent(one, ENV.spec.n_agents)
        self.team = dataclasses.replace(team, agents=dataclasses.replace(team.agents, network=network, hidden_size=0))
        self.method = mixed(self.team, sum_mixer())
        self.algorithm = make_q_learning(self.config, ENV, self.team, self.method, stored=False)


@pytest.mark.parametrize("share", [pytest.param(True, marks=pytest.mark.slow), False])
def test_q_learning_with_a_network_of_the_callers(share):
    player = QPlayer(share)
    # Episodes end often, and all play is greedy, so that it shows which values agents acted on.
    ctx = context(dataclasses.replace(player.config, epsilon_start=0.0, epsilon_end=0.0), ENV)
    init, update = compiled(player.algorithm)
    look = jax.jit(player.team.agents.unroll, compiler_options=QUICK)
    state, ended = init(jax.random.key(0), ctx), []
    for _ in range(4):
        before = state
        state, metrics = update(state, ctx)
        assert np.isfinite(metrics.learner["loss"].total)
        items, done = stored(player, state), np.asarray(before.env.timestep.done)
        ended.extend(done)
        first = jax.tree.map(
            lambda c, done=done: np.where(done.reshape(-1, *(1,) * (c.ndim - 1)), np.zeros_like(c), c),
            before.memory.hidden,
        )
        jax.tree.map(np.testing.assert_array_equal, items.memory.hidden, first)
        steps = jax.tree.map(lambda x: jnp.swapaxes(jnp.asarray(x), 0, 1), items.steps)
        batch = dataclasses.replace(jax.tree.map(jnp.asarray, items), steps=steps)
        seen = look(before.learners.online.params["agents"], batch)
        best = jnp.where(steps.mask, seen.q, -jnp.inf).argmax(-1)
        np.testing.assert_array_equal(best, steps.action)
        assert seen.features.shape == seen.next_features.shape == (4, 3, 2, player.team.agents.input_size)
    assert True in ended and False in ended


@pytest.mark.parametrize("name", ["vdn", *(pytest.param(n, marks=pytest.mark.slow) for n in ("mappo", "qmix"))])
def test_updates_in_bfloat16_are_close(name):
    """Everything that is kept stays float32."""
    spec, found = algorithms.get(name), []
    for dtype in ("float32", "bfloat16"):
        sizes = PPO_SIZES if name == "mappo" else {k: SMALL[k] for k in SMALL if hasattr(spec.default_config, k)}
        config = spec.config(**sizes | {"recurrent": True}, compute_dtype=dtype)
        (phase,) = spec.build(config, ENV)
        init, update = compiled(phase.algorithm)
        ctx = context(config, ENV)
        found.append(update(init(jax.random.key(0), ctx), ctx))
    (state, metrics), (low, low_metrics) = found
    jax.tree.map(lambda a, b: np.testing.assert_equal((a.shape, a.dtype), (b.shape, b.dtype)), state, low)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0.1, atol=0.02), metrics.learner, low_metrics.learner)
    learners = (s.learners.actor.params if name == "mappo" else s.learners.online.params for s in (state, low))
    jax.tree.map(partial(np.testing.assert_allclose, atol=0.01), *learners)


@pytest.mark.parametrize("config", [PPOConfig, QConfig])
def test_other_precisions_are_refused(config):
    with pytest.raises(ValueError, match="compute_dtype must be 'float32' or 'bfloat16', got 'float16'"):
        config(compute_dtype="float16")


def test_a_teacher_that_cannot_be_built_is_refused():
    config = algorithms.get("tad-ppo").config
    with pytest.raises(ValueError, match="teacher_network must be 'mlp' or 'transformer', got 'gru'"):
        config(teacher_network="gru")
    with pytest.raises(ValueError, match="teacher_heads must divide teacher_width, got 3 and 64"):
        config(teacher_heads=3)
