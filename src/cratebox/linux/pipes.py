"""Pipes: what is in them, and looking at it without taking it: tee(2), FIONREAD of pipe(7)."""

from __future__ import annotations

import fcntl
import sys

from cratebox.linux import const
from cratebox.linux._libc import checked

_FIONREAD = 0x541B  # the same number on x86-64 and arm64


def readable(fd: int) -> int:
    """Return how many bytes can be read from a pipe. Raises OSError."""
    return int.from_bytes(fcntl.ioctl(fd, _FIONREAD, bytes(4)), sys.byteorder)


def tee(source: int, target: int, count: int) -> int:
    """Copy up to `count` bytes of the pipe `source` into the pipe `target`; they stay in the source. Return how many. Raises OSError."""
    return checked("tee", const.SYS_tee, source, target, count, 0)
