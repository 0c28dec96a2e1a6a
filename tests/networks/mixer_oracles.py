"""Mixers and QTRAN's networks once more: NumPy in double precision, one state at a time, from the formulas."""

import numpy as np

EPS = 1e-10


def relu(x):
    return np.maximum(x, 0.0)


def elu(x):
    return np.where(x > 0, x, np.expm1(x))


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def layers(params, head=None):
    """[(kernel, bias)] of a network, or of one of several with a leading axis; a missing bias is zero."""
    found = []
    for i in range(len(params)):
        layer = {k: np.asarray(v, np.float64) for k, v in params[f"Dense_{i}"].items()}
        if head is not None:
            layer = {k: v[head] for k, v in layer.items()}
        found.append((layer["kernel"], layer.get("bias", np.zeros(layer["kernel"].shape[1]))))
    return found


def mlp(params, x, head=None):
    *hidden, (kernel, bias) = layers(params, head)
    for k, b in hidden:
        x = relu(x @ k + b)
    return x @ kernel + bias


def each_state(one, batch_shape, *arrays):
    """`one` for every entry of the batch; arrays are given with the batch axes in front."""
    values = np.zeros(batch_shape)
    for index in np.ndindex(*batch_shape):
        values[index] = one(*(np.asarray(a)[index] for a in arrays))
    return values


def qmix(params, chosen, state):
    p = params["params"]
    embed = np.asarray(p["b1"]["bias"]).size

    def one(q, s):
        w1 = np.abs(mlp(p["w1"], s)).reshape(len(q), embed)
        b1 = s @ np.asarray(p["b1"]["kernel"], np.float64) + np.asarray(p["b1"]["bias"], np.float64)
        h = np.zeros(embed)
        for e in range(embed):
            h[e] = elu(sum(q[i] * w1[i, e] for i in range(len(q))) + b1[e])
        return h @ np.abs(mlp(p["w2"], s)) + mlp(p["v"], s)[0]

    return each_state(one, chosen.shape[:-1], chosen, state)


def qplex_weights(p, s, units):
    """Weights and biases of the transformation for one state, and the attention's logits [heads][agents]."""
    if "weight" in p:
        return np.abs(mlp(p["weight"], s)) + EPS, mlp(p["bias"], s), None
    n_agents, width = len(units), 32
    weight, logits = np.zeros(n_agents), []
    for head in range(4):
        query = mlp(p["query"], s, head)
        logits.append([query @ mlp(p["unit"], unit, head) for unit in units])
        attention = np.exp(np.asarray(logits[-1]) / np.sqrt(width))
        weight += attention / attention.sum()
    return weight + EPS, np.full(n_agents, mlp(p["v"], s)[0] / n_agents), logits


def qplex_importance(p, s, action, num_actions):
    heads = np.asarray(p["key"]["Dense_0"]["kernel"]).shape[0]
    joint = np.concatenate([np.eye(num_actions)[a] for a in action])
    total = np.zeros(len(action))
    for head in range(heads):
        key = abs(mlp(p["key"], s, head)[0]) + EPS
        for i in range(len(action)):
            agent = sigmoid(mlp(p["agent"], s, head)[i])
            total[i] += key * agent * sigmoid(mlp(p["act"], np.concatenate([s, joint]), head)[i])
    return total


def qplex(params, chosen, best, action, state, obs, num_actions):
    """In the form sum of V_i + lambda_i A_i."""
    p = params["params"]

    def one(q, top, a, s, units):
        weight, bias, _ = qplex_weights(p, s, units)
        importance = qplex_importance(p, s, a, num_actions)
        total = 0.0
        for i in range(len(q)):
            v = weight[i] * top[i] + bias[i]
            total += v + importance[i] * (weight[i] * q[i] + bias[i] - v)
        return total

    return each_state(one, chosen.shape[:-1], chosen, best, action, state, obs)


def qplex_penalty(params, state, obs):
    """0.001 times the sum over heads of the mean over batch and agents of the squared logits."""
    p = params["params"]
    squares = np.zeros(4)
    batch_shape = state.shape[:-1]
    for index in np.ndindex(*batch_shape):
        logits = qplex_weights(p, np.asarray(state)[index], np.asarray(obs)[index])[2]
        for head in range(4):
            squares[head] += np.mean(np.square(logits[head])) / np.prod(batch_shape)
    return 0.001 * squares.sum()


def central(params, chosen, state):
    p = params["params"]

    def one(q, s):
        return mlp(p["mix"], np.concatenate([s, q]))[0] + mlp(p["v"], s)[0]

    return each_state(one, chosen.shape[:-1], chosen, state)


def qtran_joint(params, features, action, state, num_actions):
    p = params["params"]

    def one(h, a, s):
        encoded = 0.0
        for i in range(len(a)):
            encoded = encoded + mlp(p["encode"], np.concatenate([h[i], np.eye(num_actions)[a[i]]]))
        return mlp(p["value"], np.concatenate([s, encoded]))[0]

    return each_state(one, action.shape[:-1], features, action, state)


def qtran_state(params, state):
    return each_state(lambda s: mlp(params["params"], s)[0], state.shape[:-1], state)


def q_network(params, carry, x, start):
    """Linear-ReLU-GRU-Linear over time: x [L, B, D], start [L, B]; returns outputs and memories."""
    cell = {k: {n: np.asarray(v, np.float64) for n, v in w.items()} for k, w in params["cell"]["params"].items()}

    def gate(name, v):
        return v @ cell[name]["kernel"] + cell[name].get("bias", 0.0)

    h, outputs, memories = np.asarray(carry, np.float64), [], []
    for x_t, start_t in zip(np.asarray(x), np.asarray(start)):
        h = np.where(start_t[:, None], 0.0, h)
        v = x_t
        for kernel, bias in layers(params["encoder"]["params"]):
            v = relu(v @ kernel + bias)
        reset, update = sigmoid(gate("ir", v) + gate("hr", h)), sigmoid(gate("iz", v) + gate("hz", h))
        h = (1 - update) * np.tanh(gate("in", v) + reset * gate("hn", h)) + update * h
        outputs.append(mlp(params["head"]["params"], h))
        memories.append(h)
    return np.asarray(outputs), np.asarray(memories)
