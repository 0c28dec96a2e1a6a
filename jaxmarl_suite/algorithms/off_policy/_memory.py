"""Episodic memory (GEM, Hu et al. 2021, arXiv 2103.06469) for off-policy methods: its settings, and targets for a replay."""

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
    """What off-policy methods share, and how the memory is read; its targets run along whole episodes."""

    kappa: float = 0.25
    """Weight of underestimates in the critics' loss; 1 is the symmetric loss."""
    floor: bool = True
    """A target is at least its own one-step target."""
    own: Literal["selector", "evaluator"] = "selector"
    """Which group learns the value found at a stop: the one that chose the stop or the one that evaluates it. The floor is
    that group's own one-step target."""
    zero_tail: bool = False
    """At a time limit, offer also to stop with the value 0, as the released code does; an overestimate where rewards are
    negative."""
    max_steps: int = dataclasses.field(default=0, metadata={"least": 0})
    """Most rewards taken from a trajectory; 0 for all there are. Costs work in proportion: for ablations."""
    average: bool = False
    """Targets are means over all stops, weighted by `beta` ** (steps - 1), instead of the best: an ablation."""
    beta: float = 0.9
    """See `average`."""

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
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
    """[E, C, K] the targets of all stored steps, along what followed them.

    Args:
      config: static settings; floats are those of `ctx.hp`.
      layout: of the store.
      store: its steps are `Done`, what it observed is `Shown`.
      values: `(transitions [B], key) -> [B, K]`, each group's value of what the steps led to.
      key: consumed.
      ctx: of the update whose play is stored already.
    """
    how: Any = partial(episodic_targets)
    if config.average:
        how = partial(mean_episodic_targets, beta=ctx.hp.beta)
    elif config.max_steps:
        how = partial(capped_episodic_targets, max_steps=config.max_steps)
    how = partial(how, gamma=ctx.hp.gamma, floor=config.floor, own=config.own, zero_tail=config.zero_tail)
    # From the context, which all lanes share, so that the number of chunks is no lane's own.
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
