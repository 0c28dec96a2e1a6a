"""Where lanes run, and which parts of their inputs are per lane."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxmarl_envs import VectorState
from jaxmarl_envs.core import shared_leaves

from jaxmarl_suite.algorithms import ActContext, Context

LaneMode = Literal["map", "vmap", "envs"]


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where lanes run."""

    mesh: Mesh
    mode: LaneMode

    def over_lanes(self, fn: Callable[..., Any], batched: tuple[Any, ...], *, updated: int = 0) -> Callable[..., Any]:
        """Turns `fn` of one lane into a function of all lanes.

        Args:
          fn: a function of positional pytrees.
          batched: for each argument True (leading lane axis), False (shared), or a pytree prefix of these.
          updated: if positive, `fn` returns a tuple with new values of its first `updated` arguments. Mapped lanes
            write these over the old values, so that replay is in memory only once.
        """
        axes = jax.tree.map(lambda b: 0 if b else None, batched)
        if self.mode == "envs":
            return jax.vmap(fn, in_axes=axes)

        def lanes(*args: Any) -> Any:  # has the name of `fn` in profiles and logs
            if self.mode == "vmap":
                return jax.vmap(fn, in_axes=axes)(*args)
            # lax.map maps every leaf: per-lane leaves go through it, shared ones bypass it.
            flat, structure = jax.tree.flatten(args)
            flags = _broadcast(batched, args)

            def one(mapped: list[Any]) -> Any:
                rest = iter(mapped)
                leaves = [next(rest) if flag else leaf for flag, leaf in zip(flags, flat)]
                return fn(*jax.tree.unflatten(structure, leaves))

            if not updated:
                return jax.lax.map(one, [leaf for flag, leaf in zip(flags, flat) if flag])

            def put(lane: jax.Array, own: tuple[Any, ...]) -> tuple[Any, ...]:
                flat = jax.tree.leaves((*own, *args[updated:]))
                new = one([leaf[lane] for flag, leaf in zip(flags, flat) if flag])
                return jax.tree.map(lambda x, y: x.at[lane].set(y), own, new)

            return jax.lax.fori_loop(0, jax.tree.leaves(args)[0].shape[0], put, args[:updated])

        lanes.__name__ = getattr(getattr(fn, "func", fn), "__name__", "lanes")
        specs = jax.tree.map(lambda b: PartitionSpec("seed") if b else PartitionSpec(), batched)
        return jax.shard_map(lanes, mesh=self.mesh, in_specs=specs, out_specs=PartitionSpec("seed"), check_vma=False)

    def sharding(self, tree: Any, batched: bool = True) -> Any:
        """Shardings for a pytree with a leading lane axis: lanes over `seed`, environments over `env`."""
        if not batched:
            return jax.tree.map(lambda _: NamedSharding(self.mesh, PartitionSpec()), tree)

        def place(node: Any) -> Any:
            spec = PartitionSpec("seed")
            if isinstance(node, VectorState):
                spec, num_envs, devices = (
                    PartitionSpec("seed", "env"),
                    node.timestep.reward.shape[1],
                    self.mesh.shape["env"],
                )
                if num_envs % devices:
                    raise ValueError(
                        f"lane_mode 'envs' spreads the environments over {devices} devices: their number must be a "
                        f"multiple of that, got {num_envs}"
                    )
            return jax.tree.map(lambda _: NamedSharding(self.mesh, spec), node)

        return jax.tree.map(place, tree, is_leaf=lambda x: isinstance(x, VectorState))

    def argument_shardings(self, axes: Any, tree: Any) -> Any:
        """Shardings for an argument: per-lane leaves over `seed`, shared ones replicated on every device."""

        def place(own: bool, sub: Any) -> Any:
            sharding = NamedSharding(self.mesh, PartitionSpec("seed") if own else PartitionSpec())
            return jax.tree.map(lambda _: sharding, sub)

        return jax.tree.map(place, axes, tree)

    def put(self, axes: Any, tree: Any) -> Any:
        """Puts an argument on the devices where programs expect it, so that no call copies it."""
        return jax.device_put(tree, self.argument_shardings(axes, tree))


def _broadcast(prefix: Any, tree: Any) -> list[bool]:
    """Expands a prefix of flags to one flag per leaf."""
    flags: list[bool] = []
    jax.tree.map(lambda flag, sub: flags.extend([flag] * len(jax.tree.leaves(sub))), prefix, tree)
    return flags


def context_axes(env_params: Any) -> Context:
    """Which parts of a context differ between lanes, as a prefix of its structure: True, or False for shared parts."""
    own = jax.tree.map(lambda is_shared: not is_shared, shared_leaves(env_params))
    shared: Any = False
    return Context(hp=True, env_params=own, data=shared, clock=shared, horizon=shared, played_before=shared)


def acting_axes(env_params: Any) -> ActContext:
    """The same for evaluations, where clocks differ too: the best policies of lanes come from different updates and
    phases.
    """
    each: Any = True
    params = context_axes(env_params).env_params
    return ActContext(hp=each, env_params=params, clock=each, horizon=each, played_before=each)


def take_lane(tree: Any, axes: Any, lane: int) -> Any:
    """One lane of a pytree; shared parts are returned as they are."""
    return jax.tree.map(lambda own, sub: jax.tree.map(lambda x: x[lane] if own else x, sub), axes, tree)
