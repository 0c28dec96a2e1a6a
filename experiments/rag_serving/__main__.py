"""`python -m experiments.rag_serving`: rules on held-out windows, and what is trained beside them; rewrites the README."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jaxmarl_envs
import numpy as np
import tyro
from numpy.typing import NDArray

from experiments._study import markdown_table, processor, provenance, train_all
from experiments.rag_serving import presets
from experiments.rag_serving.bounds import cost_bound
from jaxmarl_suite import analysis, runner

FOLDER = Path(__file__).parent
EPISODES = 64
SHOWN = {
    "cost": ("cost", "local_hit", "peer_hit"),
    "ttft": ("ttft", "request_ttft_p50", "request_ttft_p99", "slo", "hit", "imbalance", "tpot", "unfinished"),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Caching and serving on a RAG workload: classical rules, and learned policies, on held-out windows."""

    runs: Path = Path("runs/rag_serving")
    """Where run folders lie; finished ones are used as they are."""
    levels: tuple[str, ...] = tuple(presets.LEVELS)
    """What to table."""
    train: bool = False
    """Train and table the learned policies as well: hours on two cores."""
    fresh: bool = False
    """Train everything anew."""
    trace: str = ""
    """Test on this recorded trace, all of it, instead of the last quarter of the generated one."""


def test_options(options: Options) -> dict[str, Any]:
    """Options of the environment that policies are tested in."""
    return {"trace": options.trace, "split": "all"} if options.trace else {"split": "test"}


def rule_rows(level: presets.Level, options: Options) -> list[list[str]]:
    """Metrics of all rules on the test windows."""
    found = runner.evaluate_rules(level.env, level.rules, env_options=test_options(options), episodes=EPISODES)
    return [[name, *(f"{metrics[m]:.3f}" for m in SHOWN[level.metric])] for name, metrics in found.items()]


def test_learned(run: Path, options: Options) -> list[dict[str, float]]:
    """Mean metrics of the best policy of every lane on the test windows."""
    found = runner.evaluate(run, episodes=EPISODES, eval_env_options=test_options(options))
    return [one.metrics for one in found if one.policy == "best"]


def interval(values: NDArray[np.float64]) -> str:
    """IQM over seeds with its 95 % bootstrap interval."""
    e = analysis.bootstrap_estimate([values])
    return f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"


def section(name: str, options: Options) -> str:
    """The table of one level, and what it was made with."""
    level = presets.LEVELS[name]
    columns = SHOWN[level.metric]
    rows = rule_rows(level, options)
    if level.metric == "cost":
        bound = cost_bound(jaxmarl_envs.make(level.env, **test_options(options)))
        rows.append(["oracle: lower bound", f"{bound:.3f}", *[""] * (len(columns) - 1)])
    footer = f"Rules: {EPISODES} episodes each; {processor()}, JAX {jax.__version__}."
    if options.train:
        runs = train_all(presets.runs_of(name), options.runs, fresh=options.fresh)
        for run_name in runs:
            tested = test_learned(options.runs / run_name, options)
            values = [np.array([one[metric] for one in tested]) for metric in columns]
            rows.append([run_name.partition(" on ")[0], *map(interval, values)])
        footer += f" Learned: {provenance(list(runs.values()))}"
    return f"{markdown_table(['policy', *columns], rows)}\n\n{footer}"


def main(options: Options) -> None:
    if unknown := set(options.levels) - set(presets.LEVELS):
        raise SystemExit(f"unknown levels {', '.join(sorted(unknown))}; accepted: {', '.join(presets.LEVELS)}")
    for name in options.levels:
        markdown = section(name, options)
        analysis.update_section(FOLDER / "README.md", f"table:{name}", markdown)
        print(f"{name}\n\n{markdown}\n", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
