"""Networks as a model to search in."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmarl_suite.networks import make_team_model
from jaxmarl_suite.ops import ScalarBins
from jaxmarl_suite.search import Observed, learned_model, sampled_search


def test_a_search_in_networks():
    bins = ScalarBins(-2.0, 2.0, 5)
    sizes = {"width": 4, "hidden": (), "head_hidden": (), "predictor_hidden": 2, "num_bins": 5, "num_layers": 0}
    networks = make_team_model(2, 2, 3, **sizes)
    params = jax.jit(networks.init)(jax.random.key(0))
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), params)
    model = learned_model(networks, 2, 3, bins, 0.9)
    inputs = Observed(jax.random.normal(jax.random.key(1), (4, 2, 2)), jnp.ones((4, 2, 3), bool).at[:, 0, 0].set(False))

    root = jax.jit(model.root)(params, jax.random.key(0), inputs)
    actions = jnp.ones((4, 2), jnp.int32)
    found, state = jax.jit(model.recurrent)(params, jax.random.key(0), actions, root.embedding)
    moved, reward = jax.jit(networks.advance)(params, root.embedding, actions)
    np.testing.assert_allclose(state, moved, rtol=1e-5)
    np.testing.assert_allclose(found.reward, bins.decode(reward), rtol=1e-5)
    value = bins.decode(jax.jit(networks.assess)(params, moved)[1])
    np.testing.assert_allclose(found.value, value, rtol=1e-5)
    np.testing.assert_allclose(found.discount, 0.9)

    result = jax.jit(sampled_search(model, num_simulations=6, num_samples=3))(params, jax.random.key(2), inputs)
    assert (np.asarray(result.actions)[..., 0] != 0).all() and (np.asarray(result.visits).sum(-1) == 6).all()
    np.testing.assert_allclose(result.raw_value, root.value, rtol=1e-5)
