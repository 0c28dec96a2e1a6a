"""Deep Q-learning for teams once more, in float64 numpy: agents, mixers, targets, losses of the seven methods.

Nothing is imported from the package; only the layout of parameters and batches is taken over. Where a gradient is stopped,
a second copy of the parameters is read: `loss` is a function of `params` with `fixed` held still, so that differences of it
are the semi-gradients of the papers.
"""

import dataclasses
from typing import Any

import numpy as np

EPS = 1e-10


@dataclasses.dataclass(frozen=True)
class Setup:
    """What the methods are built from."""

    name: str
    n_agents: int
    num_actions: int
    recurrent: bool
    shared: bool
    double_q: bool
    context: str  # "state" or "observations"
    stop_gradient: bool = True
    qatten: bool = False


def relu(x):
    return np.maximum(x, 0.0)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def one_hot(index, size):
    """[..., size]; all zeros for -1."""
    return (np.asarray(index)[..., None] == np.arange(size)).astype(float)


def dense(layer, x):
    return x @ layer["kernel"] + layer.get("bias", 0.0)


def mlp(layers, x, hidden=relu, last=None):
    """Dense layers with `hidden` between."""
    for i in range(len(layers)):
        x = dense(layers[f"Dense_{i}"], x)
        if i + 1 < len(layers):
            x = hidden(x)
    return x if last is None else last(x)


def part_of(tree, i):
    """Entry i of every array of a nested dict."""
    return {k: part_of(v, i) for k, v in tree.items()} if isinstance(tree, dict) else tree[i]


# Agents.


def agent_step(params, memory, x):
    """One step of one agent: x [B, D], memory [B, H] -> utilities [B, A], memory."""
    x = mlp(params["encoder"]["params"], x, last=relu)
    if "cell" in params:
        cell = params["cell"]["params"]
        r = sigmoid(dense(cell["ir"], x) + dense(cell["hr"], memory))
        z = sigmoid(dense(cell["iz"], x) + dense(cell["hz"], memory))
        candidate = np.tanh(dense(cell["in"], x) + r * dense(cell["hn"], memory))
        x = memory = (1 - z) * candidate + z * memory
    return mlp(params["head"]["params"], x), memory


def agent_input(setup, obs, last_action, i):
    """What agent i is shown: [B, D]."""
    parts = [obs[:, i], one_hot(last_action[:, i], setup.num_actions)]
    if setup.shared:
        parts.append(np.tile(np.eye(setup.n_agents)[i], (len(obs), 1)))
    return np.concatenate(parts, axis=-1)


def look(setup, params, batch):
    """Utilities along a batch, step by step: q, features, next_q, next_features, each [L, B, N, ...]."""
    length, size, n = batch["action"].shape
    found = []
    for i in range(n):
        own = params if setup.shared else part_of(params, i)
        memory, last = batch["memory"][:, i], batch["last_action"].copy()
        rows = []
        for t in range(length):
            for b in range(size):
                if batch["start"][t, b]:
                    memory = memory.copy()
                    memory[b] = 0.0
                    last[b] = -1
            x = agent_input(setup, batch["obs"][t], last, i)
            q, memory = agent_step(own, memory, x)
            last = batch["action"][t].copy()
            next_x = agent_input(setup, batch["next_obs"][t], last, i)
            next_q, next_memory = agent_step(own, memory, next_x)
            rows.append((q, memory if setup.recurrent else x, next_q, next_memory if setup.recurrent else next_x))
        found.append([np.stack(column) for column in zip(*rows)])
    return [np.stack(column, axis=2) for column in zip(*found)]


def greedy(q, mask):
    """The first best legal action."""
    return np.where(mask, q, -np.inf).argmax(-1)


def best_of(q, mask):
    return np.where(mask, q, -np.inf).max(-1)


def of(q, action):
    return np.take_along_axis(q, action[..., None], axis=-1)[..., 0]


# Mixers: utilities [L, B, N] and context [L, B, G] to values [L, B].


