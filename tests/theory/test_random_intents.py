"""What random rewards can express, what is learned from them offline, and what a library saves online."""

import dataclasses

import numpy as np
import pytest

from jaxmarl_suite.theory import (
    effective_rank,
    grid_world,
    intent_of,
    pessimistic_values,
    projection_error,
    random_labels,
    sample_dynamics,
    steps_to_learn,
)
from jaxmarl_suite.theory._mdp import evaluate, greedy, value_iteration


def goal_at(mdp, cell):
    """The MDP with a reward of 1 for every step from this cell."""
    reward = np.zeros_like(mdp.reward)
    reward[cell] = 1.0
    return dataclasses.replace(mdp, reward=reward)


def test_every_deterministic_policy_is_optimal_for_some_reward():
    """Twenty random policies on a 10 x 10 grid, each recovered exactly."""
    mdp, rng = grid_world(10), np.random.default_rng(0)
    for _ in range(20):
        policy = rng.integers(4, size=100)
        intent = intent_of(mdp, policy)
        solution = value_iteration(intent, tolerance=1e-9)
        np.testing.assert_array_equal(greedy(intent, solution.action_value), policy)
        np.testing.assert_allclose(evaluate(intent, policy)[0], 20.0)  # 1 / (1 - 0.95)


def test_random_rewards_span_the_true_one():
    """More labels leave less of it; inputs of equal scale serve better than a few large ones."""
    rng = np.random.default_rng(1)
    standard = rng.normal(size=(10_000, 23))
    scales = np.concatenate([np.full(8, 0.3), np.array([1.0, 1.0, 1.5, 3.0, 5.0, 8.0, 8.0, 8.0, 10.0]), np.ones(6)])
    errors, ranks = {}, {}
    for name, inputs in {"standard": standard, "raw": standard * scales}.items():
        truth = inputs[:, 8] - 0.1 * np.square(inputs[:, 17:]).sum(1)
        labels = random_labels(inputs, 256, seed=0, hidden=32)
        errors[name] = [projection_error(labels[:, :n], truth) for n in (4, 16, 64, 256)]
        ranks[name] = effective_rank(labels)
    for found in errors.values():
        assert (np.diff(found) < 0).all()
    assert errors["standard"][-1] < 0.35 < errors["raw"][-1]
    assert ranks["raw"] < 0.5 * ranks["standard"] < 128
    only_noise = projection_error(random_labels(standard, 16, seed=0, hidden=32), rng.normal(size=10_000))
    assert 0.98 < only_noise < 1.05


def test_errors_fall_for_intents_that_the_data_covers_only():
    """As M^-1/2 where all actions on the way were seen; not at all where the goal never was."""
    mdp = grid_world(5, slip=0.1, discount=0.9)
    seen = np.repeat((np.arange(25) % 5 < 3)[:, None] * 1.0, 4, axis=1)
    seen /= seen.sum()
    sizes = np.array([4_000, 16_000, 64_000, 256_000])
    errors = {}
    for name, cell in {"covered": 21, "uncovered": 4}.items():
        intent = goal_at(mdp, cell)
        optimum = value_iteration(intent).value[0]
        learned = [
            [pessimistic_values(intent, *sample_dynamics(intent, seen, m, s))[0] for s in range(8)] for m in sizes
        ]
        errors[name] = optimum - np.mean(learned, axis=1)
    slope = np.polyfit(np.log(sizes), np.log(errors["covered"]), 1)[0]
    assert -0.65 < slope < -0.35
    np.testing.assert_allclose(errors["uncovered"], errors["uncovered"][0])
    assert errors["uncovered"][0] > 1.0


def test_a_good_candidate_saves_steps_and_useless_ones_cost_few():
    intent = goal_at(grid_world(8, slip=0.1, discount=0.95), 63)
    solution = value_iteration(intent, tolerance=1e-9)
    rng = np.random.default_rng(0)
    good = greedy(intent, solution.action_value)
    wrong = rng.random(64) < 0.1
    good[wrong] = rng.integers(4, size=wrong.sum())
    none = np.zeros((0, 64), np.int64)
    libraries = {"none": none, "good": good[None], "useless": rng.integers(4, size=(8, 64))}
    steps = {
        name: np.median([steps_to_learn(intent, solution.value, 0, library, seed, most=20_000) for seed in range(5)])
        for name, library in libraries.items()
    }
    assert steps["good"] <= 0.5 * steps["none"] and steps["useless"] <= 1.2 * steps["none"] and steps["none"] < 20_000


def test_labels_of_an_intent_do_not_depend_on_the_others():
    inputs = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_array_equal(random_labels(inputs, 2, 7), random_labels(inputs, 4, 7)[:, :2])
    assert (random_labels(inputs, 2, 8) != random_labels(inputs, 2, 7)).all()


@pytest.mark.parametrize("slip", [0.0, 0.3])
def test_walls_stop_moves(slip):
    mdp = grid_world(3, slip=slip)
    assert mdp.transition[0, 0, 0] == pytest.approx(1 - slip + slip / 2)  # up from the corner: up and left stay
    assert mdp.transition[4, 3, 5] == pytest.approx(1 - slip + slip / 4)
