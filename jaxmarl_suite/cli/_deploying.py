"""`export-policy`: writes a trained policy as files that run without this package."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jaxmarl_suite.cli._parse import parse
from jaxmarl_suite.cli._session import Result, Session


@dataclasses.dataclass(frozen=True)
class ExportPolicyArguments:
    """The arguments of `export-policy`."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run folder; the run may be unfinished."""
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """A new folder for the policy."""
    lane: int | None = None
    """The lane. Default: the one whose best policy had the highest return."""
    seed: int | None = None
    """The lane of this seed, in place of --lane."""
    final: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write the newest policy, not the best one."""
    policy: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """An extra policy of the method, such as "teacher". Default: its own."""
    step: int | None = None
    """Use the checkpoint after this many environment steps of a lane. Default: the newest."""
    batch: int | None = None
    """Number of environments per call. Default: any."""


def export_policy(argv: list[str], session: Session) -> Result:
    """Writes one policy to a new folder."""
    about = "Writes a trained policy as files that run with JAX alone: act.jax, parameters.safetensors, policy.json."
    given = parse(ExportPolicyArguments, argv, "export-policy", about)
    from jaxmarl_suite import runner

    if given.lane is not None and given.seed is not None:
        raise ValueError("give --lane or --seed, not both")
    policy = runner.load_policy(
        given.run,
        lane=given.lane,
        seed=given.seed,
        best=not given.final,
        name=given.policy,
        step=given.step,
        warn=session.note,
    )
    card = runner.export_policy(policy, given.folder, batch=given.batch)
    score = "" if card["score"] is None else f", return {card['score']:.3f}"
    session.console().print(
        f"{given.folder}: {card['algorithm']} on {card['env']}, seed {card['seed']}, after {card['env_steps']:,} "
        f"environment steps{score}; acts on {', '.join(name for name, one in card['inputs'].items() if one['read'])}",
        markup=False,
    )
    return {"run_dir": str(given.run), "folder": str(given.folder), "policy": card}
