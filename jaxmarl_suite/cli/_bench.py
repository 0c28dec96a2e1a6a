"""`bench`: runs the scripts of `benchmarks/`, which are part of a source checkout."""

import importlib
import sys
from pathlib import Path
from typing import Any

from jaxmarl_suite.cli._parse import PROG, parse
from jaxmarl_suite.cli._session import Result, Session


def bench(argv: list[str], session: Session) -> Result:
    """Runs one script, or lists them."""
    import difflib

    names = _scripts()
    if not names:
        raise ValueError(
            f"{PROG} bench runs the scripts of benchmarks/, which an installed package does not contain: "
            "run it in a source checkout (installed with: pip install -e .)"
        )
    if not argv or argv[0] in ("-h", "--help"):
        console = session.console()
        console.print(f"usage: {PROG} bench NAME [...]    [dim]{PROG} bench NAME --help lists its options[/]\n")
        for name, path in names.items():
            console.print(f"  [cyan]{name:24}[/] {_first_line(path)}")
        return {"benchmarks": list(names)}
    name, rest = argv[0].replace("_", "-"), argv[1:]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown benchmark {argv[0]!r}; {hint}there are: {', '.join(names)}")
    root = str(names[name].parent.parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    module: Any = importlib.import_module(f"benchmarks.{names[name].stem}")
    if hasattr(module, "Args"):
        result = module.main(parse(module.Args, rest, f"bench {name}", (module.__doc__ or "").strip()))
    else:
        result = module.main(rest)
    return {"benchmark": name, "result": result}


def _scripts() -> dict[str, Path]:
    """The files with a `main`, by their names on the command line."""
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    files = sorted(folder.glob("[a-z]*.py")) if folder.is_dir() else []
    return {path.stem.replace("_", "-"): path for path in files if "\ndef main(" in path.read_text(encoding="utf-8")}


def _first_line(path: Path) -> str:
    import ast

    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
