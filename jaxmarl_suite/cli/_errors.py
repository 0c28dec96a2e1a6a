"""Which failures of files are mistakes in a path."""

import errno

PATH_ERRORS = tuple(
    getattr(errno, name)
    for name in ("EACCES", "EPERM", "ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "ENAMETOOLONG", "ELOOP", "EROFS")
)
"""What is wrong with a path, and not with the machine."""
