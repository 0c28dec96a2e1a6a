"""Exceptions from somebody's own algorithm or environment, with their place in it."""

import contextlib
from collections.abc import Iterator

from jaxmarl_envs.core import origin

from jaxmarl_suite.runner._files import reason


class TracingError(RuntimeError):
    """An algorithm or an environment from outside the suite raised an exception while its programs were made."""


@contextlib.contextmanager
def naming_authors(algorithm: str, env_id: str, *, refusals: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Says of an exception from outside the suite which algorithm and environment, file and line it is about.

    Args:
      algorithm: its name.
      env_id: of the environment.
      refusals: exceptions that say by themselves what is wrong: they pass.

    Raises:
      TracingError: in one line.
    """
    try:
        yield
    except Exception as error:
        where = origin(error)
        if not where or isinstance(error, (TracingError, *refusals)):
            raise
        raise TracingError(
            f"{algorithm} on {env_id} raised {type(error).__name__} while its programs were made: {reason(error)} "
            f'({where}); for a check of the environment run "jaxmarl-suite envs --check {env_id}"'
        ) from error
