"""Commands of the command line, called for what they return."""

import contextlib
import io
from collections.abc import Iterator


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Nothing that its body prints is shown."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
