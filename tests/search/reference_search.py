"""The search in plain Python: trees are dictionaries, every value is computed anew from all stored returns."""

import math
from dataclasses import dataclass, field


@dataclass
class Node:
    state: list
    raw: float
    candidates: dict  # slot -> (joint action, prior): the children that there can be
    order: list
    reward: float = 0.0
    discount: float = 1.0
    children: dict = field(default_factory=dict)  # slot -> Node
    index: int = 0
    visits: int = 0  # simulations that went to or through this node


def descendants(node, depth=0, reward=0.0, weight=1.0):
    """`(depth, return)` of every node below, itself included."""
    yield depth, reward + weight * node.raw
    for child in node.children.values():
        yield from descendants(child, depth + 1, reward + weight * child.reward, weight * child.discount)


def node_value(node, rho, lam):
    """OS(λ); with `rho` None the mean of all returns."""
    by_depth = {}
    for depth, value in descendants(node):
        by_depth.setdefault(depth, []).append(value)
    if rho is None:
        values = [value for level in by_depth.values() for value in level]
        return sum(values) / len(values)
    total = weight = 0.0
    for depth, values in by_depth.items():
        kept = sorted(values, reverse=True)[: max(1, math.ceil(len(values) * (1 - rho) - 1e-9))]
        total += lam**depth * sum(kept)
        weight += lam**depth * len(kept)
    return total / weight


def child_value(child, rho, lam):
    return child.reward + child.discount * node_value(child, rho, lam)


def all_nodes(node):
    yield node
    for child in node.children.values():
        yield from all_nodes(child)


def scores(root, node, rho, lam):
    """The score of every slot of `node`."""
    seen = [child_value(c, rho, lam) - n.raw for n in all_nodes(root) for c in n.children.values()]
    n = sum(child.visits for child in node.children.values())
    found = {}
    for slot, (_, prior) in node.candidates.items():
        child = node.children.get(slot)
        x = child_value(child, rho, lam) - node.raw if child else 0.0
        if seen:
            x = min(1.0, max(0.0, (x - min(seen)) / max(0.01, max(seen) - min(seen))))
        count = child.visits if child else 0
        bonus = 1.25 + math.log((n + 19652 + 1) / 19652)
        found[slot] = x + prior * math.sqrt(n) / (1 + count) * bonus
    return found


def select(root, node, rho, lam, tolerance=1e-6):
    """The slot that is followed; scores closer than `tolerance` count as equal."""
    if node is root and len(root.children) < len(root.candidates):
        return min(slot for slot in root.candidates if slot not in root.children)
    found = scores(root, node, rho, lam)
    best = max(found.values())
    return max((slot for slot in found if found[slot] >= best - tolerance), key=lambda slot: node.order[slot])


def simulate(root, index, expand, rho, lam):
    """Adds node `index`; returns the path's nodes. `expand(index, state, joint) -> Node`."""
    path, node = [root], root
    while True:
        slot = select(root, node, rho, lam)
        if slot not in node.children:
            break
        node = node.children[slot]
        path.append(node)
    leaf = expand(index, node.state, node.candidates[slot][0])
    leaf.index = index
    node.children[slot] = leaf
    for passed in [*path, leaf]:
        passed.visits += 1
    return [*path, leaf], slot
