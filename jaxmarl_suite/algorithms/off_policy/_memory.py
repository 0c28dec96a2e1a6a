"""Episodic memory for off-policy methods (GEM, Hu et al. 2021, arXiv 2103.06469): its settings, and targets for a
replay.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax

from jaxmarl_suite.algorithms.core._checks import check_floats
from jaxmarl_suite.algorithms.core._types import Context, hyperparameters
from jaxmarl_suite.algorithms.off_policy._config import OffPolicyConfig
from jaxmarl_suite.ops import capped_episodic_targets, episodic_targets, mean_episodic_targets
from jaxmarl_suite.replay import Store, StoreLayout, Transitions, targets_of_store


@hyperparameters
class MemoryConfig(OffPolicyConfig):
    """Settings of off-policy methods and of the memory, whose targets follow whole episodes."""

    kappa: float = 0.25
    """Weight of underestimates in the critics' loss; 1 is the symmetric loss."""
    floor: bool = True
    """Targets are at least their own one-step targets."""
    own: Literal["selector", "evaluator"] = "selector"
    """Which group learns the value found at a stop: the one that selected the stop or the one that evaluates it. The
    lower bound is that group's own one-step target."""
    zero_tail: bool = False
    """At a time limit, also allow stopping with value 0, as the released code does; this overestimates if rewards are
    negative."""
    max_steps: int = dataclasses.field(default=0, metadata={"least": 0})
    """Maximum number of rewards taken from a trajectory; 0 for no limit. The cost is proportional to it: for ablations."""
    average: bool = False
    """Use the mean over all stops, weighted by `beta` ** (steps - 1), instead of the best stop: an ablation."""
    beta: float = 0.9
    """See `average`."""

    def __post_init__(self) -> None:
        """Rejects invalid settings."""
        super().__post_init__()
        check_floats(self, amounts=("kappa", "beta"))
        if self.own not in ("selector", "evaluator"):
            raise ValueError(f"own must be 'selector' or 'evaluator', got {self.own!r}")
        if self.critic_groups not in (1, 2):
            raise ValueError(f"critic_groups must be 1 (the plain maximum) or 2 for GEM, got {self.critic_groups}")
        if self.average and self.max_steps:
            raise ValueError(f"max_steps caps the best stop only; with average=True it must be 0, got {self.max_steps}")


def memory_targets(
    config: MemoryConfig,
    layout: StoreLayout,
    store: Store,
    values: Callable[[Transitions, jax.Array], jax.Array],
    key: jax.Array,
    ctx: Context,
) -> jax.Array:
    """[E, C, K] targets of all stored steps, along their trajectories.

    Args:
      config: static settings; floats are read from `ctx.hp`.
      layout: layout of the store.
      store: contains `Done` as steps and `Shown` as observations.
      values: `(transitions [B], key) -> [B, K]`, each group's value of the next observations.
      key: consumed.
      ctx: context of the update whose steps are already stored.
    """
    how: Any = partial(episodic_targets)
    if config.average:
        how = partial(mean_episodic_targets, beta=ctx.hp.beta)
    elif config.max_steps:
        how = partial(capped_episodic_targets, max_steps=config.max_steps)
    how = partial(how, gamma=ctx.hp.gamma, floor=config.floor, own=config.own, zero_tail=config.zero_tail)
    # Computed from the context, so that the number of chunks is the same for all lanes.
    played = ctx.played(config.num_envs * config.rollout_length) // config.num_envs + config.rollout_length
    return targets_of_store(
        layout,
        store.head,
        store.contents,
        values,
        how,
        key,
        reward=store.contents.steps.reward,
        at_most=played,
    )