def monotone(params, chosen, s):
    p = params["params"]
    w1 = np.abs(mlp(p["w1"], s)).reshape(*chosen.shape, -1)
    h = np.einsum("lbn,lbne->lbe", chosen, w1) + dense(p["b1"], s)
    h = np.where(h > 0, h, np.expm1(h))
    return (h * np.abs(mlp(p["w2"], s))).sum(-1) + mlp(p["v"], s)[..., 0]


def attention(p, s, units):
    """Qatten: weights [L, B, N], bias [L, B, 1], penalty []."""
    weight, penalty = EPS, 0.0
    for k in range(4):
        query, key = mlp(part_of(p["query"], k), s), mlp(part_of(p["unit"], k), units)
        logits = np.einsum("lbe,lbne->lbn", query, key)
        e = np.exp(logits / np.sqrt(32))
        weight = weight + e / e.sum(-1, keepdims=True)
        penalty += 0.001 * np.mean(logits**2)
    return weight, mlp(p["v"], s) / units.shape[-2], penalty


def duplex(setup, params, fixed, chosen, best, chosen_fixed, best_fixed, action, s, units):
    """QPLEX: sum of w q + b + (lambda - 1) A with A = sg[w (q - max)], and the penalty."""
    p = params["params"]

    def transformation(p):
        if setup.qatten:
            return attention(p, s, units)
        return np.abs(mlp(p["weight"], s)) + EPS, mlp(p["bias"], s), 0.0

    weight, bias, penalty = transformation(p)
    if setup.stop_gradient:
        advantage = transformation(fixed["params"])[0] * (chosen_fixed - best_fixed)
    else:
        advantage = weight * (chosen - best)
    joint = one_hot(action, setup.num_actions).reshape(*s.shape[:-1], -1)
    importance = 0.0
    for k in range(len(p["key"]["Dense_0"]["kernel"])):
        key = np.abs(mlp(part_of(p["key"], k), s)) + EPS
        agent = mlp(part_of(p["agent"], k), s, last=sigmoid)
        act = mlp(part_of(p["act"], k), np.concatenate([s, joint], axis=-1), last=sigmoid)
        importance = importance + key * agent * act
    return (weight * chosen + bias + (importance - 1) * advantage).sum(-1), penalty


def central(params, chosen, s):
    p = params["params"]
    return (mlp(p["mix"], np.concatenate([s, chosen], axis=-1)) + mlp(p["v"], s))[..., 0]


def joint_value(setup, params, features, action, s):
    p = params["params"]
    x = np.concatenate([features, one_hot(action, setup.num_actions)], axis=-1)
    encoded = mlp(p["encode"], x).sum(-2)
    return mlp(p["value"], np.concatenate([s, encoded], axis=-1))[..., 0]


# Losses.


def context(setup, obs, state):
    return state if setup.context == "state" else obs.reshape(*obs.shape[:2], -1)


