"""Parameters that all lanes share: traces and tables that are too large for a copy per lane."""

import dataclasses
from typing import Any

import jax


def shared_leaves(params: Any) -> Any:
    """Marks the leaves of an environment's parameters that all lanes share: a bool per leaf, in the structure of
    `params`.

    A field of a dataclass is shared, with everything in it, if it is declared with `field(metadata={"shared": True})`.
    Shared leaves have no lane axis; for `vmap` over lanes that is `in_axes=jax.tree.map(lambda is_shared: None if
    is_shared else 0, shared_leaves(params))`.
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
        else:  # a custom node, whose contents have no names
            return False
    return False
