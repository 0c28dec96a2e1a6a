"""mctx's own searches over all joint actions of a small game, as baselines for the sampled search."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mctx
import numpy as np

from jaxmarl_suite.search._candidates import enumerate_joint_actions, joint_logits
from jaxmarl_suite.search._checks import check_count, check_number
from jaxmarl_suite.search._model import Embedding, Model, Params, check_model, check_prediction, check_root
from jaxmarl_suite.search._result import Search, SearchResult
from jaxmarl_suite.search._select import child_values


def gumbel_search(
    model: Model, *, num_simulations: int = 50, max_considered: int = 16, gumbel_scale: jax.Array | float = 1.0
) -> Search:
    """Gumbel MuZero (Danihelka et al. 2022) over all A**N joint actions: `mctx.gumbel_muzero_policy`.

    `weights` is the improved policy, `best` the result of sequential halving.

    Args:
      model: model of the task.
      num_simulations: number of nodes added to a tree.
      max_considered: joint actions that are tried at the root, without replacement.
      gumbel_scale: scale of the noise with which they are sampled; 0 takes the most likely ones. May be traced.

    Raises:
      ValueError: more joint actions than `ENUMERATION_LIMIT`, or a number out of range.
    """
    check_count("max_considered", max_considered)
    check_number("gumbel_scale", gumbel_scale, "be finite and not negative", lambda x: x >= 0)

    policy = functools.partial(
        mctx.gumbel_muzero_policy, max_num_considered_actions=max_considered, gumbel_scale=gumbel_scale
    )
    return _over_all(model, num_simulations, policy, lambda output: output.action)


def muzero_search(
    model: Model,
    *,
    num_simulations: int = 50,
    noise_share: jax.Array | float = 0.0,
    noise_concentration: jax.Array | float = 0.3,
) -> Search:
    """MuZero (Schrittwieser et al. 2020) over all A**N joint actions: `mctx.muzero_policy`.

    `weights` are shares of visits, `best` is the most visited joint action.

    Args:
      model: model of the task.
      num_simulations: number of nodes added to a tree.
      noise_share: weight of Dirichlet noise in the root's prior. May be traced.
      noise_concentration: concentration of that noise. May be traced.

    Raises:
      ValueError: more joint actions than `ENUMERATION_LIMIT`, or a number out of range.
    """
    check_number("noise_share", noise_share, "lie between 0 and 1", lambda x: 0 <= x <= 1)
    check_number("noise_concentration", noise_concentration, "be finite and positive", lambda x: x > 0)

    policy = functools.partial(mctx.muzero_policy, dirichlet_fraction=noise_share, dirichlet_alpha=noise_concentration)
    return _over_all(model, num_simulations, policy, lambda output: output.action_weights.argmax(-1))


def _over_all(
    model: Model,
    num_simulations: int,
    policy: Callable[..., mctx.PolicyOutput],
    best_of: Callable[[mctx.PolicyOutput], jax.Array],
) -> Search:
    """A search with one of mctx's policies, over joint actions."""
    check_model(model)
    check_count("num_simulations", num_simulations)
    joint = enumerate_joint_actions(model)

    def expand(
        params: Params, key: jax.Array, action: jax.Array, embedding: Embedding
    ) -> tuple[mctx.RecurrentFnOutput, Embedding]:
        prediction, embedding = model.recurrent(params, key, jnp.asarray(joint)[action], embedding)
        check_prediction(model, prediction, action.shape[0])
        output = mctx.RecurrentFnOutput(
            reward=prediction.reward,
            discount=prediction.discount,
            prior_logits=joint_logits(prediction.logits, joint),
            value=prediction.value,
        )
        return output, embedding

    def search(params: Params, key: jax.Array, inputs: Any) -> SearchResult:
        model_key, search_key = jax.random.split(key)
        root = model.root(params, model_key, inputs)
        check_root(model, root)
        legal = root.legal[:, np.arange(model.n_agents), joint].all(-1)  # [B, K]
        logits = joint_logits(root.logits, joint)
        # mctx mixes integers and floats, which strict dtype promotion would reject.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            output = policy(
                params=params,
                rng_key=search_key,
                root=mctx.RootFnOutput(prior_logits=logits, value=root.value, embedding=root.embedding),
                recurrent_fn=expand,
                num_simulations=num_simulations,
                invalid_actions=~legal,
            )
        tree = output.search_tree
        return SearchResult(
            actions=jnp.broadcast_to(jnp.asarray(joint), (*legal.shape, model.n_agents)),
            is_child=legal,
            visits=tree.children_visits[:, tree.ROOT_INDEX],
            weights=output.action_weights,
            q=child_values(tree)[:, tree.ROOT_INDEX],
            value=tree.node_values[:, tree.ROOT_INDEX],
            raw_value=tree.raw_values[:, tree.ROOT_INDEX],
            best=best_of(output).astype(jnp.int32),
            prior=jax.nn.softmax(jnp.where(legal, logits, -jnp.inf)),
        )

    return search
