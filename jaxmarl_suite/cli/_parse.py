"""Arguments: tyro over dataclasses, errors as one line, options of environments, grids."""

import ast
import contextlib
import dataclasses
import difflib
import io
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

PROG = "jaxmarl-suite"
EVAL_PREFIX = "--eval-env."
"""Prefix of options in which the evaluation environment differs from the training environment."""
MAX_RANGE = 100_000
"""Maximum number of values of one range `a:b`."""
Shown = Annotated[
    tuple[str, ...] | None,
    tyro.conf.arg(
        metavar="METRIC",
        help="Metrics of evaluations to show beside the return. Default: the environment's first one, e.g. its win rate.",
    ),
]
_T = TypeVar("_T")


def parse(arguments: type[_T], argv: Sequence[str], command: str, description: str) -> _T:
    """Parses the command line into the dataclass `arguments`; hyphens and underscores are equivalent.

    Raises:
      ValueError: in one line, with the nearest spelling of an unknown option.
      SystemExit: after printing the help text.
    """
    prog = f"{PROG} {command}"
    if not {"-h", "--help"} & set(argv):
        _refuse_unknown(arguments, argv, prog)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(arguments, prog=prog, description=description, args=list(argv), registry=_registry())
    except SystemExit as error:
        if not error.code:
            raise
        text = _explain(_one_line(errors.getvalue()), _flags(arguments), argv)
        raise ValueError(f'{text}; see "{prog} --help"') from None


def with_prefix(arguments: type, argv: Sequence[str], prefix: str) -> list[str]:
    """Expands `--NAME` to `--PREFIX.NAME` if only the latter is an option of the dataclass `arguments`."""
    known = _flags(arguments)

    def full(word: str) -> str:
        flag = word.split("=")[0].replace("_", "-")
        prefixed = f"--{prefix}.{flag.removeprefix('--')}"
        is_short = flag.startswith("--") and flag not in known and prefixed in known
        return prefixed + word[len(flag) :] if is_short else word

    return [full(word) for word in argv]


def _refuse_unknown(arguments: Any, argv: Sequence[str], prog: str) -> None:
    known = sorted(_flags(arguments))
    for token in argv:
        name = token.split("=")[0].replace("_", "-")
        if not token.startswith("--") or name == "--" or name in known:
            continue
        last = name.rpartition(".")[2].removeprefix("--")
        near = [flag for flag in known if re.split(r"[.]|^--", flag)[-1] == last]
        near = near or sorted(
            (flag for flag in known if last and last == _initials(flag)), key=lambda flag: "." not in flag
        )
        near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}? " if near else ""
        if name == "--grid":
            hint = 'grids are for "sweep"; '
        raise ValueError(f'unknown option {token.split("=")[0]}; {hint}see "{prog} --help"')


def _initials(flag: str) -> str:
    """`lr` for `--mappo.learning-rate`."""
    return "".join(word[:1] for word in re.split(r"[.]|^--", flag)[-1].split("-"))


def _flags(arguments: Any, prefix: str = "") -> dict[str, Any]:
    """The options that tyro creates for a dataclass, with their types."""
    found: dict[str, Any] = {}
    hints = typing.get_type_hints(arguments, include_extras=True)
    for field in dataclasses.fields(arguments):
        kind, name = hints[field.name], f"{prefix}{field.name.replace('_', '-')}"
        inner = typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind
        if dataclasses.is_dataclass(inner):
            is_flat = any(getattr(m, "name", None) == "" for m in typing.get_args(kind)[1:])
            found |= _flags(inner, prefix if is_flat else f"{name}.")
        else:
            found[f"--{name}"] = inner
            if inner is bool and tyro.conf.FlagCreatePairsOff not in typing.get_args(kind)[1:]:
                found[f"--{prefix}no-{field.name.replace('_', '-')}"] = bool
    return found


def _explain(text: str, flags: Mapping[str, Any], argv: Sequence[str]) -> str:
    """Rewrites tyro's message about an option: its name, what is accepted, what was given."""
    surplus = re.fullmatch(r"unexpected argument: (\S+).*", text)
    named = re.search(r"--[\w.-]*\w", text)
    if text.startswith("missing"):
        return text
    for flag, words in _given(flags, argv):
        kind = flags[flag]
        if surplus and surplus[1] in words:
            if kind is bool:
                return f"{flag} takes no value, got {surplus[1]!r}; {_switch(flag, flags)}"
            if words.index(surplus[1]) > 0 and not surplus[1].startswith("-"):
                return f"{text} after {flag} {words[0]}, which takes one value"
        if not surplus and named and named[0] == flag:
            return f"{flag}: expected {_accepted(kind)}, got {' '.join(words)!r}" if words else f"{flag} needs a value"
    return text


