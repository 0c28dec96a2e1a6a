"""The maps: the teams, their starts, and the walkable cells."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxmarl_envs.micro._kinds import KINDS

SIZE = 32
"""Cells along each side of every map."""
Point = tuple[float, float]
Group = tuple[str, int, Point]
"""A kind, the number of such units, and the point around which they start."""
Span = tuple[int, int, int, int]
"""Rows y0..y1 of walkable cells x0..x1, inclusive."""

_STANDARD: Span = (8, 23, 0, 31)
_ALL: Span = (0, 31, 0, 31)
_OCTAGON: tuple[Span, ...] = ((6, 7, 10, 21), (8, 9, 8, 23), (10, 21, 6, 25), (22, 23, 8, 23), (24, 25, 10, 21))
_WEST, _EAST = (9.0, 16.0), (23.0, 16.0)


@dataclasses.dataclass(frozen=True)
class Map:
    """One battle. Points are in cells from the lower left corner."""

    allies: tuple[Group, ...]
    enemies: tuple[Group, ...]
    limit: int
    """Time limit in steps."""
    goal: Point = _WEST
    """Where enemies without a target walk."""
    spans: tuple[Span, ...] = (_STANDARD,)
    """The walkable cells; a single span is a box."""
    hunt: bool = False
    """Whether enemies know where all allies are."""
    portals: tuple[Point, ...] = ()
    """The paths up a cliff; all at the same x or y."""

    @property
    def is_box(self) -> bool:
        """Whether all walkable cells are one rectangle."""
        return len(self.spans) == 1

    @property
    def box(self) -> np.ndarray:
        """[4] float32: the smallest x and y and the largest x and y, in cells, around all walkable cells."""
        y0, y1, x0, x1 = np.array(self.spans).T
        return np.array([x0.min(), y0.min(), x1.max() + 1, y1.max() + 1], np.float32)

    @property
    def rows(self) -> np.ndarray:
        """[32] uint32: bit x of row y is set if the cell is walkable."""
        return (
            (walkable_cells(self.spans).astype(np.uint64) << np.arange(SIZE, dtype=np.uint64)).sum(1).astype(np.uint32)
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds on both sides, in the order of `KINDS`."""
        return kinds_of([name for name, _, _ in (*self.allies, *self.enemies)])

    def start(self) -> np.ndarray:
        """[U, 2] float32 cells: the start of every unit, allies first."""
        cells = walkable_cells(self.spans)
        sides = [_place(groups, cells, is_enemy) for is_enemy, groups in enumerate((self.allies, self.enemies))]
        return np.concatenate(sides).astype(np.float32)


def kinds_of(names: Sequence[str]) -> tuple[str, ...]:
    """The distinct kinds in `names`, in the order of `KINDS`."""
    return tuple(name for name in KINDS if name in set(names))


def walkable_cells(spans: Sequence[Span]) -> np.ndarray:
    """[y, x] bool."""
    cells = np.zeros((SIZE, SIZE), bool)
    for y0, y1, x0, x1 in spans:
        cells[y0 : y1 + 1, x0 : x1 + 1] = True
    return cells


def hexagon(count: int, spacing: float) -> np.ndarray:
    """[count, 2]: the first points of a hexagonal grid in rings around the origin, from the inside out."""
    points, ring = [(0.0, 0.0)], 0
    corners = [(np.cos(a), np.sin(a)) for a in np.arange(6) * np.pi / 3]
    while len(points) < count:
        ring += 1
        for (x, y), (next_x, next_y) in zip(corners, corners[1:] + corners[:1]):
            points += [(x * (ring - k) + next_x * k, y * (ring - k) + next_y * k) for k in range(ring)]
    return spacing * np.array(points[:count])


def spacing_of(names: Sequence[str]) -> float:
    """Distance in cells between neighbors of a group: a little more than two of the largest pushing radii."""
    return 2.1 * max((KINDS[name].body for name in names if KINDS[name].collides), default=0.75)


def _place(groups: Sequence[Group], cells: np.ndarray, is_enemy: int) -> np.ndarray:
    """[units, 2] cells of one side. The enemy's hexagons are mirrored, so that equal sides start symmetrically."""
    placed: list[np.ndarray] = []
    by_point: dict[Point, list[str]] = {}
    for name, count, point in groups:
        by_point.setdefault(point, []).extend([name] * count)
    for point, names in by_point.items():
        offsets = hexagon(4 * len(names) + 16, spacing_of(names)) * ([-1, 1] if is_enemy else [1, 1])
        spots = np.round((np.array(point) + offsets) * 4096) / 4096
        column, row = np.floor(spots.clip(0, SIZE - 1e-6)).astype(int).T
        inside = ((spots > 0) & (spots < SIZE)).all(1) & cells[row, column]
        placed.append(spots[inside][: len(names)])
    return np.concatenate(placed)


