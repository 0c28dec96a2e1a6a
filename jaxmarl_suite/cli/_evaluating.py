"""`eval`: evaluates the policies of a run, and draws their episodes."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from jaxmarl_envs import seed_key

from jaxmarl_suite.analysis.style import format_share
from jaxmarl_suite.cli._console import print_table, shown_metrics
from jaxmarl_suite.cli._parse import EVAL_PREFIX, Shown, flat_settings, parse, take_env_options
from jaxmarl_suite.cli._session import Result, Session, writing


@dataclasses.dataclass(frozen=True)
class EvalArguments:
    """The arguments of `eval`."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run folder; the run may be unfinished."""
    episodes: int | None = None
    """Episodes per policy. Default: as in the run's last evaluation."""
    lane: int | None = None
    """Evaluate only this lane; with --render, the lane to draw (default 0)."""
    step: int | None = None
    """Use the checkpoint after this many environment steps of a lane. Default: the newest."""
    render: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Draw one episode of the best policy: .gif for an animation, .png for a single sheet, .html for robots."""
    fps: float | None = None
    """Frames per second of the .gif, at most 50. Default: the environment's own, or 1.7."""
    show: Shown = None


@dataclasses.dataclass(frozen=True)
class RuleArguments:
    """The arguments of `eval --env`."""

    env: Annotated[str, tyro.conf.arg(metavar="ID")]
    """An environment that offers rules."""
    rule: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = ()
    """Names of rules. Default: all."""
    episodes: int = 320
    """Episodes per rule, the same for all."""
    seed: int = 0
    """Seed of the episodes."""


def eval(argv: list[str], session: Session) -> Result:
    """Evaluates the final and the best policy of every lane, or the rules of an environment."""
    if any(word.split("=")[0] == "--env" for word in argv):
        return _eval_rules(argv, session)
    eval_env_options, rest = take_env_options(argv, EVAL_PREFIX)
    about = (
        "Evaluates the final and the best policy of every lane of a run. Change options of the run's evaluation "
        f"environment with {EVAL_PREFIX}NAME VALUE"
    )
    given = parse(EvalArguments, rest, "eval", about)
    if given.render is not None and given.render.suffix not in (".gif", ".png", ".html"):
        raise ValueError(f"--render {given.render}: the suffix must be .gif or .png, or .html for robots")
    _check_fps(given)
    from jaxmarl_envs.core import check_drawable

    from jaxmarl_suite.runner import check_episodes, evaluate_trained, restore_policies

    check_episodes(given.episodes)
    waves = restore_policies(given.run, step=given.step, eval_env_options=eval_env_options, warn=session.note)
    metrics = shown_metrics(waves[0].group.eval_env.spec, given.show)
    if given.render is not None:  # fail before the evaluation, not after it
        for trained in waves:
            check_drawable(trained.group.eval_env, given.render)
        with writing(given.render, "--render "):
            given.render.parent.mkdir(parents=True, exist_ok=True)
    found = list(evaluate_trained(waves, episodes=given.episodes, lane=given.lane))
    rows = _rows(found, metrics)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    print_table(session.console(), [{name: row.get(name, "") for name in columns} for row in rows])
    cut = "; cut: episodes that did not end within eval_max_steps steps" if any(one.cut for one in found) else ""
    episodes = found[0].episodes
    session.console().print(
        f"[dim]mean {', '.join(['returns', *metrics])} of {episodes} episodes{cut}; "
        "of step: when the best policy was found[/]"
    )
    result: Result = {"run_dir": str(given.run), "evaluations": [dataclasses.asdict(one) for one in found]}
    if given.render is not None:
        result["render"] = str(_render(waves, given.lane or 0, given.render, given.fps))
        session.console().print(f"drawn: {given.render}", markup=False)
    return result


def _rows(found: list[Any], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """One row per lane and policy: the method's own policy, without a name, and the extra ones; returns and `metrics`."""
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    names = list(dict.fromkeys(name for one in found for name in one.metrics if name.split("/")[-1] == "return"))
    for one in found:
        for name in names:
            head = {"lane": one.lane, "seed": one.seed, "setting": flat_settings(one.overrides)}
            if len(names) > 1:
                head["policy"] = name.rpartition("/")[0]
            row = rows.setdefault((one.lane, name), head)
            row[one.policy] = f"{one.metrics[name]:.3f}"
            if name in one.cut:
                row[f"{one.policy} cut"] = format_share(one.cut[name])
            for metric in metrics:
                value = one.metrics.get(name.removesuffix("return") + metric)
                row[f"{one.policy} {metric}"] = "" if value is None else f"{value:.3f}"
            if one.policy == "best":
                row["of step"] = f"{one.env_steps:,}"
    for one in found:  # the last column
        for name in names:
            rows[one.lane, name]["optimum"] = "" if one.optimum is None else f"{one.optimum:g}"
    return [rows[key] for key in sorted(rows, key=lambda key: (key[0], names.index(key[1])))]


def _eval_rules(argv: list[str], session: Session) -> Result:
    options, rest = take_env_options(argv)
    about = "Evaluates fixed rules that an environment offers. Set options of the environment with --env.NAME VALUE"
    given = parse(RuleArguments, rest, "eval", about)
    from jaxmarl_suite.runner import evaluate_rules

    found = evaluate_rules(given.env, given.rule, env_options=options, episodes=given.episodes, seed=given.seed)
    rows = [{"rule": name, **{m: f"{value:.4g}" for m, value in metrics.items()}} for name, metrics in found.items()]
    print_table(session.console(), rows, title=f"rules of {given.env}")
    return {"env": given.env, "env_options": options, "episodes": given.episodes, "rules": found}


def _check_fps(given: EvalArguments) -> None:
    """Rejects a speed that no animation can have, and one without an animation."""
    if given.fps is None:
        return
    from jaxmarl_envs.core import LONGEST_FRAME, SHORTEST_FRAME

    if given.render is None or given.render.suffix != ".gif":
        raise ValueError(f"--fps {given.fps:g} is the speed of an animation: it needs --render FILE.gif")
    slowest, fastest = 1 / LONGEST_FRAME, 1 / SHORTEST_FRAME
    if not slowest <= given.fps <= fastest:
        raise ValueError(f"--fps must be from {slowest:.3g} to {fastest:g}, got {given.fps:g}")


def _render(waves: list[Any], lane: int, path: Path, fps: float | None) -> Path:
    from jaxmarl_envs import record_episode, render

    from jaxmarl_suite.runner import make_act

    for trained in waves:
        for one in trained.lanes:
            if one.index == lane:
                env = trained.group.eval_env
                limit = trained.options.eval_max_steps
                act = make_act(trained, lane)
                episode = record_episode(env, seed_key(one.seed), act, params=one.eval_params, max_steps=limit)
                params = None if one.eval_params is env.default_params else one.eval_params
                with writing(path, "--render "):
                    return render(env, episode, path, params=params, seconds_per_frame=fps and 1 / fps)
    raise ValueError(f"no lane {lane} with a checkpoint")
