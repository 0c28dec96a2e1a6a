"""Tree search over sampled joint actions with OS(λ), through mctx's public `search`.

MAZero (Liu et al. 2024, arXiv 2405.11778) on the tree of Sampled MuZero (Hubert et al. 2021, arXiv 2104.06303). A node
has K slots; mctx's action is an index into them, and the joint actions are in the node's embedding.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import mctx
from jaxmarl_envs.core import documented

from jaxmarl_suite.search._backup import Returns, add_leaf, root_returns
from jaxmarl_suite.search._candidates import is_first, noisy_policy, sample_candidates
from jaxmarl_suite.search._checks import check_count, check_number
from jaxmarl_suite.search._model import Embedding, Model, Params, check_model, check_prediction, check_root
from jaxmarl_suite.search._result import Search, SearchResult
from jaxmarl_suite.search._select import child_values, choose_children

Number = jax.Array | float


@documented
class Node(NamedTuple):
    """The embedding of a node of the tree."""

    state: Embedding  # leaves [B, ...], the model's
    actions: jax.Array  # [B, K, N] int32, joint actions of its children
    order: jax.Array  # [B, K] float32, random order that breaks ties of scores


class Extra(NamedTuple):
    """Data that passes from simulation to simulation in addition to mctx's own arrays."""

    chosen: jax.Array  # [B, M] int32, the selected slot of each node
    returns: Returns | tuple[()]  # () if values are means


class _Settings(NamedTuple):
    num_simulations: int
    num_samples: int
    backup: Literal["optimistic", "mean"]
    drop_lowest: Number
    depth_decay: Number
    noise_share: Number
    noise_concentration: float
    temperature: Number


def sampled_search(
    model: Model,
    *,
    num_simulations: int = 50,
    num_samples: int = 10,
    backup: Literal["optimistic", "mean"] = "optimistic",
    drop_lowest: Number = 0.75,
    depth_decay: Number = 0.8,
    noise_share: Number = 0.0,
    noise_concentration: float = 0.3,
    temperature: Number = 1.0,
) -> Search:
    """A search over K joint actions per node, sampled from the model's policies: MAZero's. Pure; the caller compiles
    it.

    Visits are only meaningful with several simulations per child: about 5 K in total. `best` is the most visited
    child, the first among equals. With random outcomes, the optimistic backup mistakes luck for skill.

    Args:
      model: model of the task.
      num_simulations: S, nodes added to a tree.
      num_samples: K, joint actions sampled at each node, with replacement; duplicates are merged.
      backup: "optimistic" for OS(λ), "mean" for the mean of all returns, as in MuZero (OS(λ) with drop_lowest=0 and
        depth_decay=1 has the same values).
      drop_lowest: ρ, the share of a depth's returns that the optimistic backup drops. May be traced.
      depth_decay: λ, the weight of a depth relative to the one above in the optimistic backup. May be traced.
      noise_share: weight of Dirichlet noise in the root's policies; 0.25 to explore, 0 to evaluate. May be traced.
      noise_concentration: concentration of that noise.
      temperature: temperature of the proposal distribution, relative to the policies. May be traced.

    Raises:
      ValueError: fewer simulations than samples, or a number out of range.
    """
    grow = sampled_tree(
        model,
        num_simulations=num_simulations,
        num_samples=num_samples,
        backup=backup,
        drop_lowest=drop_lowest,
        depth_decay=depth_decay,
        noise_share=noise_share,
        noise_concentration=noise_concentration,
        temperature=temperature,
    )

    def search(params: Params, key: jax.Array, inputs: Any) -> SearchResult:
        return _result_of(grow(params, key, inputs))

    return search


def sampled_tree(
    model: Model,
    *,
    num_simulations: int = 50,
    num_samples: int = 10,
    backup: Literal["optimistic", "mean"] = "optimistic",
    drop_lowest: Number = 0.75,
    depth_decay: Number = 0.8,
    noise_share: Number = 0.0,
    noise_concentration: float = 0.3,
    temperature: Number = 1.0,
) -> Callable[[Params, jax.Array, Any], mctx.Tree]:
    """Like `sampled_search`, but returns the whole tree, for inspection; its embeddings are `Node`s."""
    settings = _Settings(
        num_simulations,
        num_samples,
        backup,
        drop_lowest,
        depth_decay,
        noise_share,
        noise_concentration,
        temperature,
    )
    check_model(model)
    _check(settings)
    return functools.partial(_grow, model, settings)


