"""A lock: only one process at a time trains in a run folder."""

import contextlib
import datetime
import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # systems without such locks: nobody is kept out
    fcntl = None  # type: ignore[assignment]

NAME = "lock"
_UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL)


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Locks `folder` until the block ends, against other processes and other threads of this one.

    The operating system locks the file `lock`, and releases it when the process ends, however it ends: a file left by
    a killed process blocks nobody. The contents of the file are for people. File systems without such locks keep
    nobody out.

    Raises:
      ValueError: the folder is locked; the message names the process, its machine and the time.
      OSError: the folder cannot be written.
    """
    path = folder / NAME
    descriptor = _acquire(path)
    try:
        with contextlib.suppress(OSError):  # a full disk: the lock still works
            about = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(about).encode() + b"\n")
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while locked: whoever opened it earlier finds that it is no longer this file
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether a process holds the lock of `folder`; False on file systems without such locks."""
    try:
        descriptor = os.open(folder / NAME, os.O_RDONLY)
    except OSError:  # nobody does, or it is not for us to know
        return False
    try:  # a file that a killed process left is locked by this for an instant
        return not _is_mine(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")


def _acquire(path: Path) -> int:
    """A descriptor of the file, with the lock held."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _is_mine(descriptor):
                raise ValueError(f"run folder {str(path.parent)!r} is in use by {_holder(descriptor)}")
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the previous holder has removed it in the meantime


def _is_mine(descriptor: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    return True


def _holder(descriptor: int) -> str:
    try:
        about = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {about['pid']} on {about['host']}, since {about['since']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
