"""Fitting a network to a batch: epochs, minibatches, gradient clipping, Adam."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxmarl_envs import pytree_dataclass

from jaxmarl_suite.algorithms.core._types import Average

LossFn = Callable[[Any, Any], tuple[jax.Array, dict[str, jax.Array]]]


@pytree_dataclass
class Learner:
    """Parameters and the state of their optimizer. If agents have separate parameters, all leaves have a leading [N]."""

    params: Any
    opt: Any


def adam(
    learning_rate: jax.Array | float, eps: float, max_grad_norm: jax.Array | float
) -> optax.GradientTransformation:
    """Adam after clipping by the global norm. Built inside traced code, so every argument may be traced."""
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.adam(learning_rate, eps=eps))


def new_learner(init: Callable[[jax.Array], Any], key: jax.Array, optimizer: Any, *, shared: bool) -> Learner:
    """Fresh parameters and optimizer state. Consumes `key`."""
    params = init(key)
    return Learner(params, optimizer.init(params) if shared else jax.vmap(optimizer.init)(params))


def zeros(shapes: Any) -> Any:
    """Zeros with these shapes and dtypes."""
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def learn_when(
    due: jax.Array, learn: Callable[[Any], tuple[Any, dict[str, Any]]], carry: Any
) -> tuple[Any, dict[str, Average]]:
    """`learn(carry)`, which is `(carry, metrics)`, where `due` [] bool; elsewhere the carry unchanged and empty metrics.

    A branch also when lanes are batched, as long as `due` has no lane axis: what was played is no lane's own.
    """

    def wait(carry: Any) -> tuple[Any, dict[str, Any]]:
        return carry, zeros(jax.eval_shape(learn, carry)[1])

    carry, metrics = jax.lax.cond(due, learn, wait, carry)
    weight = due.astype(jnp.float32)
    return carry, {name: m if isinstance(m, Average) else Average(m, weight) for name, m in metrics.items()}


def to_sequences(array: jax.Array, length: int) -> jax.Array:
    """[T, E, ...] cut into sequences of `length`: [length, T / length * E, ...]."""
    steps, envs = array.shape[:2]
    cut = array.reshape(steps // length, length, envs, *array.shape[2:])
    return jnp.swapaxes(cut, 0, 1).reshape(length, steps // length * envs, *array.shape[2:])


def gradient_step(
    learner: Learner, batch: Any, loss_fn: LossFn, optimizer: optax.GradientTransformation
) -> tuple[Learner, dict[str, jax.Array]]:
    """One step down the gradient of `loss_fn(params, batch) -> (loss, metrics)`: `(learner, metrics)`."""
    (_, metrics), grads = jax.value_and_grad(loss_fn, has_aux=True)(learner.params, batch)
    with jax.numpy_dtype_promotion("standard"):  # optax's bias correction mixes float and integer
        updates, opt = optimizer.update(grads, learner.opt, learner.params)
    nothing = jnp.zeros((), jnp.float32)  # of networks without parameters
    metrics["grad_norm"] = jnp.sqrt(sum((jnp.sum(jnp.square(g)) for g in jax.tree.leaves(grads)), nothing))
    return Learner(optax.apply_updates(learner.params, updates), opt), metrics


def fit(
    learner: Learner,
    batch: Any,
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    *,
    epochs: int,
    minibatches: int,
) -> tuple[Learner, dict[str, jax.Array]]:
    """Makes `epochs` passes over `batch`; returns the learner and the metrics averaged over all gradient steps.

    Args:
      learner: parameters and optimizer state to update.
      batch: pytree of [L, M, ...]; minibatches are drawn over M, whole sequences stay together.
      loss_fn: `(params, minibatch) -> (loss, metrics)`.
      optimizer: an optax transformation.
      key: consumed; shuffles M.
      epochs: passes over the batch.
      minibatches: gradient steps per pass; must divide M.
    """

    def step(learner: Learner, minibatch: Any) -> tuple[Learner, dict[str, jax.Array]]:
        return gradient_step(learner, minibatch, loss_fn, optimizer)

    def epoch(learner: Learner, key: jax.Array) -> tuple[Learner, dict[str, jax.Array]]:
        if minibatches == 1:  # with one minibatch a shuffle would only cost a gather
            return step(learner, batch)
        size = jax.tree.leaves(batch)[0].shape[1]
        order = jax.random.permutation(key, size).reshape(minibatches, size // minibatches)
        return jax.lax.scan(lambda own, i: step(own, jax.tree.map(lambda x: x[:, i], batch)), learner, order)

    learner, metrics = jax.lax.scan(epoch, learner, jax.random.split(key, epochs))
    return learner, jax.tree.map(jnp.mean, metrics)


def by_agent(batch: dict) -> tuple[dict, dict]:
    """Splits a batch into `(rows, common)`: leaves [L, M, N, ...] as [N, L, M, 1, ...], and `start` [L, M], shared by
    agents.
    """
    own = {name: a for name, a in batch.items() if name != "start"}
    return jax.tree.map(lambda a: jnp.moveaxis(a, 2, 0)[:, :, :, None], own), {"start": batch["start"]}


def fit_agents(
    learner: Learner,
    batch: dict,
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    *,
    shared: bool,
    epochs: int,
    minibatches: int,
) -> tuple[Learner, dict[str, jax.Array]]:
    """`fit` for the networks of N agents: one fit of shared parameters, or N independent fits in parallel.

    Args as for `fit`; leaves of `batch` are [L, M, N, ...] (`start`: [L, M]), those of separate learners have a leading [N].
    """

    def run(learner: Learner, batch: dict, key: jax.Array) -> tuple[Learner, dict[str, jax.Array]]:
        return fit(learner, batch, loss_fn, optimizer, key, epochs=epochs, minibatches=minibatches)

    if shared:
        return run(learner, batch, key)
    rows, common = by_agent(batch)
    keys = jax.random.split(key, jax.tree.leaves(rows)[0].shape[0])
    learner, metrics = jax.vmap(lambda own, r, k: run(own, r | common, k))(learner, rows, keys)
    return learner, jax.tree.map(jnp.mean, metrics)
