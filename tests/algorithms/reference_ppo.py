"""Multi-agent PPO once more, in float64 numpy with plain loops and numerical gradients.

Nothing is imported from the package: networks, views, advantages, losses and the optimizer are written out again. Only the
layout of the parameters is taken over, so that results can be compared number by number.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np


def forward(params, h, x, extra):
    """One step of one agent's network, batched over environments: `(output [E, out], memory [E, H])`."""
    if "appended" in params:
        y, h = forward(params["network"], h, x, extra)
        return np.concatenate([y, np.tile(params["appended"], (len(y), 1))], axis=1), h
    if "cell" in params:
        cell = params["cell"]["params"]

        def dense(name, v):
            return v @ cell[name]["kernel"] + cell[name].get("bias", 0.0)

        r = 1 / (1 + np.exp(-dense("ir", x) - dense("hr", h)))
        z = 1 / (1 + np.exp(-dense("iz", x) - dense("hz", h)))
        h = (1 - z) * np.tanh(dense("in", x) + r * dense("hn", h)) + z * h
        x = h
    y = np.concatenate([x, extra], axis=-1)
    layers = params["head"]["params"]
    for i in range(len(layers)):
        y = y @ layers[f"Dense_{i}"]["kernel"] + layers[f"Dense_{i}"]["bias"]
        if i + 1 < len(layers):
            y = np.tanh(y)
    return y, h


def unroll(params, h, xs, extras, starts):
    """`forward` over time: `(outputs [L, E, out], memories after each step [L, E, H])`."""
    outputs, memories = [], []
    for x, extra, start in zip(xs, extras, starts):
        y, h = forward(params, np.where(start[:, None], 0.0, h), x, extra)
        outputs.append(y)
        memories.append(h)
    return np.stack(outputs), np.stack(memories)


# Heads: outputs [..., O], masks [..., A] and actions [..., *action_shape].


class Categorical:
    def __init__(self, num_actions):
        self.size = num_actions

    def has_choice(self, mask):
        return mask.sum(-1) > 1

    def log_prob(self, output, mask, action):
        return np.take_along_axis(log_softmax(output, mask), action[..., None], axis=-1)[..., 0]

    def entropy(self, output, mask):
        log_p = log_softmax(output, mask)
        return -np.where(mask, np.exp(log_p) * np.where(np.isfinite(log_p), log_p, 0.0), 0.0).sum(-1)

    def embed(self, action):
        return np.eye(self.size)[action]


class Gaussian:
    """Means and deviations in units of half the range; the latter on a logarithmic scale between 1e-3 and 10."""

    def __init__(self, size, low, high, initial_std):
        self.size, self.middle, self.half = size, (low + high) / 2, (high - low) / 2
        self.share = np.log(initial_std / 1e-3) / np.log(1e4)

    def parameters(self, output):
        mean, raw = output[..., : self.size], output[..., self.size :]
        slope = np.log(1e4) * self.share * (1 - self.share)
        logit = np.log(self.share / (1 - self.share)) + raw / slope
        return mean, 1e-3 * 1e4 ** (1 / (1 + np.exp(-logit)))

    def has_choice(self, mask):
        return np.ones(mask.shape[:-1], bool)

    def log_prob(self, output, mask, action):
        mean, std = self.parameters(output)
        z = ((action - self.middle) / self.half - mean) / std
        return np.where(mask, -(z**2) / 2 - np.log(std * self.half * np.sqrt(2 * np.pi)), 0.0).sum(-1)

    def entropy(self, output, mask):
        return np.where(mask, np.log(self.parameters(output)[1] * self.half * np.sqrt(2 * np.pi * np.e)), 0.0).sum(-1)

    def embed(self, action):
        return np.clip((action - self.middle) / self.half, -1, 1)


