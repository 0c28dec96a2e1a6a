"""Which entries of an observation belong to which joint, and distances between joints, from brax's kinematic tree."""

from typing import Any, NamedTuple

import numpy as np

from jaxmarl_envs.mabrax._robots import Part, Partition

# Positions and velocities of a link by the type of its joint: free, or one to three hinges and slides.
_NUM_Q = {"f": 7, "1": 1, "2": 2, "3": 3}
_NUM_QD = {"f": 6, "1": 1, "2": 2, "3": 3}


class Tree(NamedTuple):
    """A robot's links and actuators."""

    link_types: str
    """Type of the joint between each link and its parent, in brax's notation."""
    link_parents: tuple[int, ...]
    """Index of each link's parent; -1 for the world."""
    actuator_qd: tuple[int, ...]
    """Degree of freedom that each actuator drives."""


def tree_of(system: Any) -> Tree:
    """The tree of a `brax.base.System`."""
    parents = tuple(int(parent) for parent in system.link_parents)
    return Tree(system.link_types, parents, tuple(int(i) for i in np.asarray(system.actuator.qd_id)))


def _links_of(tree: Tree, width: dict[str, int]) -> list[int]:
    """The link of every coordinate."""
    return [link for link, kind in enumerate(tree.link_types) for _ in range(width[kind])]


def joint_distances(tree: Tree) -> np.ndarray:
    """[A, A] int: steps between the joints of every two actuators; A if they are not connected.

    Joints are neighbors if they meet at a body: one joint's body is the other's parent, both hang on one body, or both
    move the same body. The world does not count as a body.
    """
    of_qd = _links_of(tree, _NUM_QD)
    links = [of_qd[i] for i in tree.actuator_qd]
    parents = [tree.link_parents[link] for link in links]
    count = len(links)
    distance = np.full((count, count), count)
    for a in range(count):
        for b in range(count):
            if {links[a], parents[a]} & {links[b], parents[b]} - {-1}:
                distance[a, b] = 1
    np.fill_diagonal(distance, 0)
    for via in range(count):
        distance = np.minimum(distance, distance[:, via, None] + distance[None, via])
    return np.minimum(distance, count)


def entry_owners(tree: Tree, layout: tuple[Part, ...]) -> tuple[tuple[int, ...], ...]:
    """For every entry of the observation, the actuators that drive the described part; none for the root and the task."""
    of_q, of_qd = _links_of(tree, _NUM_Q), _links_of(tree, _NUM_QD)
    by_qd: list[tuple[int, ...]] = [()] * len(of_qd)
    by_link: list[tuple[int, ...]] = [()] * len(tree.link_types)
    for actuator, qd in enumerate(tree.actuator_qd):
        by_qd[qd] += (actuator,)
        by_link[of_qd[qd]] += (actuator,)
    by_q: list[tuple[int, ...]] = [()] * len(of_q)
    for link, kind in enumerate(tree.link_types):
        if kind != "f":  # a quaternion has no velocity of its own for each entry, and is moved by nothing
            start = of_q.index(link)
            by_q[start : start + _NUM_Q[kind]] = by_qd[of_qd.index(link) : of_qd.index(link) + _NUM_QD[kind]]
    owners: list[tuple[int, ...]] = []
    for part in layout:
        if part.kind == "task":
            owners += [()] * part.width
        elif part.kind == "link":
            owners += [link for link in by_link for _ in range(part.width)]
        else:
            owners += (by_q if part.kind == "q" else by_qd)[part.first : part.last]
    return tuple(owners)


def local_entries(tree: Tree, layout: tuple[Part, ...], partition: Partition, reach: int) -> Partition:
    """The entries that each agent observes: those of its own joints and of joints at most `reach` steps away.

    First come entries that belong to no joint, which are the same for all, then the own joints in the order of the
    agent's actions, then the others, nearest first. An entry that several joints drive is placed with the nearest of
    them.
    """
    distance, owners = joint_distances(tree), entry_owners(tree, layout)
    rows = []
    for own in partition:
        steps = distance[list(own)].min(axis=0)
        places = {a: (int(steps[a]), own.index(a) if a in own else tree.actuator_qd[a]) for a in range(len(steps))}
        keys = [min((places[a] for a in owner), default=(-1, 0)) for owner in owners]
        seen = [entry for entry, key in enumerate(keys) if key[0] <= reach]
        rows.append(tuple(sorted(seen, key=lambda entry: (keys[entry], entry))))
    return tuple(rows)
