"""Distinguishes errors in a path from failures of the machine."""

import errno

PATH_ERRORS = tuple(
    getattr(errno, name)
    for name in ("EACCES", "EPERM", "ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "ENAMETOOLONG", "ELOOP", "EROFS")
)
"""System errors that are caused by the path and not by the machine."""
