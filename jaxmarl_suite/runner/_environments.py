"""Environments made from their options, traced and static."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxmarl_envs
import numpy as np
from jaxmarl_envs import Environment, EpisodeStatistics, ProtocolError, UnknownOption, check_shapes
from jaxmarl_envs.core import read_spec, shared_leaves

from jaxmarl_suite.runner._devices import in_32_bits


class Instance(NamedTuple):
    """An environment with its parameters."""

    env: Environment
    """Wrapped in episode statistics."""
    params: Any
    """Its traced parameters."""
    optimum: float | None
    """The optimum of its spec; None if a parameter differs from the value that the environment was made with."""


class Environments:
    """The environments of an experiment; equal static options share one object."""

    def __init__(self, env_id: str, options: Mapping[str, Any]) -> None:
        """`options` are options of the family or, if it has none of that name, scalar fields of the parameters."""
        self._id, self._options = env_id, dict(options)
        self._made: dict[str, Environment] = {}

    def get(self, overrides: Mapping[str, Any]) -> Instance:
        """The environment with `overrides`: scalar fields of the parameters if they exist, otherwise options of the
        family.

        Raises:
          ValueError: an unknown environment or option, or an invalid value.
        """
        env, traced = self._base
        fields = _scalar_fields(env.default_params)
        traced = traced | {name: value for name, value in overrides.items() if name in fields}
        if rest := {name: value for name, value in overrides.items() if name not in fields}:
            env = self._make({name: value for name, value in self._options.items() if name not in traced} | rest)
        defaults = _scalar_fields(env.default_params)
        given = {name: _parameter(name, value, defaults[name]) for name, value in traced.items()}
        if all(value == defaults[name] for name, value in given.items()):
            return Instance(env, env.default_params, env.spec.optimum)
        return Instance(env, dataclasses.replace(env.default_params, **given), None)

    @functools.cached_property
    def _base(self) -> tuple[Environment, dict[str, Any]]:
        """The environment without overrides, and those of its options that are parameters."""
        try:
            return self._make(self._options), {}
        except UnknownOption:
            try:
                fields = _scalar_fields(self._make({}).default_params)
            except ValueError:
                fields = {}
            traced = {name: value for name, value in self._options.items() if name in fields}
            if not traced:
                raise
        return self._make({name: value for name, value in self._options.items() if name not in traced}), traced

    def _make(self, options: Mapping[str, Any]) -> Environment:
        name = repr(sorted(options.items()))
        if name not in self._made:
            env = jaxmarl_envs.make(self._id, **options)
            with _one_line(self._id):
                read_spec(env)
            self._made[name] = EpisodeStatistics(env)
        return self._made[name]


@in_32_bits
def env_parameters(env_id: str) -> dict[str, Any]:
    """The traced scalars of an environment, which `env.NAME` sets, by name, with their defaults.

    Raises:
      ValueError: an unknown environment.
    """
    fields = _scalar_fields(Environments(env_id, {}).get({}).params)
    return {name: value.item() for name, value in sorted(fields.items())}


@in_32_bits
def check_instance(env_id: str, instance: Instance) -> None:
    """Rejects an environment that no learner could use, by tracing `reset` and `step` before anything is compiled for
    it.

    Raises:
      ValueError: one line with the first problem and the command that lists all of them.
    """
    env: Any = instance.env
    with _one_line(env_id):
        check_shapes(env.env if isinstance(env, EpisodeStatistics) else env, params=instance.params)


@contextlib.contextmanager
def _one_line(env_id: str) -> Iterator[None]:
    try:
        yield
    except ProtocolError as error:
        first, more = error.failures[0], len(error.failures) - 1
        raise ValueError(
            f"environment {env_id!r} breaks the protocol: {first}{f' (and {more} more)' if more else ''}; "
            f'for all that is wrong run "jaxmarl-suite envs --check {env_id}"'
        ) from error


def same_program(a: Instance, b: Instance) -> bool:
    """Whether lanes in two environments can share a program: only per-lane parameters differ.

    Shared parameters must be the same. To avoid transfers, arrays on a device count as the same only if they are one
    object.
    """

    def kinds(params: Any) -> Any:
        leaves, structure = jax.tree.flatten(params)
        return structure, [(np.shape(x), _dtype(x)) for x in leaves]

    if a.env != b.env or kinds(a.params) != kinds(b.params):
        return False
    each = zip(*(jax.tree.leaves(tree) for tree in (shared_leaves(a.params), a.params, b.params)))
    return all(_is_same(x, y) for is_shared, x, y in each if is_shared)


def _dtype(x: Any) -> Any:
    return x.dtype if isinstance(x, jax.Array) else jax.dtypes.canonicalize_dtype(np.asarray(x).dtype)


def _is_same(x: Any, y: Any) -> bool:
    return x is y or (not isinstance(x, jax.Array) and not isinstance(y, jax.Array) and np.array_equal(x, y))


def same_instance(a: Instance, b: Instance) -> bool:
    """Whether two environments are equal, including their parameters."""
    ours, theirs = (jax.tree_util.tree_leaves_with_path(one.params) for one in (a, b))
    return (
        a.env == b.env
        and [path for path, _ in ours] == [path for path, _ in theirs]
        and all(x is y or np.array_equal(x, y) for (_, x), (_, y) in zip(ours, theirs))
    )


def _scalar_fields(params: Any) -> dict[str, np.ndarray]:
    """The scalar fields of a parameter dataclass, in the dtypes that they have when traced."""
    if not dataclasses.is_dataclass(params):
        return {}
    values = {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    return {name: np.asarray(jnp.asarray(value)) for name, value in values.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    if hasattr(value, "dtype"):
        return value.ndim == 0 and value.dtype.kind in "biuf"
    return isinstance(value, bool | int | float)


def _parameter(name: str, value: Any, default: np.ndarray) -> jax.Array:
    """`value` for a parameter, as a scalar [] with the dtype of its default."""
    kind, number = default.dtype.kind, value.item() if hasattr(value, "dtype") and np.ndim(value) == 0 else value
    if kind == "b":
        fits = isinstance(number, bool)
    else:
        limits: Any = np.finfo(default.dtype) if kind == "f" else np.iinfo(default.dtype)
        fits = isinstance(number, int | float) and not isinstance(number, bool)
        fits = fits and float(limits.min) <= number <= float(limits.max)  # not NaN either
        fits = fits and (kind == "f" or number == int(number))
    if not fits:
        wanted = {"b": "True or False", "f": "a finite number"}.get(kind, "an integer")
        raise ValueError(f"env.{name} must be {wanted}, got {value!r}")
    return jnp.asarray(int(number) if kind in "iu" else number, default.dtype)