class TanhNormal(Gaussian):
    """Actions are u, of which the environment gets middle + half tanh(u)."""

    def log_prob(self, output, mask, action):
        mean, std = self.parameters(output)
        density = np.exp(-(((action - mean) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi))
        return np.where(mask, np.log(density * np.cosh(action) ** 2 / self.half), 0.0).sum(-1)

    def entropy(self, output, mask):
        mean, std = self.parameters(output)
        z, dz = np.linspace(-9, 9, 400, retstep=True)
        at = mean[..., None] + std[..., None] * z
        spread = (-2 * np.log(np.cosh(at)) * np.exp(-(z**2) / 2) * dz / np.sqrt(2 * np.pi)).sum(-1)
        return np.where(mask, np.log(std * self.half * np.sqrt(2 * np.pi * np.e)) + spread, 0.0).sum(-1)

    def embed(self, action):
        return np.tanh(action)


# Views: what agent k's network sees, from obs [E, N, D], state [E, G] and actions [E, N, ...].


def local(with_id):
    def view(obs, state, action, k):
        envs, n, _ = obs.shape
        identity = np.tile(np.eye(n)[k], (envs, 1)) if with_id else np.zeros((envs, 0))
        return np.concatenate([obs[:, k], identity], axis=1), np.zeros((envs, 0))

    return view


def context(obs, state):
    return state if state.shape[1] else obs.reshape(obs.shape[0], -1)


def central(obs, state, action, k):
    return context(obs, state), np.zeros((obs.shape[0], 0))


def sequential(head, own_obs):
    def view(obs, state, action, k):
        envs, n, _ = obs.shape
        extra = np.zeros((envs, n + n * head.size))
        extra[:, k] = 1
        for e in range(envs):
            for j in range(k):
                extra[e, n + j * head.size : n + (j + 1) * head.size] = head.embed(action[e, j])
        return (obs[:, k] if own_obs else context(obs, state)), extra

    return view


@dataclasses.dataclass
class Method:
    """What the methods differ by."""

    head: Any
    actor_view: Callable
    actor_shared: bool
    actor_rows: int
    critic_view: Callable
    critic_shared: bool
    critic_rows: int
    critic_outputs: int
    sequential: bool = False
    order: tuple[int, ...] | None = None  # agents updated one after another


def leaves_of(tree):
    """Leaves and a function back, for nested dicts of arrays."""
    if not isinstance(tree, dict):
        return [tree], lambda leaves: leaves[0]
    names = sorted(tree)
    parts = [leaves_of(tree[name]) for name in names]

    def rebuild(leaves):
        result, i = {}, 0
        for name, (own, back) in zip(names, parts):
            result[name] = back(leaves[i : i + len(own)])
            i += len(own)
        return result

    return [leaf for own, _ in parts for leaf in own], rebuild


def ravel(tree):
    """All parameters as one vector, and a function back."""
    leaves, rebuild = leaves_of(tree)
    shapes = [np.shape(leaf) for leaf in leaves]
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]

    def back(vector):
        return rebuild([part.reshape(shape) for part, shape in zip(np.split(vector, cuts), shapes)])

    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves]), back


def of_agent(params, i):
    """Agent i's part of separate parameters."""
    leaves, rebuild = leaves_of(params)
    return rebuild([leaf[i] for leaf in leaves])


def stack(params):
    rebuild = leaves_of(params[0])[1]
    return rebuild([np.stack(same) for same in zip(*(leaves_of(p)[0] for p in params))])


