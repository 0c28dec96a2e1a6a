"""`python -m experiments.q_methods`: trains what is missing, then rewrites the README's tables and figures."""

import dataclasses
from pathlib import Path

import tyro

from experiments._study import provenance, train_all
from experiments._tuning import search, tuned_table
from experiments.q_methods import presets, tables
from jaxmarl_suite import analysis

FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Options:
    """Seven Q-learning methods and PPO on small games, hallway and SMAX: tables and figures."""

    runs: Path = Path("runs/q_methods")
    """Where run folders lie; finished ones are used as they are."""
    parts: tuple[str, ...] = ("games", "hallway", "smax")
    """What to measure; "smax" needs JaxMARL."""
    fresh: bool = False
    """Train everything anew."""
    search: bool = False
    """Search every method's settings on hallway and write them to tuned.json; nothing else."""


def main(options: Options) -> None:
    if options.search:
        search(presets.searches(), presets.TUNED, options.runs, fresh=options.fresh)
        return
    parts = {"games": games, "hallway": hallway, "smax": smax}
    unknown = set(options.parts) - set(parts)
    if unknown:
        raise SystemExit(f"unknown parts {', '.join(sorted(unknown))}; accepted: {', '.join(parts)}")
    for part in options.parts:
        for name, markdown in parts[part](options).items():
            analysis.update_section(FOLDER / "README.md", f"table:{name}", markdown)
            print(f"{name}\n\n{markdown}\n")


def games(options: Options) -> dict[str, str]:
    """README sections of the small games."""
    runs = train_all(presets.game_runs(), options.runs, fresh=options.fresh)
    return {"games": _signed(tables.games(runs), runs)}


def hallway(options: Options) -> dict[str, str]:
    """README sections of hallway."""
    runs = train_all(presets.hallway_runs(), options.runs, fresh=options.fresh)
    title = f"{presets.HALLWAY}, own cell and clock"
    analysis.plot(list(runs.values()), FOLDER / "hallway.png", metric="win", title=title)
    return {"hallway": _signed(tables.wins(runs, "hallway-"), runs), "tuned": tuned_table(presets.TUNED)}


def smax(options: Options) -> dict[str, str]:
    """README sections of SMAX."""
    runs = train_all(presets.smax_runs(), options.runs, fresh=options.fresh)
    analysis.plot(list(runs.values()), FOLDER / "smax.png", metric="win", title=f"{presets.SMAX}: win rate")
    return {"smax": _signed(tables.wins(runs, "smax-"), runs)}


def _signed(markdown: str, runs: dict[str, analysis.Run]) -> str:
    return f"{markdown}\n\n{provenance(list(runs.values()))}"


if __name__ == "__main__":
    main(tyro.cli(Options))
