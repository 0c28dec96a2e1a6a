"""Targets of episodic memory by their definition: tables over all pairs (t, h) in float64."""

import numpy as np


def table(reward, bootstrap, terminated, truncated, valid, t, k, *, gamma, zero_tail, max_steps=10**9):
    """V^k_{t,h} for h = 1, 2, ... in float64, by the definition."""
    values, total, discount, i = [], 0.0, 1.0, t
    while len(values) < max_steps:
        total += discount * reward[i]
        discount *= gamma
        values.append(total if terminated[i] else total + discount * bootstrap[i, k])
        if terminated[i]:
            break
        if truncated[i]:
            if zero_tail:
                values.append(total)
            break
        i += 1
        if i == len(reward) or not valid[i]:
            break
    return np.array(values[:max_steps])


def brute_force(
    reward, bootstrap, terminated, truncated, valid, *, gamma, floor=True, own="selector", zero_tail=False,
    max_steps=10**9, beta=None,
):  # fmt: skip
    """[T, K] targets of one trajectory, in O(T²)."""
    steps, estimators = bootstrap.shape
    target = np.zeros((steps, estimators))
    for t in np.flatnonzero(valid):
        v = [
            table(reward, bootstrap, terminated, truncated, valid, t, k,
                  gamma=gamma, zero_tail=zero_tail, max_steps=max_steps)
            for k in range(estimators)
        ]  # fmt: skip
        for k in range(estimators):
            other = estimators - 1 - k
            selector, evaluator = (k, other) if own == "selector" else (other, k)
            if beta is None:
                found = v[evaluator][np.argmax(v[selector])]
            else:
                found = np.average(v[evaluator], weights=beta ** np.arange(len(v[evaluator])))
            target[t, k] = max(found, v[k][0]) if floor else found
    return target
