"""Reading a file of somebody else's: whatever lies under its name, nobody waits for it and memory stays bounded."""

from __future__ import annotations

import os
import stat
from time import sleep

_EAGAIN, _EFBIG, _EINVAL = 11, 27, 22
_TRIES, _PAUSE = 50, 0.02  # seconds: one second in all


def open_regular(path: str) -> int:
    """Return a descriptor to read a regular file by. Raises OSError, also for a symlink and whatever else is no regular file."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(_EINVAL, "not a regular file", path)
    return fd


def open_again(held: int, name: str) -> int:
    """Return a descriptor to read the directory or regular file that `held`, of O_PATH, is of. Raises as `open_leased`, which tells
    its `name`, where it has one.
    """
    try:
        return open_leased(f"/proc/self/fd/{held}", os.O_RDONLY)
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, error.strerror, *((name,) if name else ())) from None


def open_leased(path: str, flags: int, mode: int = 0) -> int:
    """Open a regular file whose owner may hold a lease on it (fcntl(2), F_SETLEASE). Raises OSError: BlockingIOError where he does
    not give it back within a second. An open that waits would do so for 45 of them, for each file, as often as he likes.
    """
    for _ in range(_TRIES):
        try:
            return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode)
        except BlockingIOError:
            sleep(_PAUSE)
    raise BlockingIOError(_EAGAIN, "a process holds a lease on this file, and does not give it back", path)


def read_regular(path: str, most: int, *, pipe: bool = False) -> bytes:
    """Return the content of a regular file of at most `most` bytes; `pipe`: one whose writer is there already will do as well.

    A FIFO, a device or a terminal could make its reader wait for ever, and opening some devices does something. Raises OSError.
    """
    kind = os.stat(path).st_mode
    if not (stat.S_ISREG(kind) or (pipe and stat.S_ISFIFO(kind))):
        raise OSError(_EINVAL, "is a directory" if stat.S_ISDIR(kind) else "not a regular file", path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        info = os.fstat(fd)
        kind = info.st_mode
        if stat.S_ISFIFO(kind) and pipe:
            os.set_blocking(fd, True)
        elif not stat.S_ISREG(kind):
            raise OSError(_EINVAL, "not a regular file", path)
        content = b""
        size = info.st_size + 1  # as far as is known: a buffer of a mebibyte costs more than a small file
        while part := os.read(fd, max(1, min(1 << 20, max(size, 4096), most + 1 - len(content)))):
            content += part
            if len(content) > most:
                raise OSError(_EFBIG, f"larger than {most} bytes", path)
    finally:
        os.close(fd)
    return content
