"""The robots: partitions of their actuators, and the composition of their observations."""

from typing import Literal, NamedTuple

Partition = tuple[tuple[int, ...], ...]
"""The actuators of each agent, by their index in brax."""


class Part(NamedTuple):
    """Consecutive entries of brax's observation."""

    kind: Literal["q", "qd", "link", "task"]
    """Positions `q[first:last]`, velocities (or forces) `qd[first:last]`, `width` entries for each link, or `width`
    entries that belong to no joint."""
    first: int = 0
    last: int | None = None
    width: int = 0


class Robot(NamedTuple):
    """One brax environment, or two cheetahs built from it."""

    name: str
    partitions: dict[str, Partition]
    layout: tuple[Part, ...]
    """The parts of the observation, in order."""
    measure: Literal["distance", "target_distance", "height"] = "distance"
    """The kind of its metric."""
    backends: tuple[str, ...] = ("spring", "positional", "generalized", "mjx")
    """The first one is the default."""


def _even(n_agents: int, size: int) -> Partition:
    """Neighboring actuators, `size` per agent."""
    return tuple(tuple(range(i * size, (i + 1) * size)) for i in range(n_agents))


# abdomen_y, _z, _x | right hip_x, _z, _y, knee | the same left | right shoulder1, 2, elbow | the same left
_HUMANOID: dict[str, Partition] = {
    "9|8": ((0, 1, 2, *range(11, 17)), tuple(range(3, 11))),  # abdomen and arms | legs
    "17x1": _even(17, 1),
}
_WALKER = {"2x3": _even(2, 3), "3x2": _even(3, 2), "6x1": _even(6, 1)}  # two legs of three joints
_PLANAR = (Part("q", first=1), Part("qd"))  # without x
_SPATIAL = (Part("q", first=2), Part("qd"))  # without x, y
# Inertia (9) and mass of every link, its linear and angular velocity, forces of the actuators.
_HUMANOID_LAYOUT = (*_SPATIAL, Part("link", width=10), Part("link", width=6), Part("qd"))

ROBOTS: dict[str, Robot] = {
    robot.name: robot
    for robot in (
        Robot("halfcheetah", _WALKER, _PLANAR),
        # One cheetah per agent. brax's other backends ignore the tendon between them.
        Robot("coupled-halfcheetah", {"2x6": _even(2, 6)}, _PLANAR, backends=("mjx",)),
        Robot(
            "ant",
            {
                # Hip and ankle of the legs 4, 1, 2, 3, which stand around the torso as 1, 2, 3, 4.
                "2x4": _even(2, 4),
                "2x4d": ((0, 1, 4, 5), (2, 3, 6, 7)),  # each agent has two legs opposite to each other
                "4x2": _even(4, 2),
                "8x1": _even(8, 1),
            },
            _SPATIAL,
        ),
        Robot("walker2d", _WALKER, _PLANAR),
        Robot("hopper", {"3x1": _even(3, 1)}, _PLANAR),
        Robot("humanoid", _HUMANOID, _HUMANOID_LAYOUT),
        Robot("humanoidstandup", _HUMANOID, _HUMANOID_LAYOUT, measure="height"),
        Robot("swimmer", {"2x1": _even(2, 1)}, _SPATIAL, backends=("generalized",)),
        Robot(
            "reacher",
            {"2x1": _even(2, 1)},
            # Cosines, sines, target; velocity of the fingertip, its way to the target.
            (Part("q", 0, 2), Part("q", 0, 2), Part("q", 2), Part("task", width=2), Part("task", width=3)),
            measure="target_distance",
        ),
        Robot(
            "pusher",
            # Shoulder (pan, lift, roll) | elbow flex, forearm roll | wrist flex, roll
            {"3|4": ((0, 1, 2), (3, 4, 5, 6)), "3|2|2": ((0, 1, 2), (3, 4), (5, 6)), "7x1": _even(7, 1)},
            (Part("q", 0, 7), Part("qd", 0, 7), Part("task", width=9)),  # the last: tip, object and goal
            measure="target_distance",
        ),
    )
}
