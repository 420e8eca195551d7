"""Locks that the kernel frees when the last descriptor of their opening is closed: fcntl(2), open file description locks.

They are held across fork, and whether one is held can be asked without taking it: whoever only looks keeps nobody out.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

_WHOLE_FILE = struct.Struct("hhqqi4x")  # struct flock: l_type, l_whence, l_start, l_len, l_pid
_EXCLUSIVE = _WHOLE_FILE.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


def try_hold(path: str) -> int | None:
    """Take the lock of the file `path`, made where it is missing; return its descriptor, or None where somebody has it.

    Raises FileNotFoundError where there is no such directory (any more), OSError.
    """
    try:
        return _take(path, fcntl.F_OFD_SETLK)
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES} and error.filename is None:  # of fcntl, not of open
            return None
        raise


def hold(path: str) -> int:
    """Take the lock of the file `path`, as `try_hold` does, and wait for it where somebody has it; return its descriptor.

    For locks that are held for a moment. Raises FileNotFoundError, OSError.
    """
    return _take(path, fcntl.F_OFD_SETLKW)


def _take(path: str, command: int) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.fcntl(fd, command, _EXCLUSIVE)
        if not os.path.samestat(os.fstat(fd), os.lstat(path)):  # the file was removed, and made anew, before we had its lock
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def release(fd: int) -> None:
    """Free the lock of `fd` and close it, also where another process holds a duplicate of the descriptor. Raises OSError."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _WHOLE_FILE.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(fd)


def is_held(path: str) -> bool:
    """Tell whether somebody has the lock of the file `path`; False where there is no such file. Raises OSError."""
    try:
        # Also of a file system that is read-only; a FIFO in its place is waited for by nobody.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _EXCLUSIVE)
        return bool(_WHOLE_FILE.unpack(found)[0] != fcntl.F_UNLCK)
    finally:
        os.close(fd)