def _given(flags: Mapping[str, Any], argv: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The options on a command line, each with the words that follow it."""
    found: list[tuple[str, list[str]]] = []
    for word in argv:
        name, equals, value = word.partition("=")
        if name.replace("_", "-") in flags:
            found.append((name.replace("_", "-"), [value] if equals else []))
        elif found:
            found[-1][1].append(word)
    return found


def _switch(flag: str, flags: Mapping[str, Any]) -> str:
    """How to set a boolean option."""
    head, name = re.fullmatch(r"(.*?)(?:no-)?([^.]*)", flag.removeprefix("--")).groups()  # type: ignore[union-attr]
    on, off = f"--{head}{name}", f"--{head}no-{name}"
    return f"write {on} for True, {off} for False" if off in flags else f"write {flag} alone"


def _accepted(kind: Any) -> str:
    """The values of a type, in words."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if typing.get_origin(kind) is tuple:
        return f"any number of values, each {_accepted(arguments[0])}"
    if type(None) in arguments:
        return f"{_accepted(next(part for part in arguments if part is not type(None)))}, or None"
    return {int: "an integer", float: "a number"}.get(kind, "one value")


def _one_line(box: str) -> str:
    """The text of tyro's error box, up to its first rule."""
    lines: list[str] = []
    for line in box.splitlines()[1:]:
        text = line.strip().strip("│╭╮╰╯").strip()
        if text and not text.strip("─-"):
            if lines:
                break
        elif text:
            lines.append(text)
    text = re.sub(r"\s+", " ", " ".join(lines)).strip().rstrip(".: ").replace(" ,", ",")
    required = re.match(r"Missing from .*?: (-*\S+).*", text)
    if required:
        return f"missing {required[1]}"
    return re.sub(r"^Error parsing ", "", text).replace("Unrecognized options: ", "unexpected argument: ")


def _registry() -> ConstructorRegistry:
    """Integers may be written 1e6 or 1_000_000."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def integers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
        if info.type is not int:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="INT",
            instance_from_str=lambda words: _integer(words[0]),
            is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _integer(word: str) -> int:
    with contextlib.suppress(ValueError):
        return int(word)
    try:
        number = float(word)
        if number == int(number):
            return int(number)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"expected an integer, got {word!r}")


def take_env_options(argv: Sequence[str], prefix: str = "--env.") -> tuple[dict[str, Any], list[str]]:
    """The options `--env.NAME VALUE` (or `--env.NAME=VALUE`), or with another prefix, and the rest of the arguments."""
    options: dict[str, Any] = {}
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if not word.startswith(prefix):
            rest.append(word)
            continue
        name, equals, value = word.removeprefix(prefix).partition("=")
        if not equals:
            following = next(words, None)
            if following is None or following.startswith("--"):
                raise ValueError(f"{prefix}{name} needs a value: {prefix}{name} VALUE")
            value = following
        key = name.replace("-", "_")
        if key in options:
            raise ValueError(f"{prefix}{name} is given twice")
        options[key] = literal(value)
    return options, rest


def literal(text: str) -> Any:
    """The number, boolean, None or tuple that the text represents; otherwise the text."""
    named = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in named:
        return named[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def parse_grid(entries: Sequence[str], config: Any) -> dict[str, list[Any]]:
    """Values by field from `FIELD=A,B` and `FIELD=START:STOP`, in the types of `config`'s fields.

    Raises:
      ValueError: a malformed entry, a field given twice, a value of the wrong type, or a range that is too long.
    """
    from jaxmarl_suite.runner import ENV_PREFIX, coerce

    fields = {field.name for field in dataclasses.fields(config)}
    grid: dict[str, list[Any]] = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name or not text.strip():
            raise ValueError(f"--grid needs FIELD=VALUE,VALUE,... or FIELD=START:STOP, got {entry!r}")
        if name in grid:
            raise ValueError(f"--grid over {name!r} is given twice; put all its values into one")
        values = [value for part in _split(text, entry) for value in _values(part, entry)]
        if name in fields:
            values = [coerce(config, {name: value})[name] for value in values]
        elif name.startswith(ENV_PREFIX):
            values = [literal(value) if isinstance(value, str) else value for value in values]
        grid[name] = [list(value) if isinstance(value, tuple) else value for value in values]
        for index, value in enumerate(grid[name]):
            if value in grid[name][:index]:
                raise ValueError(f"--grid {entry!r} has the value {value!r} twice")
    return grid


def _split(text: str, entry: str) -> list[str]:
    """Splits at commas outside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    parts = [part.strip() for part in parts]
    if not all(parts) or depth:
        raise ValueError(f"--grid {entry!r} has an empty value or an open bracket")
    return parts


def _values(part: str, entry: str) -> Sequence[Any]:
    bounds = re.fullmatch(r"(-?\d+):(-?\d+)", part)
    if not bounds:
        return [part]
    start, stop = int(bounds[1]), int(bounds[2])
    if stop <= start:
        raise ValueError(f"--grid {entry!r}: the range {part} is empty; START:STOP leaves STOP out")
    if stop - start > MAX_RANGE:
        raise ValueError(f"--grid {entry!r}: the range {part} has {stop - start:,} values; at most {MAX_RANGE:,}")
    return range(start, stop)


def flat_settings(settings: Mapping[str, Any]) -> str:
    """Settings of a grid point in one short phrase."""
    return ", ".join(f"{name}={_short(value)}" for name, value in settings.items())


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
