"""Optional packages: imported when an environment is made, with an error that says how to install them."""

import contextlib
import importlib
import importlib.util
import inspect
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.experimental

from jaxmarl_envs.core import UnknownOption
from jaxmarl_envs.core._keys import KEY_IMPL

EXTRAS = {"gymnax": "gymnax", "jaxmarl": "jaxmarl", "pettingzoo": "pettingzoo"}
"""Packages that are installed by an extra of this project, with its name."""
_enable_x64: Any = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64  # type: ignore[attr-defined]  # before 0.8
_STREAMS = ("stdout", "__stdout__", "stderr", "__stderr__")


def is_installed(package: str) -> bool:
    """Whether `package` can be imported; does not import it."""
    if package in sys.modules:
        return sys.modules[package] is not None  # None: someone forbade it
    return importlib.util.find_spec(package) is not None


def installation(package: str) -> str:
    """The command that installs `package`: with an extra of this project if there is one."""
    extra = EXTRAS.get(package)
    return f'pip install "jaxmarl-suite[{extra}]"' if extra else f"pip install {package}"


def load(module: str, needed_by: str) -> ModuleType:
    """Imports a module of another project on first use, silently.

    Args:
      module: full name, e.g. "jaxmarl.environments.smax".
      needed_by: what it is for, the subject of the error.

    Raises:
      ValueError: if the package is not installed, with the command that installs it.
    """
    package = module.partition(".")[0]
    if not is_installed(package):
        raise ValueError(f"{needed_by} needs the package {package!r}, which is not installed: {installation(package)}")
    if module in sys.modules:
        return sys.modules[module]
    # JaxMARL prints while it is imported, and leaves both streams as sys.__stdout__ and sys.__stderr__, or others.
    kept, silent = {name: getattr(sys, name) for name in _STREAMS}, io.StringIO()
    sys.stdout = silent
    sys.__stdout__ = silent  # type: ignore[misc, assignment]
    try:
        with foreign():
            return importlib.import_module(module)
    finally:
        for name, stream in kept.items():
            setattr(sys, name, stream)


@contextlib.contextmanager
def foreign() -> Iterator[None]:
    """Traces its body with JAX's default promotion, keys and 32 bits, which other projects rely on."""
    with (
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        _enable_x64(False),
        jax.default_prng_impl(KEY_IMPL),
    ):
        yield


def check_parts(adapter: str, kind: str, env: Any, parts: tuple[str, ...], hint: str = "") -> None:
    """Rejects anything that is not an environment of the kind that `adapter` takes.

    Raises:
      ValueError: naming the first of the attributes `parts` that `env` lacks; it ends with `hint`.
    """
    missing = [part for part in parts if not hasattr(env, part)]
    if missing:
        raise ValueError(f"{adapter} takes {kind}, got a {type(env).__name__} without {missing[0]}{hint}")


def scalar_options(*makers: Callable[..., Any], without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Name to default of the arguments of `makers` whose defaults are a bool, a number or a string."""
    found = {}
    for maker in makers:
        for name, parameter in inspect.signature(maker).parameters.items():
            if name not in without and isinstance(parameter.default, bool | int | float | str):
                found[name] = parameter.default
    return found


def check_options(env_id: str, options: Mapping[str, Any], accepted: Mapping[str, Any]) -> dict[str, Any]:
    """`options` converted to the types of their defaults in `accepted`, so that 1 and 1.0 give the same environment.

    Raises:
      ValueError: an unknown option or a value of another type; the environment, the value and what is accepted are
        given.
    """
    chosen = {}
    for name, value in options.items():
        if name not in accepted:
            raise UnknownOption(
                f"{env_id}: unknown option {name!r}; accepted: {', '.join(sorted(accepted)) or 'no options'}",
                accepted,
            )
        default = accepted[name]
        kinds: Any = (float, int) if isinstance(default, float) else type(default)
        if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise ValueError(
                f"{env_id}: {name} must be a {type(default).__name__} (default {default!r}), got {value!r}"
            )
        chosen[name] = type(default)(value)
    return chosen
