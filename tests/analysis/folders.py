"""Run folders with made-up but plausible contents, as the runner writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write_run(
    folder: Path,
    *,
    algorithm: str = "tad-ppo",
    env: str = "matrix/climbing",
    env_options: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3),
    points: Sequence[Mapping[str, Any]] = ({},),
    optimum: float | None = 11.0,
    config: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    evaluations: int = 6,
    total_steps: int = 64000,
    score: Callable[[int, int, float], float] = lambda point, seed, progress: 10.0 * progress + 0.1 * seed,
    teacher: Callable[[int, int, float], float] | None = None,
    is_finished: bool = True,
    schema: int = 1,
) -> Path:
    """Writes a run folder whose `return` is `score(point, seed, progress)`; the absolute return adds nothing to it."""
    folder.mkdir(parents=True)
    lanes = [
        {"lane": len(seeds) * p + s, "point": p, "seed": seed, "overrides": dict(point), "optimum": optimum}
        for p, point in enumerate(points)
        for s, seed in enumerate(seeds)
    ]
    content = {
        "schema": schema,
        "algorithm": algorithm,
        "env": env,
        "env_options": dict(env_options or {}),
        "total_steps": total_steps,
        "config": {"learning_rate": 1e-3, **(config or {})},
        "train": {"num_envs": 8, **(train or {})},
        "lanes": lanes,
    }
    (folder / "config.json").write_text(json.dumps(content))
    (folder / "versions.json").write_text(json.dumps({"python": "3.11", "jaxmarl_suite": "0.1.0"}))

    def row(kind: str, lane: Mapping[str, Any], progress: float, metrics: Mapping[str, Any]) -> str:
        update, steps = round(1000 * progress), round(total_steps * progress)
        head = {"kind": kind, "lane": lane["lane"], "point": lane["point"], "seed": lane["seed"], "phase": "ppo"}
        episodes = {"train": {}, "eval": {"episodes": 32}, "absolute": {"episodes": 320}}[kind]
        tail = {"update": update, "env_steps": steps, "wall": 2.0 + 10 * progress, **episodes, "metrics": metrics}
        return json.dumps(head | tail)

    def evaluation(lane: Mapping[str, Any], progress: float) -> dict[str, Any]:
        at = lane["point"], lane["seed"], progress
        metrics: dict[str, Any] = {"return": float(score(*at)), "length": 1.0}
        if teacher is not None:
            metrics["teacher/return"] = float(teacher(*at))
        return metrics

    lines = []
    for progress in np.linspace(0.0, 1.0, evaluations).tolist():
        for lane in lanes:
            value = evaluation(lane, progress)
            lines.append(row("train", lane, progress, {"return": value["return"], "learner/policy_loss": None}))
            lines.append(row("eval", lane, progress, value))
    if is_finished:
        lines += [row("absolute", lane, 1.0, evaluation(lane, 1.0)) for lane in lanes]
        (folder / "summary.json").write_text(json.dumps({"status": "finished"}))
    (folder / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))
    return folder
