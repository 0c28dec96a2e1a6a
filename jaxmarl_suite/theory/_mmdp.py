"""Finite multi-agent MDPs and the transformation that makes them sequential single-agent ones (arXiv 2207.11143)."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from jaxmarl_suite.theory._mdp import FiniteMDP, Floats, check_dynamics

Discount = Literal["depth", "root"]


@dataclasses.dataclass(frozen=True, eq=False)
class FiniteMMDP:
    """A finite cooperative multi-agent MDP: every agent sees the state, all share one reward."""

    transition: Floats  # [S, A_1, ..., A_n, S] float64, P(s' | s, a)
    reward: Floats  # [S, A_1, ..., A_n] float64, r(s, a)
    gamma: float  # discount in 0..1
    terminal: NDArray[np.bool_]  # [S] bool, value 0, nothing follows

    def __post_init__(self) -> None:
        """Rejects tables that are no MMDP."""
        shape = self.reward.shape
        if len(shape) < 2 or min(shape) < 1:
            raise ValueError(
                f"reward must have the shape [S, A_1, ..., A_n] with n >= 1 and no empty axis, got {self.reward.shape}"
            )
        if self.transition.shape != (*shape, shape[0]):
            raise ValueError(f"transition must have the shape {(*shape, shape[0])}, got {self.transition.shape}")
        if self.terminal.shape != shape[:1]:
            raise ValueError(f"terminal must have the shape {shape[:1]}, got {self.terminal.shape}")
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"gamma must lie in 0..1, got {self.gamma}")
        check_dynamics(self.transition, self.reward, self.terminal)

    @property
    def num_states(self) -> int:
        """S, terminal ones included."""
        return self.reward.shape[0]

    @property
    def num_actions(self) -> tuple[int, ...]:
        """(A_1, ..., A_n)."""
        return self.reward.shape[1:]

    @property
    def num_agents(self) -> int:
        """N, the n of the formulas."""
        return len(self.num_actions)

    @classmethod
    def from_payoff(cls, payoff: Any) -> "FiniteMMDP":
        """A matrix game [A_1, ..., A_n] as an MMDP: state 0 is the game, state 1 its end; undiscounted."""
        payoff = np.asarray(payoff, np.float64)
        transition = np.zeros((2, *payoff.shape, 2))
        transition[..., 1] = 1.0
        return cls(
            transition=transition,
            reward=np.stack([payoff, np.zeros_like(payoff)]),
            gamma=1.0,
            terminal=np.array([False, True]),
        )

    @classmethod
    def from_stages(cls, payoff: Any, successor: Any, *, num_actions: Sequence[int], gamma: float) -> "FiniteMMDP":
        """A game in stages, given by the tables of `jaxmarl_envs`' matrix family, as an MMDP.

        Args:
          payoff: [S or 1, K], team reward; joint actions in C order, agent 0's action most significant.
          successor: [S, K or 1] int, the next stage; S ends the game, and becomes a terminal state S if it occurs.
          num_actions: (A_1, ..., A_n), with K their product.
          gamma: discount. Time limits are no part of the tables: the game goes on until a successor ends it.
        """
        payoff, successor, shape = np.asarray(payoff, np.float64), np.asarray(successor), tuple(num_actions)
        num_stages, num_joint = len(successor), math.prod(shape)
        fits = payoff.ndim == successor.ndim == 2 and payoff.shape[0] in (1, num_stages)
        if not fits or payoff.shape[1] != num_joint or successor.shape[1] not in (1, num_joint):
            raise ValueError(
                f"payoff must have the shape [S or 1, {num_joint}] and successor [S, {num_joint} or 1] for {shape} "
                f"actions, got {payoff.shape} and {successor.shape}"
            )
        if successor.dtype.kind not in "iu" or successor.min() < 0 or successor.max() > num_stages:
            raise ValueError(
                f"successor must hold stages 0..{num_stages - 1}, or {num_stages} for the end, got {successor.dtype} in "
                f"{successor.min()}..{successor.max()}"
            )
        ends = int(successor.max() == num_stages)
        total = num_stages + ends
        reward = np.zeros((total, num_joint))
        reward[:num_stages] = payoff
        following = np.full((total, num_joint), num_stages)
        following[:num_stages] = successor
        return cls(
            transition=np.eye(total)[following].reshape(total, *shape, total),
            reward=reward.reshape(total, *shape),
            gamma=gamma,
            terminal=np.arange(total) >= num_stages,
        )

    @classmethod
    def random(
        cls,
        generator: np.random.Generator,
        *,
        num_states: int,
        num_actions: Sequence[int],
        gamma: float,
        num_terminal: int = 0,
    ) -> "FiniteMMDP":
        """Dirichlet(1) transitions and N(0, 1) rewards; the last `num_terminal` states are terminal."""
        shape = (num_states, *num_actions)
        return cls(
            transition=generator.dirichlet(np.ones(num_states), size=shape),
            reward=generator.normal(size=shape),
            gamma=gamma,
            terminal=np.arange(num_states) >= num_states - num_terminal,
        )

    def joint(self) -> FiniteMDP:
        """The centralized MDP: one agent choosing among all `Π A_k` joint actions, numbered in C order."""
        num_joint = math.prod(self.num_actions)
        return FiniteMDP(
            transition=self.transition.reshape(self.num_states, num_joint, self.num_states),
            reward=self.reward.reshape(self.num_states, num_joint),
            discount=np.full(self.num_states, float(self.gamma)),
            terminal=self.terminal,
            action_mask=np.ones((self.num_states, num_joint), bool),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class SequentialMDP:
    """`Γ(M)`: agents choose one after another, each seeing the state and its predecessors' actions.

    Its states are the prefixes `(s, a_1..a_{k-1})`, `k = 1..n`, ordered by k and then in C order: state s of `M` is
    state s of `Γ(M)`. The tables are dense, `|S| Σ_k Π_{j<k} A_j` states squared times the largest action count.
    """

    mdp: FiniteMDP
    num_states: int  # S, of the original
    num_actions: tuple[int, ...]  # (A_1, ..., A_n)
    depth: NDArray[np.intp]  # [X] k in 1..n: whose turn it is

    def state(self, state: int, prefix: Sequence[int] = ()) -> int:
        """The index of `(s, a_1..a_{k-1})`."""
        k = len(prefix)
        if k >= len(self.num_actions):
            raise ValueError(
                f"a prefix holds fewer actions than there are agents ({len(self.num_actions)}), got {tuple(prefix)}"
            )
        return int(_offsets(self.num_states, self.num_actions)[k]) + int(
            np.ravel_multi_index((state, *prefix), (self.num_states, *self.num_actions[:k]))
        )

    def trace(self, decay: float) -> Floats:
        """[X] the λ of `expected_gae`: 1 inside a joint decision and `decay` at its end."""
        return np.where(self.depth == len(self.num_actions), decay, 1.0)

    def joint_actions(self, actions: NDArray[Any]) -> NDArray[np.intp]:
        """[S, n]: the joint action that a deterministic policy of `Γ(M)`, `actions` [X], takes in each state of `M`."""
        joint = np.zeros((self.num_states, len(self.num_actions)), np.intp)
        for s in range(self.num_states):
            for k in range(len(self.num_actions)):
                joint[s, k] = actions[self.state(s, tuple(joint[s, :k]))]
        return joint


def sequentialize(mmdp: FiniteMMDP, *, discount: Discount = "depth") -> SequentialMDP:
    """The transformation Γ of arXiv 2207.11143, with agents in the order of their axes.

    Agents 1..n-1 move deterministically to the longer prefix with reward 0; agent n draws `s' ~ P(. | s, a)` and
    receives `r(s, a)`. Joint policies of `M` and policies of `Γ(M)` correspond by the chain rule, so nothing is lost.

    Args:
      mmdp: the original.
      discount: where time passes. `depth`: 1 before the last agent and gamma after it, so that `V_Γ(s) = V_M(s)`.
        `root`: `gamma^(1/n)` everywhere, so that `V_Γ(s) = gamma^((n-1)/n) V_M(s)` and optimal policies are the same.
        (Both are derived here; which one the paper's authors use is not known to this project.)
    """
    if discount not in get_args(Discount):
        raise ValueError(f"unknown discount {discount!r}; accepted: {', '.join(get_args(Discount))}")
    num_agents, num_states, num_actions = mmdp.num_agents, mmdp.num_states, mmdp.num_actions
    if discount == "root" and mmdp.gamma == 0.0 and num_agents > 1:
        raise ValueError(
            "discount='root' needs gamma > 0, got 0: the reward after the last agent would be lost; use 'depth'"
        )
    offsets = _offsets(num_states, num_actions)
    total, widest = int(offsets[-1]), max(num_actions)
    transition = np.zeros((total, widest, total))
    reward = np.zeros((total, widest))
    action_mask = np.zeros((total, widest), bool)
    depth = np.zeros(total, np.intp)
    terminal = np.zeros(total, bool)
    for k in range(num_agents):
        block = slice(int(offsets[k]), int(offsets[k + 1]))
        size = block.stop - block.start
        depth[block] = k + 1
        action_mask[block, : num_actions[k]] = True
        terminal[block] = np.repeat(mmdp.terminal, size // num_states)
        if k < num_agents - 1:
            # C order: action a in prefix i of this block leads to prefix i * A_k + a of the next.
            successor = int(offsets[k + 1]) + np.arange(size * num_actions[k]).reshape(size, num_actions[k])
            transition[np.arange(block.start, block.stop)[:, None], np.arange(num_actions[k])[None], successor] = 1.0
        else:
            transition[block, : num_actions[k], :num_states] = mmdp.transition.reshape(size, num_actions[k], num_states)
            reward[block, : num_actions[k]] = mmdp.reward.reshape(size, num_actions[k])
        # Illegal actions stay where they are, so that every row is a distribution.
        rows = np.arange(block.start, block.stop)
        transition[rows, num_actions[k] :, rows] = 1.0
    if discount == "depth":
        discounts = np.where(depth == num_agents, float(mmdp.gamma), 1.0)
    else:
        discounts = np.full(total, float(mmdp.gamma) ** (1.0 / num_agents))
    return SequentialMDP(
        mdp=FiniteMDP(
            transition=transition, reward=reward, discount=discounts, terminal=terminal, action_mask=action_mask
        ),
        num_states=num_states,
        num_actions=num_actions,
        depth=depth,
    )


def _offsets(num_states: int, num_actions: Sequence[int]) -> NDArray[np.intp]:
    """[n + 1] where the prefixes of each length start; the last entry is the number of states of Γ(M)."""
    sizes = [num_states * math.prod(num_actions[:k]) for k in range(len(num_actions))]
    return np.concatenate([np.zeros(1, np.intp), np.cumsum(sizes, dtype=np.intp)])
