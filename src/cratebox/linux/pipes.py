"""Pipes: what is in them, how much room they have, and looking without taking:
tee(2), FIONREAD of pipe(7), F_SETPIPE_SZ of fcntl(2).
"""

from __future__ import annotations

import fcntl
import sys

from cratebox.linux import const
from cratebox.linux._libc import checked

_FIONREAD = 0x541B  # the same number on x86-64 and arm64


def readable(fd: int) -> int:
    """Return how many bytes can be read from a pipe. Raises OSError."""
    return int.from_bytes(fcntl.ioctl(fd, _FIONREAD, bytes(4)), sys.byteorder)


def room(fd: int) -> int:
    """Return how many bytes a pipe holds at most: whole pages, of which each write takes one at least. Raises OSError."""
    return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)


def set_room(fd: int, size: int) -> None:
    """Have a pipe hold `size` bytes. Raises OSError: PermissionError where it is to be more than its user may have, who has too
    many pipes by now; EBUSY where more is in it.
    """
    fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)


def tee(source: int, target: int, count: int) -> int:
    """Copy up to `count` bytes of the pipe `source` into the pipe `target`; they stay in the source. Return how many.
    Raises OSError.
    """
    return checked("tee", const.SYS_tee, source, target, count, 0)
