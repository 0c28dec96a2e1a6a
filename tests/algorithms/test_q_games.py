"""What each class of joint values can and cannot learn, from uniform play."""

import jax
import jaxmarl_envs
import pytest
from jaxmarl_envs import EpisodeStatistics
from q_tools import algorithm_of
from toy_envs import context

from jaxmarl_suite.runner._play import evaluate_policy


def learned_return(name, updates, **changes):
    """Return of greedy play after `updates` updates on the two-step game (QMIX's paper, section 5)."""
    env = EpisodeStatistics(jaxmarl_envs.make("matrix/two-step"))
    settings = {
        "num_envs": 32,
        "rollout_length": 2,
        "capacity": 512,
        "batch_size": 32,
        "gradient_steps": 2,
        "learning_starts": 64,
        "epsilon_end": 1.0,
        "width": 32,
        "embed": 16,
        "hyper_hidden": 16,
        "heads": 4,
    }
    config_fields = {k: v for k, v in settings.items() if k not in ("embed", "hyper_hidden", "heads") or name != "vdn"}
    if name == "qmix":
        del config_fields["heads"]
    if name == "qplex":
        del config_fields["embed"]
    algorithm, config = algorithm_of(name, env, **config_fields, **changes)

    @jax.jit
    def run(key):
        init_key, eval_key = jax.random.split(key)
        ctx = context(config, env, horizon=updates)

        def update(clock, state):
            return algorithm.update(state, context(config, env, clock=clock, horizon=updates))[0]

        state = jax.lax.fori_loop(0, updates, update, algorithm.init(init_key, ctx))
        found = evaluate_policy(algorithm, env, algorithm.policy(state), ctx, eval_key, episodes=1, max_steps=2)
        return found.metrics["return"]

    return float(run(jax.random.key(0)))


@pytest.mark.parametrize(
    ("name", "expected"), [("vdn", 7.0), ("qmix", 8.0), pytest.param("qplex", 8.0, marks=pytest.mark.slow)]
)
def test_two_step_game(name, expected):
    """The better second matrix pays 0, 1, 1, 8; the sum of two utilities that fits it best values it below 7."""
    assert learned_return(name, 600, learning_rate=2e-3, target_period=100) == expected
