"""`recipes` and `reproduce`: tuned settings, their results, and whether they come out again."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxmarl_suite.cli._console import TrainingConsole, print_table
from jaxmarl_suite.cli._parse import PROG, parse
from jaxmarl_suite.cli._session import Result, Session


@dataclasses.dataclass(frozen=True)
class RecipesArguments:
    """The arguments of `recipes`."""

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = None
    """Show this recipe."""


def recipes(argv: list[str], session: Session) -> Result:
    """Lists recipes, or shows one: settings, source, measured results."""
    given = parse(RecipesArguments, argv, "recipes", "Lists tuned settings, or shows one with its source and results.")
    from jaxmarl_suite import recipes as known

    console = session.console()
    if given.name is None:
        rows = [
            {
                "recipe": name,
                "steps": f"{known.get(name).total_steps:,}",
                "tuned": known.get(name).date,
                "measured": "\n".join(f"{r.env}: {r.metric} {_interval(r)}" for r in known.get(name).results()),
            }
            for name in known.names()
        ]
        print_table(console, rows)
        return {"recipes": rows}
    recipe = known.get(given.name)
    console.print(f"[bold]{recipe.name}[/]  tuned {recipe.date}: {recipe.source}")
    print_table(console, [{"field": name, "value": value} for name, value in recipe.settings.items()])
    results = [dataclasses.asdict(result) for result in recipe.results()]
    if results:
        rows = [
            {"environment": r.env, "metric": r.metric, "measured": _interval(r), "seeds": str(r.seeds)}
            for r in recipe.results()
        ]
        print_table(console, rows, title=f"after {recipe.total_steps:,} steps")
        console.print(recipe.results()[0].provenance, style="dim", markup=False)
    env = recipe.envs[0]
    console.print(f"{PROG} train {recipe.algorithm} --env {env}", style="dim", markup=False)
    return {"recipe": {**dataclasses.asdict(recipe), "name": recipe.name}, "results": results}


@dataclasses.dataclass(frozen=True)
class ReproduceArguments:
    """The arguments of `reproduce`."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The recipe."""
    seeds: int = 5
    """Seeds per environment."""
    first_seed: int = 100
    """The first of them; stored results are of other ones."""
    runs: Path = Path("runs/recipes")
    """Where the run folders lie; they must be new."""
    store: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Keep the result as the recipe's own, in this installation."""


def reproduce(argv: list[str], session: Session) -> Result:
    """Trains a recipe on new seeds, and puts the result beside the stored one."""
    about = "Trains a recipe with new seeds and prints the results beside the stored ones."
    given = parse(ReproduceArguments, argv, "reproduce", about)
    from jaxmarl_suite import recipes as known
    from jaxmarl_suite import runner

    recipe = known.get(given.name)
    stored = {result.env: result for result in recipe.results()}
    rows, measured = [], []
    for env in recipe.envs:
        experiment = runner.recipe_experiment(recipe, env, seeds=given.seeds, first_seed=given.first_seed)
        folder = given.runs / f"{recipe.algorithm}-{env.replace('/', '-')}"
        runner.configure()
        with TrainingConsole(session, experiment, folder, runner.total_steps(experiment)) as listener:
            path = runner.run(experiment, run_dir=folder, listener=listener)
        again = _measure(recipe, env, path)
        measured.append(again)
        before = stored.get(env)
        rows.append(
            {
                "environment": env,
                "metric": recipe.metric,
                "stored": _interval(before) if before else "",
                "again": _interval(again),
                "agree": "" if before is None else "yes" if _overlap(before, again) else "no",
            }
        )
    print_table(session.console(), rows, title=f"{recipe.name}: interquartile means with 95 % intervals")
    if given.store:
        known.store(recipe, measured)
    return {"recipe": recipe.name, "runs": str(given.runs), "results": rows}


def _measure(recipe: Any, env: str, path: Path) -> Any:
    """The result of a finished run of a recipe."""
    from jaxmarl_suite import analysis
    from jaxmarl_suite.recipes import Result as Measured

    run = analysis.load_run(path)
    values = run.curve(recipe.metric).values[:, -1]
    estimate = analysis.bootstrap_estimate([values])
    versions, seconds = run.versions, (run.summary or {}).get("seconds", 0.0)
    return Measured(
        env=env,
        metric=recipe.metric,
        value=round(float(estimate.value), 4),
        low=round(float(estimate.low), 4),
        high=round(float(estimate.high), 4),
        seeds=len(values),
        first_seed=min(lane.seed for lane in run.lanes),
        total_steps=recipe.total_steps,
        provenance=(
            f"{versions['cpu_count']} cores, {versions['machine']}; JAX {versions['jax']}, Python {versions['python']}; "
            f"{seconds / 60:.1f} minutes"
        ),
    )


def _overlap(a: Any, b: Any) -> bool:
    """Whether the intervals of two results overlap."""
    return a.low <= b.high and b.low <= a.high


def _interval(result: Any) -> str:
    return f"{result.value:.3g} [{result.low:.3g}, {result.high:.3g}]"
