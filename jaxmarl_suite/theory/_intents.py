"""What random rewards can express, and what is learned from them offline: checks of UBER's claims on small problems.

Hu et al. 2023 (arXiv 2310.18687): every deterministic policy is optimal for some reward; linear combinations of enough
random rewards approximate the true one; a pessimistic learner does well on the intents that the data covers. The last
part is policy expansion (Zhang et al. 2023) with tables: candidates that are good save steps, useless ones cost few.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from jaxmarl_suite.theory._mdp import FiniteMDP, Floats, evaluate

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))


def grid_world(size: int, *, slip: float = 0.0, discount: float = 0.95) -> FiniteMDP:
    """A grid of `size` x `size` cells without rewards; four moves, which walls stop.

    Args:
      size: cells along a side; cell (row, column) is state row * size + column.
      slip: probability that a move goes in a uniformly random direction instead.
      discount: in 0..1.
    """
    num = size * size
    transition = np.zeros((num, 4, num))
    for state in range(num):
        row, column = divmod(state, size)
        after = [min(max(row + i, 0), size - 1) * size + min(max(column + j, 0), size - 1) for i, j in MOVES]
        for action in range(4):
            transition[state, action, after[action]] += 1.0 - slip
            for other in after:
                transition[state, action, other] += slip / 4
    nothing = np.zeros(num, np.bool_)
    return FiniteMDP(transition, np.zeros((num, 4)), np.full(num, discount), nothing, np.ones((num, 4), np.bool_))


def intent_of(mdp: FiniteMDP, policy: NDArray[np.integer]) -> FiniteMDP:
    """The MDP with a reward for which a deterministic policy [X] is uniquely optimal: 1 for its action, else 0."""
    reward = np.zeros_like(mdp.reward)
    reward[np.arange(len(policy)), policy] = 1.0
    return dataclasses.replace(mdp, reward=reward)


def random_labels(inputs: Floats, num: int, seed: int, *, hidden: int = 256) -> Floats:
    """[T, N] labels of inputs [T, D] by N random networks with two ReLU layers and PyTorch's initialization."""
    labels = []
    for number in range(num):
        rng, x = np.random.default_rng([seed, number]), inputs
        for layer, width in enumerate((hidden, hidden, 1)):
            bound = x.shape[1] ** -0.5
            x = x @ rng.uniform(-bound, bound, (x.shape[1], width)) + rng.uniform(-bound, bound, width)
            x = np.maximum(x, 0.0) if layer < 2 else x
        labels.append(x[:, 0])
    return np.stack(labels, axis=1)


def projection_error(labels: Floats, truth: Floats, *, ridge: float = 1e-8) -> float:
    """Relative root mean squared error of the best linear combination of labels [T, N] and a constant for `truth` [T].

    The combination is fitted to the first half of the rows; the error is that on the others, relative to their standard
    deviation.
    """
    half = len(truth) // 2
    mean, std = labels[:half].mean(0), np.maximum(labels[:half].std(0), 1e-12)
    x = np.concatenate([(labels - mean) / std, np.ones((len(labels), 1))], axis=1)
    gram = x[:half].T @ x[:half] / half + ridge * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x[:half].T @ truth[:half] / half)
    error = truth[half:] - x[half:] @ weights
    return float(np.sqrt(np.mean(error**2)) / truth[half:].std())


def effective_rank(labels: Floats) -> float:
    """Exp of the entropy of the shares of the eigenvalues of the labels' correlations (Roy & Vetterli 2007)."""
    scaled = (labels - labels.mean(0)) / np.maximum(labels.std(0), 1e-12)
    share = np.maximum(np.linalg.eigvalsh(np.atleast_2d(scaled.T @ scaled)), 0.0)
    share = share[share > 0] / share.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def pessimistic_values(mdp: FiniteMDP, counts: NDArray[np.integer], estimate: Floats, *, bonus: float = 1.0) -> Floats:
    """[X] values of value iteration on estimated dynamics, minus `bonus` / sqrt(n) for an action seen n times.

    Rewards are known and in 0..1; an action that was never seen is worth nothing.

    Args:
      mdp: its rewards and discounts are used, not its dynamics.
      counts: [X, A] how often each action was seen.
      estimate: [X, A, X] frequencies of next states.
      bonus: size of the uncertainty after one visit.
    """
    value = np.zeros(len(mdp.discount))
    cost = bonus / np.sqrt(np.maximum(counts, 1))
    while True:
        q = np.clip(mdp.reward - cost + mdp.discount[:, None] * (estimate @ value), 0.0, None)
        new = np.where(counts > 0, q, 0.0).max(1)
        if np.abs(new - value).max() < 1e-10:
            return new
        value = new


def sample_dynamics(
    mdp: FiniteMDP, chosen: NDArray[np.floating], num: int, seed: int
) -> tuple[NDArray[np.integer], Floats]:
    """`(counts [X, A], frequencies [X, A, X])` of `num` transitions, whose state and action have probabilities `chosen`
    [X, A].
    """
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(num, chosen.ravel()).reshape(chosen.shape)
    after = rng.multinomial(counts, mdp.transition)
    return counts, after / np.maximum(counts, 1)[..., None]


def steps_to_learn(
    mdp: FiniteMDP,
    optimum: Floats,
    start: int,
    library: NDArray[np.integer],
    seed: int,
    *,
    episode: int = 100,
    most: int = 200_000,
    inverse_temperature: float = 10.0,
    noise: float = 0.1,
    rate: float = 0.5,
) -> int:
    """Steps of tabular Q-learning until its own greedy policy has 90 % of the optimum; `most` if it never has.

    At every step one of the library's policies, or the own greedy one, acts, in proportion to exp(α Q(x, a)); with
    probability `noise` the action is random instead.

    Args:
      mdp: rewards in 0..1.
      optimum: [X] optimal values.
      start: state in which episodes begin.
      library: [K, X] deterministic policies; K = 0 for learning from scratch.
      seed: of everything random.
      episode: steps per episode.
      most: upper bound of steps.
      inverse_temperature: α.
      noise: probability of a random action.
      rate: learning rate.
    """
    rng = np.random.default_rng(seed)
    num_states, num_actions = mdp.reward.shape
    q = rng.uniform(0, 1e-6, (num_states, num_actions))  # ties are broken at random
    upto = np.cumsum(mdp.transition, axis=-1)
    state = start
    for step in range(most):
        if step % episode == 0:
            if evaluate(mdp, q.argmax(1))[0][start] >= 0.9 * optimum[start]:
                return step
            state = start
        actions = np.append(library[:, state], q[state].argmax())
        weight = np.exp(inverse_temperature * (q[state, actions] - q[state, actions].max()))
        action = actions[np.searchsorted(np.cumsum(weight), rng.random() * weight.sum())]
        if rng.random() < noise:
            action = rng.integers(num_actions)
        after = min(int(np.searchsorted(upto[state, action], rng.random())), num_states - 1)
        target = mdp.reward[state, action] + mdp.discount[state] * q[after].max()
        q[state, action] += rate * (target - q[state, action])
        state = after
    return most
