"""Packing of many small arrays into one: an environment's windows are a single leaf of its parameters."""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Layout:
    """Names and shapes of the int32 arrays that are stored one after another in a row of P entries. Hashable."""

    fields: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def size(self) -> int:
        """P."""
        return sum(math.prod(shape) for _, shape in self.fields)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of one array."""
        return dict(self.fields)[name]

    def start(self, name: str) -> int:
        """Where an array begins in a row."""
        offset = 0
        for field, shape in self.fields:
            if field == name:
                return offset
            offset += math.prod(shape)
        raise KeyError(name)

    def pack(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """[P] int32: all arrays packed, after checking their shapes."""
        for name, shape in self.fields:
            if arrays[name].shape != shape:
                raise ValueError(f"{name} needs the shape {shape}, got {arrays[name].shape}")
        return np.concatenate([np.asarray(arrays[name], np.int32).ravel() for name, _ in self.fields])

    def unpack(self, row: np.ndarray) -> dict[str, np.ndarray]:
        """All arrays of a row, on the host."""
        starts = {name: self.start(name) for name, _ in self.fields}
        return {name: row[starts[name] : starts[name] + math.prod(shape)].reshape(shape) for name, shape in self.fields}

    def read(self, rows: jax.Array, row: jax.Array, name: str) -> jax.Array:
        """A whole array of one of the `rows` [W, P]."""
        shape = self.shape(name)
        return jax.lax.dynamic_slice(rows, (row, jnp.int32(self.start(name))), (1, math.prod(shape))).reshape(shape)

    def gather(self, rows: jax.Array, row: jax.Array, name: str, index: jax.Array) -> jax.Array:
        """Entries [*index.shape, ...] of an array along its first axis; indices must be in range."""
        inner = self.shape(name)[1:]
        width = math.prod(inner)
        first = self.start(name) + index.reshape(-1, 1) * width
        columns = first + jnp.arange(width, dtype=jnp.int32)[None]
        return rows.at[row, columns].get(mode="promise_in_bounds").reshape(*index.shape, *inner)
