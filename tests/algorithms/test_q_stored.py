"""Learning from stored replay: the same steps as from a ring that holds the same."""

from pathlib import Path

import jax
import numpy as np
import pytest
from dataset_tools import about_of
from q_tools import QUICK, config_of
from test_q_play import Learner, stored
from toy_envs import Noisy, context

from jaxmarl_suite import algorithms
from jaxmarl_suite.algorithms.q_learning._core import StoredQState
from jaxmarl_suite.replay import Dataset, concatenate

SIZES = {"num_envs": 1, "capacity": 1, "batch_size": 1, "rollout_length": 3, "gradient_steps": 2}


@pytest.fixture(scope="module")
def played():
    """`(learner, states)`: one whose replay holds nothing but the sequence of the last update."""
    learner = Learner("vdn", Noisy(), **SIZES)
    contexts = [learner.context(clock=k) for k in range(3)]
    states = [learner.init(jax.random.key(0), contexts[0])]
    for ctx in contexts:
        states.append(learner.update(states[-1], ctx)[0])
    return learner, states


def stored_update(items, **changes):
    """A compiled `(state, clock) -> (state, metrics)` on these items."""
    env, config = Noisy(), config_of("vdn", **{**SIZES, **changes})
    about = about_of(env.spec, len(items["episode"]))
    spec = algorithms.get("vdn")
    (phase,) = spec.build(config, env, has_data=True)
    data = phase.data(Dataset(Path("data"), items, about))
    update = jax.jit(phase.algorithm.update, compiler_options=QUICK)
    return lambda state, clock: update(state, context(config, env, clock=clock, data=data)), data


def to_items(state):
    """What a dataset holds of a state."""
    return algorithms.get("vdn").record(config_of("vdn", **SIZES), Noisy(), state).items


def emptied(state, key):
    """The learner of a state, without its play."""
    return StoredQState(state.learners, key)


def test_sequences_come_back_without_memory(played):
    learner, states = played
    _, data = stored_update(to_items(states[2]))
    ring = stored(learner, states[2])
    jax.tree.map(np.testing.assert_array_equal, data.steps, ring.steps)
    np.testing.assert_array_equal(data.memory.last_action, ring.memory.last_action)
    assert (np.asarray(data.memory.last_action) >= 0).any()  # sequences begin inside of episodes
    assert not np.asarray(data.memory.hidden).any()


def test_an_update_is_that_of_play(played):
    _, states = played
    update, _ = stored_update(to_items(states[3]))
    found, _ = update(emptied(states[2], states[2].key), 2)
    jax.tree.map(np.testing.assert_array_equal, found.learners.online.params, states[3].learners.online.params)
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(
        jax.tree.leaves(found.learners.online.params), jax.tree.leaves(states[2].learners.online.params)))  # fmt: skip


def test_all_items_are_drawn(played):
    _, states = played
    parts = [algorithms.get("vdn").record(config_of("vdn", **SIZES), Noisy(), s) for s in states[1:4]]
    both = concatenate(parts).items
    update, _ = stored_update(both, gradient_steps=1)
    losses = [
        float(update(emptied(states[1], key), 0)[1].learner["loss"]) for key in jax.random.split(jax.random.key(0), 20)
    ]
    assert len(set(np.round(losses, 5))) == 3
