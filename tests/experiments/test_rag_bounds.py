"""The bound of the caching task: below every rule, and exact where it can be worked out."""

import jax
import numpy as np
import pytest
from jaxmarl_envs import make

from experiments.rag_serving.bounds import _hits, cost_bound
from jaxmarl_suite.runner import evaluate_rules

SMALL = {"sessions": 900, "windows": 1, "rounds": 40, "capacity": 8, "n_agents": 2}


def test_hits_by_hand():
    slots = np.array([4, 7, -1])
    assert _hits(np.array([7, 1, 4, 2, 7]), slots, 2) == 3 / 5  # 1 and 2 pass by
    assert _hits(np.array([1, 1, 1, 9]), slots, 2) == 2 / 4


def test_no_rule_is_below_the_bound():
    bound = cost_bound(make("rag/cache-L1", **SMALL))
    with jax.numpy_dtype_promotion("standard"):
        found = evaluate_rules("rag/cache-L1", ("lfu-da", "lfu-da-unless-held"), env_options=SMALL, episodes=2)
    assert 0 < bound < min(metrics["cost"] for metrics in found.values())
    with pytest.raises(ValueError, match="token_weight must be 0"):
        cost_bound(make("rag/cache-L1", token_weight=1.0, **SMALL))
