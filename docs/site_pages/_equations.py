"""Which functions a method's equations are in, read from the docstrings of everything that it calls."""

import functools
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from site_pages._page import ROOT

PACKAGE = "jaxmarl_suite."
_FORMULA = re.compile(r"(?:^|\s)\S+ (?:=|∝|≈|<-|:=|≤) \S")
_SYMBOL = re.compile(r"[Α-Ωα-ω⁻⁺₊₋²Σ∑√∇·‖∞∂π|]|_\{?\w|\^")
_SECTION = re.compile(r"(?m)^(?:Args|Returns|Raises|Yields|Example|Examples):\n")
_BLOCK = re.compile(r"(?m)(?:^ {4}.*\n)+")


class Equation(NamedTuple):
    """A function or class whose docstring has formulas."""

    name: str
    module: str
    line: int
    text: str
    """The formulas in Markdown."""


def method_module(make: Callable[..., Any]) -> str:
    """The module that says what a method is: that of its parts if `make` only puts a core around them."""
    for value in inspect.getclosurevars(inspect.unwrap(make)).nonlocals.values():
        value = value.func if isinstance(value, functools.partial) else value
        if inspect.isfunction(value) and not value.__qualname__.startswith("<lambda>"):
            return value.__module__
    return make.__module__


def equations_of(make: Callable[..., Any]) -> list[Equation]:
    """The equations of all functions and classes of the suite that `make` reaches: the method's own, then its family's."""
    own = method_module(make)
    family = own.rpartition(".")[0]
    order = {own: 0, family: 1}
    reached = _reached(make)
    found = {e.module + "." + e.name: e for thing in reached if (e := _equation(thing))}
    shown = {own, f"{family}._core"}  # whose docstrings the page has in full
    for module in {thing.__module__ for thing in reached} - shown:
        text = formulas(sys.modules[module].__doc__ or "")
        if text and repository_path(module):
            found[module] = Equation(module.rpartition(".")[2], module, 1, text)
    return sorted(
        found.values(),
        key=lambda e: (order.get(e.module, 1 if e.module.startswith(family + ".") else 2), e.module, e.line),
    )


def formulas(docstring: str) -> str:
    """The formulas of a docstring in Markdown: its indented blocks, or else the sentences that contain one."""
    text = _SECTION.split(inspect.cleandoc(docstring))[0]
    blocks = [block.rstrip() for block in _BLOCK.findall(text + "\n") if any(map(_is_formula, block.splitlines()))]
    if blocks:
        return "\n\n".join(blocks)
    plain = _BLOCK.sub("", text + "\n")
    sentences = [" ".join(one.split()) for one in re.split(r"(?<=[.:])\s+(?=[A-Z`])|\n\n", plain)]
    return "\n\n".join(one for one in sentences if _is_formula(one))


def _is_formula(line: str) -> bool:
    return bool(_FORMULA.search(line) and _SYMBOL.search(line))


def repository_path(module: str) -> str:
    """Where a module's file is in the repository; empty for others."""
    file = getattr(sys.modules[module], "__file__", None) or ""
    return file.removeprefix(f"{ROOT}/") if file.startswith(f"{ROOT}/") else ""


def _equation(thing: Any) -> Equation | None:
    docstring = thing.__doc__ or ""
    text = "" if docstring.startswith(f"{thing.__name__}(") else formulas(docstring)  # a dataclass without one
    if not text or not repository_path(thing.__module__):
        return None
    return Equation(thing.__qualname__, thing.__module__, inspect.getsourcelines(thing)[1], text)


def _reached(start: Callable[..., Any]) -> list[Any]:
    """Functions and classes of the suite that are named in the code of `start`, in the code of those, and so on."""
    seen: dict[int, Any] = {}
    waiting: list[Any] = [start]
    while waiting:
        thing = waiting.pop()
        thing = inspect.unwrap(thing.func if isinstance(thing, functools.partial) else thing)
        if not (inspect.isfunction(thing) or inspect.isclass(thing)) or id(thing) in seen:
            continue
        if thing.__module__.startswith(PACKAGE):
            seen[id(thing)] = thing
            waiting += _named(thing)
    return list(seen.values())


def _named(thing: Any) -> Iterator[Any]:
    if inspect.isclass(thing):
        yield from (v.fget if isinstance(v, property) else v for v in vars(thing).values())
        return
    yield from inspect.getclosurevars(thing).nonlocals.values()
    for name in _names(thing.__code__):
        yield thing.__globals__.get(name)


def _names(body: types.CodeType) -> Iterator[str]:
    yield from body.co_names
    for constant in body.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
