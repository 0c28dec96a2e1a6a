"""Parameters that are the same for all lanes: traces and tables, too large for a copy per lane."""

import dataclasses
from typing import Any

import jax


def shared_leaves(params: Any) -> Any:
    """Which leaves of an environment's parameters all lanes share: a bool for each leaf, in the structure of `params`.

    A field of a dataclass is shared, with all that is in it, where it says so: `field(metadata={"shared": True})`. Shared
    leaves have no lane axis; for `vmap` over lanes that is
    `in_axes=jax.tree.map(lambda is_shared: None if is_shared else 0, shared_leaves(params))`.
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: _is_shared(params, path), params)


def _is_shared(node: Any, path: tuple[Any, ...]) -> bool:
    for key in path:
        if isinstance(key, jax.tree_util.GetAttrKey):
            fields = {field.name: field for field in dataclasses.fields(node)} if dataclasses.is_dataclass(node) else {}
            if key.name in fields and fields[key.name].metadata.get("shared", False):
                return True
            node = getattr(node, key.name)
        elif isinstance(key, jax.tree_util.DictKey | jax.tree_util.SequenceKey):
            node = node[key.key if isinstance(key, jax.tree_util.DictKey) else key.idx]
        else:  # a node of somebody's own, whose inside has no names
            return False
    return False
