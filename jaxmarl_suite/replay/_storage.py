"""Workarounds for array storage libraries: paths that they misread, and errors such as a full disk that they obscure."""

import contextlib
import errno
import os
import re
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

MACHINE_ERRORS = tuple(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "ENOMEM", "EMFILE", "ENFILE", "ESTALE", "ETIMEDOUT")
    if hasattr(errno, name)
)
"""System errors that are caused by the machine and not by the path."""


@contextlib.contextmanager
def plain_path(folder: str | os.PathLike[str], marks: str) -> Iterator[Path]:
    """A path to an existing folder that such a library reads correctly, valid until the block ends.

    It is the absolute path or, if part of that would be misread, a symbolic link in the system's temporary folder.

    Args:
      folder: any path.
      marks: characters that the library interprets as a pattern or an address. Paths that are not UTF-8 are always
        misread.

    Raises:
      ValueError: no such path can be made.
    """
    whole = Path(os.path.abspath(folder))
    if _is_plain(whole, marks):
        yield whole
        return
    with tempfile.TemporaryDirectory(prefix="jaxmarl-suite-") as place:
        link = Path(place) / "link"
        try:
            link.symlink_to(whole, target_is_directory=True)
        except OSError:
            link = whole
        if not _is_plain(link, marks):
            raise ValueError(
                f"arrays cannot be kept in {str(whole)!r}: a path of UTF-8 without any of {' '.join(marks)} is needed"
            )
        yield link


def _is_plain(path: Path, marks: str) -> bool:
    try:
        return not set(marks) & set(str(path).encode("utf-8").decode())
    except UnicodeEncodeError:
        return False


def machine_error(error: BaseException | None) -> OSError | None:
    """The failure of the machine that caused `error`, such as a full disk; None if it has another cause.

    Args:
      error: raised by a library, which may quote the system's message in its own.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in MACHINE_ERRORS:
            return error
        text = "".join(traceback.format_exception_only(error))
        for number in MACHINE_ERRORS:
            if re.search(rf"\b{re.escape(os.strerror(number))}\b", text):
                return OSError(number, os.strerror(number))
        error = error.__cause__ or error.__context__
    return None
