"""`python -m experiments.rag_serving`: rules and learned policies on held-out windows; rewrites the README."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jaxmarl_envs
import tyro

from experiments._study import markdown_table, processor, provenance, train_all
from experiments.rag_serving import guided, presets
from experiments.rag_serving.bounds import cost_bound
from experiments.rag_serving.testing import Metrics, learned_metrics, mean_interval, rule_metrics
from jaxmarl_suite import analysis

FOLDER = Path(__file__).parent
SHOWN = {
    "cost": ("cost", "local_hit", "peer_hit"),
    "ttft": (
        *("ttft", "request_ttft_p50", "request_ttft_p99", "slo", "goodput", "fairness"),
        *("hit", "imbalance", "tpot", "unfinished"),
    ),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Caching and serving on a RAG workload: classical rules, and learned policies, on held-out windows."""

    runs: Path = Path("runs/rag_serving")
    """Folder of the runs; finished ones are used as they are."""
    levels: tuple[str, ...] = tuple(presets.LEVELS)
    """Levels to show."""
    methods: tuple[str, ...] = presets.METHODS
    """Methods to train and to show; none for the rules alone."""
    fresh: bool = False
    """Train everything anew."""
    trace: str = ""
    """Test on this recorded trace, all of it, instead of the last quarter of the generated one, and write the table
    of the recorded trace instead of the others."""


def test_options(options: Options) -> dict[str, Any]:
    """Options of the environment that policies are tested in."""
    return {"trace": options.trace, "split": "all"} if options.trace else {"split": "test"}


def shown(estimate: analysis.Estimate, digits: int = 3) -> str:
    """A mean with its interval."""
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def percent(estimate: analysis.Estimate, scale: float) -> str:
    """A difference with its interval, in percent of `scale`."""
    value = 100 * estimate.value / scale
    low, high = sorted((100 * estimate.low / scale, 100 * estimate.high / scale))
    return f"{value:+.1f} % [{low:+.1f}, {high:+.1f}]"


def compare(found: Metrics, rules: dict[str, Metrics], level: presets.Level, bound: float | None) -> list[str]:
    """A learned policy's differences from the base rule and from the best rule, and the share of the gap that it closes.

    The best rule is the one with the lowest mean on the windows of the test.
    """
    metric = level.metric
    best = min(rules.values(), key=lambda metrics: metrics[metric].mean())[metric]
    base = rules[level.base][metric]
    to_base, to_best = mean_interval(found[metric] - base), mean_interval(found[metric] - best)
    cells = [percent(to_base, base.mean()), percent(to_best, best.mean())]
    return cells if bound is None else [*cells, percent(to_best, bound - best.mean())]


def measure(name: str, options: Options) -> tuple[dict[str, Metrics], dict[str, Metrics], list[analysis.Run]]:
    """Metrics of the rules and of the learned policies of one level by name, and the runs of the latter."""
    level, tested_in = presets.LEVELS[name], test_options(options)
    rules = rule_metrics(level.env, level.rules, tested_in)
    runs = train_all(presets.runs_of(name, options.methods), options.runs, fresh=options.fresh)
    learned = {run.partition(" on ")[0]: learned_metrics(options.runs / run, tested_in) for run in runs}
    return rules, learned, list(runs.values())


def section(name: str, options: Options) -> str:
    """The tables of one level, and what they were made with."""
    level = presets.LEVELS[name]
    columns = SHOWN[level.metric]
    rules, learned, runs = measure(name, options)
    rows = [[policy, *(shown(mean_interval(found[m])) for m in columns)] for policy, found in (rules | learned).items()]
    bound, header = None, ["policy", f"against {level.base}", "against the best rule"]
    if level.metric == "cost":
        bound = cost_bound(jaxmarl_envs.make(level.env, **test_options(options)))
        rows.append(["oracle: lower bound", f"{bound:.3f}", *[""] * (len(columns) - 1)])
        header.append("gap to the bound closed")
    parts = [markdown_table(["policy", *columns], rows)]
    if learned:
        compared = [[policy, *compare(found, rules, level, bound)] for policy, found in learned.items()]
        parts.append(markdown_table(header, compared))
    footer = f"Tested on {processor()}, JAX {jax.__version__}."
    if runs:
        footer += f" {presets.SEEDS} seeds, {level.steps:,} environment steps each, of which the best of the evaluated "
        footer += f"policies is tested: {provenance(runs)}"
    return "\n\n".join([*parts, footer])


def recorded_section(options: Options) -> str:
    """One table of all levels: base rule, best rule and learned policies on a recorded trace."""
    rows = []
    for name in options.levels:
        level = presets.LEVELS[name]
        rules, learned, _ = measure(name, options)
        best = min(rules, key=lambda rule: rules[rule][level.metric].mean())
        for policy, found in {level.base: rules[level.base], best: rules[best], **learned}.items():
            cells = compare(found, rules, level, None) if policy in learned else ["", ""]
            rows.append([f"{name}, {level.metric}", policy, shown(mean_interval(found[level.metric])), *cells])
    header = ["level", "policy", "mean", "against the base rule", "against the best rule"]
    return f"{markdown_table(header, rows)}\n\nTested on {processor()}, JAX {jax.__version__}."


def main(options: Options) -> None:
    guided.register_guided()
    for field, known in (("levels", presets.LEVELS), ("methods", presets.METHODS)):
        if unknown := set(getattr(options, field)) - set(known):
            raise SystemExit(f"unknown {field} {', '.join(sorted(unknown))}; accepted: {', '.join(known)}")
    if options.trace:
        markdown = recorded_section(options)
        analysis.update_section(FOLDER / "README.md", "table:recorded", markdown)
        print(markdown, flush=True)
        return
    for name in options.levels:
        markdown = section(name, options)
        analysis.update_section(FOLDER / "README.md", f"table:{name}", markdown)
        print(f"{name}\n\n{markdown}\n", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
