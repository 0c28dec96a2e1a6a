"""Teams whose agents have unequally many actuators: what pads their actions enters nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from off_policy_tools import SMALL, compiled
from toy_envs import Padded, context

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms.off_policy import masac

ENV = Padded()
N = ENV.spec.n_agents
ENTRIES = sum(ENV.spec.agent_action_sizes)


def course(name, updates, **changes):
    config = algorithms.get(name).config(**(SMALL | {"gradient_steps": 1} | changes))
    (phase,) = algorithms.get(name).build(config, ENV)
    update = compiled(phase.algorithm.update)
    states, metrics = [compiled(phase.algorithm.init)(jax.random.key(0), context(config, ENV))], []
    for clock in range(updates):
        state, found = update(states[-1], context(config, ENV, clock=clock))
        states.append(state)
        metrics.append(found)
    return states, metrics


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("matd3", "replay"),
        ("masac", "policy"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("matd3", "policy"), ("masac", "replay"))),
    ],
)
def test_padding_is_never_played_nor_learned_from(name, others):
    """In the warm-up (one update), in play, in the replay; and outputs that nobody uses do not move."""
    states, metrics = course(
        name, 3, others=others, warmup_steps=11, share_parameters=False, policy_delay=1, hidden=(16, 8)
    )
    stored = np.asarray(states[-1].replay.contents.steps.action)[:, :15]  # [E, T, N, A]
    real = ENV.spec.real_actions
    assert stored.shape[2:] == real.shape and not stored[..., ~real].any() and stored[..., real].all()
    assert all(found.episodes["illegal"].total == 0 for found in metrics)
    before, after = (states[i].learners.actor.params for i in (0, -1))
    before, after = ((tree["policy"] if name == "masac" else tree)["head"]["params"] for tree in (before, after))
    last = max(before)  # [N, hidden, outputs]
    moved = (np.asarray(before[last]["kernel"]) != np.asarray(after[last]["kernel"])).any(1)
    moved = moved.reshape(N, -1, 2)  # means, and deviations where there are any
    np.testing.assert_array_equal(moved, np.broadcast_to(real[:, None], moved.shape))


def test_the_target_entropy_counts_real_entries():
    """The temperature is 1 at first, so that its loss is the entropy less its target, -1 nat for each real entry."""
    _, (found,) = course("masac", 1)
    assert ENTRIES < 2 * N
    found = found.learner
    assert found["temperature_loss"].total == pytest.approx(float(found["entropy"].total) + ENTRIES, rel=1e-5)


def test_the_joint_density_is_that_of_real_entries():
    config = algorithms.get("masac").config(**SMALL)
    team, method = masac.parts(config, ENV)
    params = method.init(jax.random.key(0))
    obs = jax.random.normal(jax.random.key(1), (1, N, 2))
    draws = 4000
    action = jax.jit(lambda keys: jax.vmap(lambda key: method.explore(params["actor"], obs, None, key, None))(keys))(
        jax.random.split(jax.random.key(2), draws)
    )
    assert team.num_real_entries == ENTRIES and team.action_size == 2 * N
    spread = np.asarray(action.std(0))[0]
    assert (spread[ENV.spec.real_actions] > 0.1).all() and not spread[~ENV.spec.real_actions].any()
    assert jnp.abs(action).max() <= 1