def _grow(model: Model, settings: _Settings, params: Params, key: jax.Array, inputs: Any) -> mctx.Tree:
    model_key, noise_key, sample_key, order_key, search_key = jax.random.split(key, 5)
    root = model.root(params, model_key, inputs)
    check_root(model, root)
    policy = noisy_policy(noise_key, root, settings.noise_share, settings.noise_concentration)
    candidates = sample_candidates(sample_key, policy, settings.num_samples, settings.temperature)
    is_optimistic = settings.backup == "optimistic"
    returns = root_returns(root.value, settings.num_simulations) if is_optimistic else ()
    chosen = jnp.zeros((root.value.shape[0], settings.num_simulations + 1), jnp.int32)  # the root's first child
    order = jax.random.uniform(order_key, candidates.log_prior.shape)
    # mctx mixes integers and floats, which strict dtype promotion would reject.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return mctx.search(
            params,
            search_key,
            root=mctx.RootFnOutput(
                prior_logits=candidates.log_prior,
                value=root.value,
                embedding=Node(root.embedding, candidates.actions, order),
            ),
            recurrent_fn=functools.partial(_expand, model, settings),
            root_action_selection_fn=_select,
            interior_action_selection_fn=lambda key, tree, node, depth: _select(key, tree, node),
            num_simulations=settings.num_simulations,
            invalid_actions=~is_first(candidates.log_prior),
            extra_data=Extra(chosen, returns),
            loop_fn=functools.partial(_simulate, settings),
        )


def _expand(
    model: Model, settings: _Settings, params: Params, key: jax.Array, slot: jax.Array, node: Node
) -> tuple[mctx.RecurrentFnOutput, Node]:
    """Mctx's `recurrent_fn`: the joint action in the slot, the model's step, and new candidates in the new node."""
    model_key, sample_key, order_key = jax.random.split(key, 3)
    joint = jnp.take_along_axis(node.actions, slot[:, None, None], axis=1)[:, 0]
    prediction, state = model.recurrent(params, model_key, joint, node.state)
    check_prediction(model, prediction, slot.shape[0])
    policy = jax.nn.softmax(prediction.logits)
    candidates = sample_candidates(sample_key, policy, settings.num_samples, settings.temperature)
    output = mctx.RecurrentFnOutput(
        reward=prediction.reward,
        discount=prediction.discount,
        prior_logits=candidates.log_prior,
        value=prediction.value,
    )
    return output, Node(state, candidates.actions, jax.random.uniform(order_key, candidates.log_prior.shape))


def _select(key: jax.Array, tree: mctx.Tree, node: jax.Array) -> jax.Array:
    """Mctx's action selection, for one tree."""
    return tree.extra_data.chosen[node]


def _simulate(settings: _Settings, lower: int, upper: int, body: Callable[[Any, Any], Any], init: Any) -> Any:
    """Mctx's `loop_fn`: after each simulation, updates the values above the new leaf and the selected child of each
    node.
    """

    def simulation(index: jax.Array, carry: tuple[jax.Array, mctx.Tree]) -> tuple[jax.Array, mctx.Tree]:
        key, tree = body(index, carry)
        returns = tree.extra_data.returns
        if settings.backup == "optimistic":
            tree, returns = add_leaf(tree, returns, index + 1, settings.drop_lowest, settings.depth_decay)
        return key, tree.replace(extra_data=Extra(choose_children(tree, tree.embeddings.order), returns))

    return jax.lax.fori_loop(lower, upper, simulation, init)


def _result_of(tree: mctx.Tree) -> SearchResult:
    root = tree.ROOT_INDEX
    visits, log_prior = tree.children_visits[:, root], tree.children_prior_logits[:, root]
    dtype = tree.raw_values.dtype
    return SearchResult(
        actions=tree.embeddings.actions[:, root],
        is_child=is_first(log_prior),
        visits=visits,
        weights=visits.astype(dtype) / jnp.asarray(tree.num_simulations, dtype),
        q=child_values(tree)[:, root],
        value=tree.node_values[:, root],
        raw_value=tree.raw_values[:, root],
        best=visits.argmax(-1).astype(jnp.int32),
        prior=jnp.exp(log_prior),
    )


def _check(settings: _Settings) -> None:
    check_count("num_samples", settings.num_samples)
    check_count("num_simulations", settings.num_simulations)
    if settings.num_simulations < settings.num_samples:
        raise ValueError(
            f"num_simulations must be at least num_samples, as every joint action of the root is tried once, got "
            f"{settings.num_simulations} and {settings.num_samples}"
        )
    if settings.backup not in ("optimistic", "mean"):
        raise ValueError(f"backup must be 'optimistic' or 'mean', got {settings.backup!r}")
    for name in ("drop_lowest", "depth_decay", "noise_share"):
        check_number(name, getattr(settings, name), "lie between 0 and 1", lambda x: 0 <= x <= 1)
    for name in ("noise_concentration", "temperature"):
        check_number(name, getattr(settings, name), "be finite and positive", lambda x: x > 0)
