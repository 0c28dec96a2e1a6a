"""The static description of a battle."""

import dataclasses
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_envs.micro._kinds import KINDS

LOOPS = 8
"""Game loops in a step."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes, kinds and options. Battles with equal plans share a program, whatever their numbers."""

    kinds: tuple[str, ...]
    """The kinds on both sides, in the order of `KINDS`."""
    allies: tuple[int, ...]
    """[N] indices into `kinds`; for random teams, only their number matters."""
    enemies: tuple[int, ...]
    """[M]"""
    draws_teams: bool
    """Whether kinds and starts are drawn in every episode."""
    jitters: bool
    """Whether starts are moved randomly in every episode."""
    is_box: bool
    """Whether the ground is a rectangle."""
    has_portals: bool
    substeps: int
    """Substeps per step: 1, 2, 4 or 8."""
    reward: str
    """Kind of reward: positive, abs or sparse."""
    own_position: bool
    """Whether agents observe their own position."""

    @property
    def n_allies(self) -> int:
        """N."""
        return len(self.allies)

    @property
    def n_enemies(self) -> int:
        """M."""
        return len(self.enemies)

    @property
    def num_actions(self) -> int:
        """6 + M."""
        return 6 + self.n_enemies

    @property
    def dt(self) -> float:
        """Loops in a substep."""
        return LOOPS / self.substeps

    def _places(self, flag: str) -> tuple[int, ...]:
        """Units that have `flag`, or may have it in random teams."""
        has = [bool(getattr(KINDS[name], flag)) for name in self.kinds]
        if self.draws_teams:
            return tuple(range(self.n_allies + self.n_enemies)) if any(has) else ()
        return tuple(u for u, kind in enumerate(self.allies + self.enemies) if has[kind])

    @cached_property
    def healers(self) -> tuple[int, ...]:
        """Indices of medivacs."""
        return self._places("heals")

    @cached_property
    def beams(self) -> tuple[int, ...]:
        """Indices of colossi."""
        return self._places("is_beam")

    @cached_property
    def bombs(self) -> tuple[int, ...]:
        """Indices of banelings."""
        return self._places("explodes")

    def marked(self, flag: str, kinds: jax.Array, like: jax.Array) -> jax.Array:
        """[U, E] bool: which units have `flag`. `kinds`: [U, E], of drawn teams; `like`: [U, E] gives the shape."""
        if self.draws_teams:
            chosen = [k for k, name in enumerate(self.kinds) if getattr(KINDS[name], flag)]
            found = jnp.zeros(like.shape, bool)
            for k in chosen:
                found |= kinds == k
            return found
        places = np.isin(np.arange(like.shape[0]), self._places(flag))
        return jnp.broadcast_to(places[:, None], like.shape)

    def _has_shields(self, side: tuple[int, ...]) -> bool:
        chosen = range(len(self.kinds)) if self.draws_teams else side
        return any(KINDS[self.kinds[k]].shield for k in chosen)

    @cached_property
    def ally_shields(self) -> bool:
        """Whether allies' shields are observed."""
        return self._has_shields(self.allies)

    @cached_property
    def enemy_shields(self) -> bool:
        """Whether enemies' shields are observed."""
        return self._has_shields(self.enemies)

    @cached_property
    def type_bits(self) -> int:
        """Number of columns that encode a unit's kind: none if each side has only one kind."""
        is_mixed = self.draws_teams or len(set(self.allies)) > 1 or len(set(self.enemies)) > 1
        return len(self.kinds) if is_mixed else 0