def loss(setup: Setup, hp: Any, params: dict, fixed: dict, target: dict, batch: dict) -> dict:
    """Per-step loss, |δ| and value [L, B], the penalty, and what else tests look at."""
    s = context(setup, batch["obs"], batch["state"])
    next_s = context(setup, batch["next_obs"], batch["next_state"])
    mask, next_mask, action = batch["mask"], batch["next_mask"], batch["action"]
    q, features, _, _ = look(setup, params["agents"], batch)
    fixed_q, fixed_features, fixed_next_q, _ = look(setup, fixed["agents"], batch)
    _, _, old_next_q, old_next_features = look(setup, target["agents"], batch)
    next_action = greedy(fixed_next_q if setup.double_q else old_next_q, next_mask)
    chosen, next_chosen = of(q, action), of(old_next_q, next_action)
    goes_on = 1.0 - batch["terminated"]
    reward = batch["reward"].mean(-1)

    if setup.name == "iql":
        y = batch["reward"] + hp.gamma * goes_on[..., None] * next_chosen
        error = chosen - y
        return {
            "loss": (error**2).mean(-1),
            "td_error": np.abs(error).mean(-1),
            "value": chosen.mean(-1),
            "penalty": 0.0,
        }

    if setup.name in ("vdn", "qmix", "qplex"):
        penalty = 0.0
        if setup.name == "vdn":
            value, next_value = chosen.sum(-1), next_chosen.sum(-1)
        elif setup.name == "qmix":
            value = monotone(params["mixer"], chosen, s)
            next_value = monotone(target["mixer"], next_chosen, next_s)
        else:
            best, chosen_fixed, best_fixed = best_of(q, mask), of(fixed_q, action), best_of(fixed_q, mask)
            value, penalty = duplex(
                setup, params["mixer"], fixed["mixer"], chosen, best, chosen_fixed, best_fixed, action, s, batch["obs"]
            )
            next_best, old = best_of(old_next_q, next_mask), target["mixer"]
            next_value, _ = duplex(
                setup, old, old, next_chosen, next_best, next_chosen, next_best, next_action, next_s, batch["next_obs"]
            )
        error = value - (reward + hp.gamma * goes_on * next_value)
        return {"loss": error**2, "td_error": np.abs(error), "value": value, "penalty": penalty}

    if setup.name == "qtran":
        value = joint_value(setup, params["joint"], features, action, s)
        next_value = joint_value(setup, target["joint"], old_next_features, next_action, next_s)
        td = value - (reward + hp.gamma * goes_on * next_value)
        top = greedy(fixed_q, mask)
        v = mlp(params["value"]["params"], s)[..., 0]
        optimal = of(q, top).sum(-1) - joint_value(setup, fixed["joint"], fixed_features, top, s) + v
        gap = chosen.sum(-1) - joint_value(setup, fixed["joint"], fixed_features, action, s) + v
        other = np.minimum(gap, 0.0)
        total = td**2 + hp.optimal_weight * optimal**2 + hp.other_weight * other**2
        return {"loss": total, "td_error": np.abs(td), "value": value, "penalty": 0.0, "binds": gap < 0}

    # Weighted QMIX.
    fresh = {**batch, "memory": np.zeros_like(batch["memory"])}  # what is stored is the other network's memory
    central_q = look(setup, params["central_agents"], fresh)[0]
    old_central_q, _, old_central_next, _ = look(setup, target["central_agents"], fresh)
    y = reward + hp.gamma * goes_on * central(target["central"], of(old_central_next, next_action), next_s)
    q_hat = central(params["central"], of(central_q, action), s)
    q_tot = monotone(params["mixer"], chosen, s)
    if setup.name == "ow-qmix":
        is_full = monotone(fixed["mixer"], of(fixed_q, action), s) < y
    else:
        top = greedy(fixed_q, mask)
        is_full = (action == top).all(-1) | (y > central(target["central"], of(old_central_q, top), s))
    weight = np.where(is_full, 1.0, hp.alpha)
    return {
        "loss": (q_hat - y) ** 2 + weight * (q_tot - y) ** 2,
        "td_error": np.abs(q_tot - y),
        "value": q_tot,
        "penalty": 0.0,
        "is_full": is_full,
    }


def total(terms: dict, weight: np.ndarray, importance: np.ndarray) -> dict:
    """Means over the steps that count, and a priority for each sequence, one step after another."""
    sums, counted = dict.fromkeys(("loss", "td_error", "value"), 0.0), 0.0
    largest, priority = 0.0, []
    length, size = weight.shape
    for b in range(size):
        errors = []
        for t in range(length):
            if weight[t, b]:
                counted += 1
                errors.append(terms["td_error"][t, b])
                sums["loss"] += importance[b] * terms["loss"][t, b]
                sums["td_error"] += terms["td_error"][t, b]
                sums["value"] += terms["value"][t, b]
                largest = max(largest, abs(terms["value"][t, b]))
        priority.append(np.mean(errors) + 1e-6 if errors else 1e-6)
    return {
        "loss": sums["loss"] / counted + terms["penalty"],
        "td_error": sums["td_error"] / counted,
        "q_mean": sums["value"] / counted,
        "q_max_abs": largest,
        "priority": np.array(priority),
    }