def _meet(limit: int, allies: str, enemies: str, **more: object) -> Map:
    """Both sides around the two standard points; teams are written like "3 stalker, 5 zealot"."""
    sides: list[tuple[Group, ...]] = []
    for team, point in ((allies, _WEST), (enemies, _EAST)):
        words = [part.split(" ", 1) for part in team.split(", ")]
        sides.append(tuple((name, int(count), point) for count, name in words))
    return Map(sides[0], sides[1], limit, **more)  # type: ignore[arg-type]


MAPS: dict[str, Map] = {
    "3m": _meet(60, "3 marine", "3 marine"),
    "8m": _meet(120, "8 marine", "8 marine"),
    "25m": _meet(150, "25 marine", "25 marine"),
    "5m_vs_6m": _meet(70, "5 marine", "6 marine"),
    "8m_vs_9m": _meet(120, "8 marine", "9 marine"),
    "10m_vs_11m": _meet(150, "10 marine", "11 marine"),
    "27m_vs_30m": _meet(180, "27 marine", "30 marine"),
    "MMM": _meet(150, "2 marauder, 7 marine, 1 medivac", "2 marauder, 7 marine, 1 medivac"),
    "MMM2": _meet(180, "2 marauder, 7 marine, 1 medivac", "3 marauder, 8 marine, 1 medivac"),
    "2s3z": _meet(120, "2 stalker, 3 zealot", "2 stalker, 3 zealot"),
    "3s5z": _meet(150, "3 stalker, 5 zealot", "3 stalker, 5 zealot"),
    "3s5z_vs_3s6z": _meet(170, "3 stalker, 5 zealot", "3 stalker, 6 zealot"),
    "1c3s5z": _meet(180, "1 colossus, 3 stalker, 5 zealot", "1 colossus, 3 stalker, 5 zealot"),
    "3s_vs_3z": _meet(150, "3 stalker", "3 zealot", spans=(_ALL,)),
    "3s_vs_4z": _meet(200, "3 stalker", "4 zealot", spans=(_ALL,)),
    "3s_vs_5z": _meet(250, "3 stalker", "5 zealot", spans=(_ALL,)),
    "2m_vs_1z": Map(
        (("marine", 1, (13, 12)), ("marine", 1, (19, 12))), (("zealot", 1, (16, 19)),), 150, (16, 12), _OCTAGON
    ),
    "2s_vs_1sc": Map(
        (("stalker", 1, (11.12, 10.34)), ("stalker", 1, (16.98, 10.37))),
        (("spine crawler", 1, (13.92, 20.04)),),
        300,
        (13.92, 20.04),
        ((8, 19, 8, 19), (20, 21, 10, 17), (22, 23, 12, 15)),
    ),
    "6h_vs_8z": Map(
        (("hydralisk", 6, (14.6, 9.49)),),
        (("zealot", 8, (14.41, 16.76)),),
        150,
        (14.6, 9.49),
        ((8, 9, 10, 19), (10, 17, 8, 21), (18, 19, 10, 19)),
    ),
    "bane_vs_bane": Map(
        (("baneling", 4, (16, 8)), ("zergling", 20, (16, 11))),
        (("baneling", 4, (16, 24)), ("zergling", 20, (16, 21))),
        200,
        (16, 8),
        _OCTAGON,
    ),
    "so_many_baneling": Map(
        (("zealot", 7, (11.47, 12.02)),),
        (("baneling", 32, (27.91, 28.24)),),
        100,
        (4.47, 4.33),
        (
            (2, 3, 2, 7), (4, 7, 2, 11), (8, 11, 4, 15), (12, 15, 8, 19), (16, 17, 10, 19),
            (18, 21, 14, 25), (22, 23, 16, 29), (24, 27, 20, 29), (28, 29, 22, 29),
        ),
    ),
    "corridor": Map(
        (("zealot", 6, (19.04, 19.12)),),
        (("zergling", 24, (27.91, 28.24)),),
        400,
        (4.47, 4.33),
        (
            (14, 15, 14, 25), (16, 17, 14, 27), (18, 21, 12, 29), (22, 23, 14, 29), (24, 25, 16, 29),
            (26, 27, 18, 29), (28, 29, 20, 29), (12, 13, 12, 13), (2, 11, 2, 11), (11, 14, 11, 14),
        ),
    ),
    "2c_vs_64zg": Map(
        (("colossus", 2, (16, 16)),),
        (("zergling", 64, (16, 9)),),
        400,
        (16, 16),
        (
            (6, 7, 4, 27), (8, 9, 2, 29), (10, 11, 0, 31), (12, 13, 0, 3), (12, 13, 28, 31),
            (14, 17, 0, 31), (18, 19, 8, 23),
        ),
        hunt=True,
        portals=((2, 13), (30, 13)),
    ),
}  # fmt: skip