def adam_on(params, loss_and_metrics, hp, learning_rate, epochs):
    """`epochs` steps of Adam with clipped numerical gradients: `(params, metrics averaged over steps)`."""
    x, back = ravel(params)
    m, v, rows = np.zeros_like(x), np.zeros_like(x), []
    for step in range(1, epochs + 1):
        _, metrics = loss_and_metrics(back(x))
        gradient = np.zeros_like(x)
        for i in range(len(x)):
            up, down = x.copy(), x.copy()
            up[i] += 1e-5
            down[i] -= 1e-5
            gradient[i] = (loss_and_metrics(back(up))[0] - loss_and_metrics(back(down))[0]) / 2e-5
        norm = np.linalg.norm(gradient)
        rows.append({**metrics, "grad_norm": norm})
        gradient *= min(1.0, hp.max_grad_norm / norm) if norm else 1.0
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        x = x - learning_rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + hp.adam_eps)
    return back(x), {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def log_softmax(logits, mask):
    z = np.where(mask, logits, -np.inf)
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def advantages(reward, value, next_value, terminated, truncated, gamma, lambda_, sequential):
    """[T, E, V], one environment and one (micro-)step after another, backwards."""
    steps, envs, outputs = value.shape
    result = np.zeros_like(value)
    for e in range(envs):
        following = np.zeros(outputs)
        for t in reversed(range(steps)):
            goes_on = 0.0 if terminated[t, e] or truncated[t, e] else 1.0
            bootstraps = 0.0 if terminated[t, e] else 1.0
            if not sequential:
                for i in range(outputs):
                    delta = reward[t, e, i] + gamma * bootstraps * next_value[t, e, i] - value[t, e, i]
                    following[i] = delta + gamma * lambda_ * goes_on * following[i]
                result[t, e] = following
            else:
                last = following[0]
                for k in reversed(range(outputs)):
                    if k == outputs - 1:
                        delta = reward[t, e, 0] + gamma * bootstraps * next_value[t, e, 0] - value[t, e, k]
                        following[k] = delta + gamma * lambda_ * goes_on * last
                    else:
                        following[k] = value[t, e, k + 1] - value[t, e, k] + following[k + 1]
                result[t, e] = following
    return result


def update(method: Method, config: Any, hp: Any, start: dict, data: dict, progress: float) -> dict:
    """One PPO update from the parameters, memories and value normalization in `start` and the rollout in `data`."""
    steps, envs, n = data["action"].shape[:3]
    chunk = config.sequence_length

    def inputs(view, k, obs, state, action):
        seen = [view(obs[t], state[t], action[t], k) for t in range(steps)]
        return np.stack([x for x, _ in seen]), np.stack([extra for _, extra in seen])

    # Values.
    outputs = method.critic_outputs
    critic_of = (lambda p, i: p) if method.critic_shared else of_agent
    raw, raw_next = np.zeros((steps, envs, outputs)), np.zeros((steps, envs, outputs))
    critic_before = []
    critic_after = start["critic_carry"].copy()
    for i in range(outputs):
        row = min(i, method.critic_rows - 1)
        own = critic_of(start["critic"], i)
        x, extra = inputs(method.critic_view, i, data["obs"], data["state"], data["action"])
        h = start["critic_carry"][:, row]
        y, memory = unroll(own, h, x, extra, data["start"])
        raw[..., i] = y[..., 0]
        critic_before.append(np.concatenate([h[None], memory[:-1]]))
        critic_after[:, row] = memory[-1]
        x, extra = inputs(method.critic_view, i, data["final_obs"], data["final_state"], np.zeros_like(data["action"]))
        for t in range(steps):
            if not (method.sequential and i > 0):
                raw_next[t, :, i] = forward(own, memory[t], x[t], extra[t])[0][:, 0]
    mean, mean_square, weight = start["value_norm"]

    def normalizer():
        mu = mean / weight
        return mu, np.sqrt(max(mean_square / weight - mu**2, 1e-2))

    mu, sigma = normalizer()
    value, next_value = raw * sigma + mu, raw_next * sigma + mu
    reward = data["reward"] if outputs == n and not method.sequential else data["reward"].mean(-1, keepdims=True)
    advantage = advantages(
        reward, value, next_value, data["terminated"], data["truncated"], hp.gamma, hp.gae_lambda, method.sequential
    )
    target = advantage + value
    d = hp.value_norm_decay
    mean = d * mean + (1 - d) * target.mean()
    mean_square = d * mean_square + (1 - d) * (target**2).mean()
    weight = d * weight + (1 - d)
    mu, sigma = normalizer()
    raw_target = (target - mu) / sigma

    # Advantages over the entries where there was a choice.
    chosen_freely = method.head.has_choice(data["mask"]).astype(float)
    if advantage.shape[-1] == 1:
        advantage = np.repeat(advantage, n, axis=-1)
    valid = advantage[chosen_freely > 0]
    advantage = (advantage - valid.mean()) / (valid.std() + 1e-8)

    # Actors.
    actor_of = (lambda p, i: p) if method.actor_shared else of_agent
    actor_inputs = [inputs(method.actor_view, k, data["obs"], data["state"], data["action"]) for k in range(n)]
    actor_before = []
    for k in range(n):
        h = start["actor_carry"][:, min(k, method.actor_rows - 1)]
        _, memory = unroll(actor_of(start["actor"], k), h, *actor_inputs[k], data["start"])
        actor_before.append(np.concatenate([h[None], memory[:-1]]))

    def in_chunks(params, h_before, x, extra):
        cuts = [slice(c, c + chunk) for c in range(0, steps, chunk)]
        parts = [unroll(params, h_before[c.start], x[c], extra[c], data["start"][c])[0] for c in cuts]
        return np.concatenate(parts)

    def outputs_of(params, k):
        return in_chunks(params, actor_before[k], *actor_inputs[k])

    def taken(output, k):
        return method.head.log_prob(output, data["mask"][:, :, k], data["action"][:, :, k])

    old = np.stack([taken(outputs_of(actor_of(start["actor"], k), k), k) for k in range(n)], axis=-1)
    bonus = hp.entropy + (hp.entropy_end - hp.entropy) * progress

    def actor_loss(agents, weighted_advantage, params):
        sums = dict.fromkeys(("policy_loss", "entropy", "approx_kl", "clip_fraction"), 0.0)
        for k in agents:
            output = outputs_of(params, k)
            w, a = chosen_freely[:, :, k], weighted_advantage[:, :, k]
            log_ratio = taken(output, k) - old[:, :, k]
            ratio = np.exp(log_ratio)
            clipped = np.clip(ratio, 1 - hp.clip, 1 + hp.clip)
            sums["policy_loss"] -= (w * np.minimum(ratio * a, clipped * a)).sum()
            sums["entropy"] += (w * method.head.entropy(output, data["mask"][:, :, k])).sum()
            sums["approx_kl"] += (w * (ratio - 1 - log_ratio)).sum()
            sums["clip_fraction"] += (w * (np.abs(ratio - 1) > hp.clip)).sum()
        total = max(sum(chosen_freely[:, :, k].sum() for k in agents), 1.0)
        metrics = {name: s / total for name, s in sums.items()}
        return metrics["policy_loss"] - bonus * metrics["entropy"], metrics

    scale = 1 - progress if config.anneal_learning_rate else 1.0

    def fit_actor(agents, weighted_advantage, params):
        return adam_on(
            params, lambda p: actor_loss(agents, weighted_advantage, p), hp, hp.learning_rate * scale, config.epochs
        )

    if method.actor_shared:
        actor, actor_metrics = fit_actor(range(n), advantage, start["actor"])
    else:
        factor = np.ones((steps, envs, 1))
        parts, rows = [None] * n, [None] * n
        for k in method.order or range(n):
            parts[k], rows[k] = fit_actor([k], advantage * factor, of_agent(start["actor"], k))
            if method.order is not None:
                factor = factor * np.exp(taken(outputs_of(parts[k], k), k) - old[:, :, k])[..., None]
        actor = stack(parts)
        actor_metrics = {name: np.mean([row[name] for row in rows]) for name in rows[0]}

    # Critics.
    def critic_loss(which, params):
        total = 0.0
        for i in which:
            x, extra = inputs(method.critic_view, i, data["obs"], data["state"], data["action"])
            prediction = in_chunks(params, critic_before[i], x, extra)[..., 0]
            losses = []
            for p in (prediction, raw[..., i] + np.clip(prediction - raw[..., i], -hp.clip, hp.clip)):
                error = np.abs(p - raw_target[..., i])
                huber = np.where(error <= hp.huber_delta, error**2 / 2, hp.huber_delta * (error - hp.huber_delta / 2))
                losses.append(huber if config.value_loss == "huber" else error**2 / 2)
            total += np.maximum(*losses).mean() if config.clip_value else losses[0].mean()
        return total / len(which), {"value_loss": total / len(which)}

    def fit_critic(which, params):
        return adam_on(params, lambda p: critic_loss(which, p), hp, hp.critic_learning_rate * scale, config.epochs)

    if method.critic_shared:
        critic, critic_metrics = fit_critic(range(outputs), start["critic"])
    else:
        parts, rows = zip(*(fit_critic([i], of_agent(start["critic"], i)) for i in range(outputs)))
        critic = stack(parts)
        critic_metrics = {name: np.mean([row[name] for row in rows]) for name in rows[0]}

    actor_metrics["actor_grad_norm"] = actor_metrics.pop("grad_norm")
    critic_metrics["critic_grad_norm"] = critic_metrics.pop("grad_norm")
    return {
        "actor": actor,
        "critic": critic,
        "critic_carry": critic_after,
        "value_norm": (mean, mean_square, weight),
        "log_prob": old,
        "metrics": {**actor_metrics, **critic_metrics, "value": value.mean()},
    }
