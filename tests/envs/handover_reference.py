"""`toy/handover` in plain NumPy, body by body, and a script that passes the object."""

import math

import numpy as np

SIZE = [0.06] * 6 + [0.15]
ANGLES = [[math.pi * (1 + 2 / 3 * k) for k in range(3)], [math.pi * 2 / 3 * k for k in range(3)]]


def step(p: dict[str, float], x: np.ndarray, v: np.ndarray, action: np.ndarray) -> set[str]:
    """Moves bodies [9, 2] in place; returns what touched: "object 0", "object 1" (a hand) or "hands"."""
    touched, h = set(), p["dt"] / 4
    for _ in range(4):
        force = np.zeros_like(x)
        for hand in range(2):
            force[hand] += p["max_force"] * action[hand, :2]
            for k, angle in enumerate(ANGLES[hand]):
                length = 0.17 + 0.23 * (action[hand, 2 + k] + 1) / 2
                wanted = x[hand] + length * np.array([math.cos(angle), math.sin(angle)])
                tip = 2 + 3 * hand + k
                pull = p["finger_stiffness"] * (wanted - x[tip]) + p["finger_damping"] * (v[hand] - v[tip])
                force[tip] += pull
                force[hand] -= pull
        for i in range(7):
            for j in range(7):
                apart = math.dist(x[2 + i], x[2 + j])
                if i != j and apart < SIZE[i] + SIZE[j]:
                    force[2 + i] += p["stiffness"] * (SIZE[i] + SIZE[j] - apart) * (x[2 + i] - x[2 + j]) / apart
                    if j == 6:
                        touched.add(f"object {i // 3}")
                    elif i // 3 != j // 3 and i != 6:
                        touched.add("hands")
        for i in range(9):
            kind = "palm" if i < 2 else "tip" if i < 8 else "object"
            drag = p["object_drag"] if kind == "object" else p["hand_drag"]
            for k in range(2):
                v[i, k] = (v[i, k] + force[i, k] * h / p[f"{kind}_mass"]) / (1 + drag * h)
                x[i, k] += v[i, k] * h
                low, high = -1.0, 1.0
                if i < 2 and k == 0:
                    low, high = (-1.0, 0.05) if i == 0 else (-0.05, 1.0)
                if not low <= x[i, k] <= high:
                    x[i, k], v[i, k] = min(max(x[i, k], low), high), 0.0
    return touched


def drive(x: np.ndarray, v: np.ndarray, hand: int, target: np.ndarray, fingers: float) -> np.ndarray:
    """[5] an action that moves the palm towards `target` [2]; `fingers` from -1 (closed) to 1 (open)."""
    push = np.clip(1.5 * (target - x[hand]) - 0.5 * v[hand], -0.4, 0.4)
    return np.concatenate([push, np.full(3, fingers)])


def pass_on(x: np.ndarray, v: np.ndarray, goal: np.ndarray, t: int) -> np.ndarray:
    """[2, 5] the joint action of step `t` of a script: close, carry to the middle, take over, let go, carry to the goal."""
    middle = np.array([0.0, 0.0])
    first = drive(x, v, 0, x[0] if t < 5 else middle if t < 36 else np.array([-0.6, 0.0]), -1.0 if t < 32 else 1.0)
    second = drive(x, v, 1, middle if t < 40 else goal, 1.0 if t < 26 else -1.0)
    return np.stack([first, second]).astype(np.float32)
