"""`plan`: the cost of an experiment. Compiles its programs without training."""

from typing import Any

from jaxmarl_suite import runner
from jaxmarl_suite.cli._arguments import parse_experiment
from jaxmarl_suite.cli._console import print_table
from jaxmarl_suite.cli._parse import flat_settings
from jaxmarl_suite.cli._session import Result, Session


def plan(argv: list[str], session: Session) -> Result:
    """Seconds, memory and rows of every program of an experiment."""
    request = parse_experiment(argv, "plan", "Compiles an experiment and shows its cost, without training.")
    experiment, options = request.experiment, request.experiment.options
    if request.recipe:
        session.note(request.recipe.announcement)
    runner.configure()
    groups = experiment.groups()
    warnings = runner.check_milestones(groups, options)
    session.note(f"compiling {len(groups)} program{'s' if len(groups) > 1 else ''}")
    console, programs, rows = session.console(), [], []
    for number, group in enumerate(groups):
        entry = _describe(number, group, options)
        programs.append(entry)
        rows.append(
            {
                "program": number + 1,
                "lanes": entry["lanes"],
                "at once": entry["lanes_at_once"],
                "devices": f"{entry['devices']} {entry['platform']}, {entry['lane_mode']}",
                "memory": memory(entry["memory_bytes"]),
                "state per lane": memory(entry["state_bytes_a_lane"]),
                "compiling": f"{entry['compile_seconds']:.1f} s",
                "updates": " + ".join(f"{phase['updates']:,} {phase['name']}" for phase in entry["phases"]),
                "first setting": flat_settings(group.lanes[0].overrides),
            }
        )
    total = runner.total_env_steps(experiment)
    lanes = sum(entry["lanes"] for entry in programs)
    print_table(
        console, rows, title=f"{experiment.algorithm} on {experiment.env}: {lanes} lanes, {total:,} steps in all"
    )
    first = programs[0]["phases"]
    metrics = sorted({name for phase in first for name in phase["train_metrics"]})
    counts = [sum(phase[name] for phase in first) for name in ("log_rows", "evaluations")]
    console.print(
        f"\neach lane logs {counts[0]} training rows and {counts[1]} evaluations of {options.eval_episodes} episodes; the "
        f"best policy is evaluated once more on {options.absolute_episodes}",
        "state per lane: learner, replay and environments, as saved in checkpoints",
        f"metrics: {', '.join(metrics)}",
        sep="\n",
        markup=False,
    )
    if evaluated := experiment.evaluation_options:
        console.print(f"policies are evaluated with {runner.eval_flags(evaluated)}", markup=False)
    for warning in warnings:
        console.print(warning, markup=False)
    return {
        "algorithm": experiment.algorithm,
        "env": experiment.env,
        "eval_env_options": experiment.evaluation_options,
        "lanes": lanes,
        "total_env_steps": total,
        "warnings": warnings,
        "compile_seconds": round(sum(entry["compile_seconds"] for entry in programs), 3),
        "programs": programs,
    }


def _describe(number: int, group: runner.Group, options: runner.TrainOptions) -> dict[str, Any]:
    """The cost of a group's programs, found by compiling them."""
    size, compiled, placement = runner.choose_wave(group, options)
    needed = max(program.peak_bytes for program in compiled) * placement.mesh.size
    phases = runner.plan_phases(group, options)
    return {
        "program": number,
        "lanes": len(group.lanes),
        "lanes_at_once": size,
        "waves": -(-len(group.lanes) // size),
        "lane_mode": placement.mode,
        "devices": placement.mesh.size,
        "platform": placement.mesh.devices.flat[0].platform,
        "compile_seconds": round(sum(program.compile_seconds for program in compiled), 3),
        "memory_bytes": needed,
        "state_bytes_a_lane": max(program.state_bytes for program in compiled) // compiled[0].lanes,
        "settings": dict(group.lanes[0].overrides),
        "phases": [
            {
                "name": phase.name,
                "updates": phase.updates,
                "env_steps_per_update": phase.env_steps_per_update,
                "log_rows": len(phase.log_at),
                "evaluations": len(phase.eval_at),
                "train_metrics": sorted(program.totals_shape.total),
            }
            for phase, program in zip(phases, compiled)
        ],
    }


def memory(size: float) -> str:
    """Bytes in readable units."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} B"
