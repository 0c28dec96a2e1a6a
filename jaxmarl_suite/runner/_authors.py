"""Exceptions from algorithms and environments outside the suite, reported with their location."""

import contextlib
from collections.abc import Iterator

from jaxmarl_envs.core import origin

from jaxmarl_suite.runner._files import reason


class TracingError(RuntimeError):
    """An algorithm or environment outside the suite raised an exception while its programs were built."""


@contextlib.contextmanager
def naming_authors(algorithm: str, env_id: str, *, refusals: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Converts exceptions from outside the suite into one line with algorithm, environment, file and line.

    Args:
      algorithm: its name.
      env_id: of the environment.
      refusals: exceptions whose message is sufficient; they are not converted.

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
