"""The pipes of a container's standard streams: its own ends, and those that its supervisor and whoever types for it have.

They are made before the supervisor is forked, so that its guardian simply has them; and a container that is started again by
its supervisor gets the same ones.
"""

from __future__ import annotations

import os

from cratebox.engine.config import ContainerConfig
from cratebox.record import Record


class Streams(Record):
    """The container's `stdio` and the other ends of it: `stdin` is written to, `output` are read. -1 where there is none.

    `holds` are both ends of a pipe for each stream of the output: see holding.py.
    """

    stdio: tuple[int, int, int]
    stdin: int
    output: tuple[int, int]
    holds: tuple[int, int, int, int]


_NONE = Streams((-1, -1, -1), -1, (-1, -1), (-1, -1, -1, -1))


def of(config: ContainerConfig, open_to_write: bool) -> Streams:
    """Return new streams for a container. A terminal needs none; an input that nobody can write to is /dev/null.
    Raises OSError.
    """
    if config.tty:
        return _NONE
    stdin_read, stdin_write = os.pipe() if open_to_write else (os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1)
    (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe()
    for fd in (stdin_write, out_read, err_read):
        if fd >= 0:
            # They will be given to the user of the container's program, and we are to open them again, for the next run. Who
            # else gets at them is for /proc/PID/fd to say, not for their mode.
            os.fchmod(fd, 0o666)
    return Streams((stdin_read, out_write, err_write), stdin_write, (out_read, err_read), (*os.pipe(), *os.pipe()))


def same(stdin: int, output: tuple[int, int], holds: tuple[int, int, int, int]) -> Streams:
    """Return the streams of the run before for another one, by the ends of them that stayed. Raises OSError."""
    if output == (-1, -1):
        return _NONE
    stdout, stderr = (_opened_again(fd, os.O_WRONLY) for fd in output)
    return Streams((_opened_again(stdin, os.O_RDONLY), stdout, stderr), stdin, output, holds)


def inodes(stdin: int, output: tuple[int, int]) -> tuple[int, ...]:
    """Return what tells the pipes of these ends from any others, 0 where there is none; nothing where there is none at all."""
    if output == (-1, -1):
        return ()
    return tuple(os.fstat(fd).st_ino if fd >= 0 else 0 for fd in (stdin, *output))


def _opened_again(fd: int, flags: int) -> int:
    return os.open(f"/proc/self/fd/{fd}" if fd >= 0 else "/dev/null", flags | os.O_CLOEXEC)


def close(*fds: int) -> None:
    """Close those of `fds` that are any."""
    for fd in fds:
        if fd >= 0:
            os.close(fd)
