"""Losses of the off-policy actor-critics in plain NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from line_env import Line
from off_policy_tools import actor_output, compiled, critic_values, doubles, parts_of, random_batch
from toy_envs import context

CASES = [
    ("td3", 1, {}),
    ("td3", 1, {"num_critics": 4, "critic_groups": 2, "climb": "mean"}),
    ("matd3", 3, {}),
    ("matd3", 2, {"share_parameters": False, "others": "policy", "context": "observations"}),
    ("sac", 1, {}),
    ("masac", 2, {"share_parameters": False, "context": "observations"}),
    ("masac", 2, {"others": "replay", "tune_temperature": False, "temperature": 0.3}),
]  # fmt: skip


@pytest.mark.parametrize("name, n_agents, changes", CASES)
def test_losses_are_their_formulas(name, n_agents, changes):
    config, _, method = parts_of(name, n_agents, **changes)
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(method.init, jax.random.key(0))

    def draw_params():
        return jax.tree.map(lambda s: jnp.asarray(0.7 * rng.normal(size=s.shape), s.dtype), shapes)

    params, targets = draw_params(), method.targets(draw_params())
    batch, ctx, key = random_batch(n_agents, 6, rng), context(config, Line(n_agents)), jax.random.key(7)
    loss, metrics = compiled(method.critic_loss)(params["critic"], params["actor"], targets, batch, key, ctx)
    improve, own_metrics = compiled(method.actor_loss)(params["actor"], params["critic"], batch, key, ctx)

    noise = np.asarray(jax.random.normal(key, (6, n_agents, 1)), np.float64)
    b, p, old = doubles(batch), doubles(params), doubles(targets)
    is_central = getattr(config, "context", "observations") != "observations"
    shared = getattr(config, "share_parameters", True)
    seen, then = (b.state, b.next_state) if is_central else (b.obs.reshape(6, -1), b.next_obs.reshape(6, -1))
    is_sac = name in ("sac", "masac")

    def gaussian(obs):
        """Tanh-normal actions and log-densities; the deviations are asked of the head, the rest is computed here."""
        output = actor_output(p["actor"]["policy"], obs, shared)
        mean, raw = np.split(output, 2, -1)
        low, width = np.log(1e-3), np.log(1e4)
        part = -low / width
        std = np.exp(low + width / (1 + np.exp(-(raw / (width * part * (1 - part)) + np.log(part / (1 - part))))))
        u = mean + std * noise
        log_prob = -0.5 * noise**2 - np.log(std) - 0.5 * np.log(2 * np.pi) - np.log1p(-(np.tanh(u) ** 2))
        return np.tanh(u), log_prob.sum((1, 2))

    if is_sac:
        alpha = config.temperature * np.exp(p["actor"]["log_temperature"])
        action, log_prob = gaussian(b.next_obs)
    else:
        smooth = np.clip(0.2 * noise, -0.5, 0.5)
        action = np.clip(np.tanh(actor_output(old["actor"], b.next_obs, shared)) + smooth, -1.0, 1.0)
    after = critic_values(old["critic"], then, action)
    groups, num = config.critic_groups, config.num_critics
    expected = 0.0
    for c in range(num):
        group = c // (num // groups)
        least = after[group * num // groups : (group + 1) * num // groups].min(0)
        if is_sac:
            least = least - alpha * log_prob
        y = b.reward + b.discount * least
        expected += np.mean((critic_values(p["critic"], seen, b.action)[c] - y) ** 2)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["q_mean"], critic_values(p["critic"], seen, b.action).mean(), rtol=1e-4)

    if is_sac:
        own, log_prob = gaussian(b.obs)
    else:
        own = np.tanh(actor_output(p["actor"], b.obs, shared))
    joints = [own]
    if getattr(config, "others", "policy") == "replay":
        joints = []
        for i in range(n_agents):
            joint = b.action.copy()
            joint[:, i] = own[:, i]
            joints.append(joint)
    if is_sac:
        value = sum(critic_values(p["critic"], seen, joint).min(0) for joint in joints)
        expected = np.mean(alpha * log_prob - value)
        np.testing.assert_allclose(own_metrics["actor_loss"], expected, rtol=1e-5)
        np.testing.assert_allclose(own_metrics["entropy"], -log_prob.mean(), rtol=1e-5)
        if config.tune_temperature:
            alpha_loss = np.mean(-alpha * (log_prob - n_agents))
            np.testing.assert_allclose(own_metrics["temperature_loss"], alpha_loss, rtol=1e-5)
            expected += alpha_loss
    else:
        climbed = slice(0, 1) if config.climb == "first" else slice(None)
        expected = -sum(critic_values(p["critic"], seen, joint)[climbed].mean() for joint in joints)
    np.testing.assert_allclose(improve, expected, rtol=1e-5)


def test_the_temperature_moves_the_entropy_towards_its_target():
    """It rises where the entropy is below the target, and nothing but the entropy moves it."""
    config, _, method = parts_of("sac")
    params = method.init(jax.random.key(0))
    batch = random_batch(1, 6, np.random.default_rng(0))

    slope_of = compiled(jax.grad(method.actor_loss, has_aux=True))

    def slope(wanted):
        ctx = context(dataclasses.replace(config, target_entropy=wanted), Line())
        grads, metrics = slope_of(params["actor"], params["critic"], batch, jax.random.key(1), ctx)
        return float(grads["log_temperature"]), float(metrics["entropy"])

    (low, entropy), (high, _) = slope(-5.0), slope(5.0)
    np.testing.assert_allclose([low, high], [entropy + 5.0, entropy - 5.0], rtol=1e-4)
    assert high < 0 < low, "Adam steps down the slope"
