"""What a container said, kept for `crate logs`: one line of the file a line of output.

    2026-01-31T12:00:00.123456789Z stdout F hello

Time (RFC 3339, UTC), stream, F for a full line or P for a part of one that goes on, then the bytes as they were. It is the
format that the Kubernetes container runtime interface gives its logs: nothing has to be escaped, so nothing is lost.
"""

from __future__ import annotations

import os
import time
from itertools import chain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

MOST = 16 << 20  # bytes of one file of a log; there are two
PART = 16384  # bytes: a longer line is written in parts
_AT_ONCE = 1 << 20  # bytes that a follower reads and holds


class LogWriter:
    """Writes a container's output to the file `path`, which is appended to. Its only writer is the supervisor.

    Where the file has grown to `most` bytes it becomes PATH.1, in place of an older one, and a new one begins.
    """

    def __init__(self, path: str, most: int = MOST) -> None:
        self._path, self._most = path, most
        self._rest: dict[str, bytes] = {}
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._size = os.fstat(self._fd).st_size

    def _put(self, data: bytes) -> None:
        if self._size and self._size + len(data) > self._most:
            os.rename(self._path, self._path + ".1")
            os.close(self._fd)
            self._open()
        _write_all(self._fd, data)
        self._size += len(data)

    def write(self, stream: str, data: bytes) -> None:
        """Take the next bytes of `stream`; whole lines are written at once. Raises OSError."""
        data = self._rest.pop(stream, b"") + data
        *lines, rest = data.split(b"\n")
        head = _head(stream)
        out = []
        for line in lines:
            out += _parts(head, line, b"F ")
        while len(rest) > PART:
            out.append(head + b"P " + rest[:PART] + b"\n")
            rest = rest[PART:]
        if rest:
            self._rest[stream] = rest
        if out:
            self._put(b"".join(out))

    def close(self) -> None:
        """Write what has no end of line yet, and close the file. Raises OSError."""
        for stream, rest in self._rest.items():
            self._put(_head(stream) + b"P " + rest + b"\n")
        self._rest = {}
        os.close(self._fd)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _head(stream: str) -> bytes:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    return b"%04d-%02d-%02dT%02d:%02d:%02d.%09dZ %b " % (year, month, day, hour, minute, second, nanoseconds, stream.encode())


def _parts(head: bytes, line: bytes, last: bytes) -> list[bytes]:
    out = []
    while len(line) > PART:
        out.append(head + b"P " + line[:PART] + b"\n")
        line = line[PART:]
    out.append(head + last + line + b"\n")
    return out


def parse(line: bytes) -> tuple[str, int, bytes] | None:
    """Return (stream, time in nanoseconds since 1970, bytes with their end of line) of a line; None for what is no line."""
    fields = line.split(b" ", 3)
    if len(fields) != 4 or fields[1] not in {b"stdout", b"stderr"} or fields[2] not in {b"F", b"P"}:
        return None
    when = _nanoseconds(fields[0])
    if when is None:
        return None
    return fields[1].decode(), when, fields[3].removesuffix(b"\n") + (b"\n" if fields[2] == b"F" else b"")


def _nanoseconds(text: bytes) -> int | None:
    import calendar

    try:
        date, clock = text.decode("ascii").removesuffix("Z").split("T")
        year, month, day = (int(part) for part in date.split("-"))
        hms, _, fraction = clock.partition(".")
        hour, minute, second = (int(part) for part in hms.split(":"))
        return calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0)) * 1_000_000_000 + int(fraction.ljust(9, "0"))
    except ValueError:
        return None


def read(path: str, tail: int | None = None) -> Iterator[tuple[str, int, bytes]]:
    """Yield what the log at `path` holds, oldest first: (stream, nanoseconds since 1970, bytes). Nothing where there is none.

    `tail` bounds it to the last lines. Raises OSError.
    """
    files = [file for file in (_opened(path + ".1"), _opened(path)) if file]
    try:
        yield from _entries(_last(chain(*files), tail))
    finally:
        for file in files:
            file.close()


def _opened(path: str) -> BinaryIO | None:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        return None


def _last(lines: Iterable[bytes], count: int | None) -> Iterable[bytes]:
    if count is None:
        return lines
    from collections import deque  # not for the supervisor, which only writes

    return deque(lines, maxlen=count)


def _entries(lines: Iterable[bytes]) -> Iterator[tuple[str, int, bytes]]:
    for line in lines:
        entry = parse(line) if line.endswith(b"\n") else None
        if entry:
            yield entry


def follow(path: str, alive: Callable[[], bool], tail: int | None = None) -> Iterator[tuple[str, int, bytes]]:
    """Yield what is in the log, then what comes, until `alive()` is false and all has been read. Raises OSError.

    `tail` bounds what was there before to its last lines. Holds a bounded piece of the log in memory.
    """
    file = _opened(path)
    if file is None:
        return
    try:
        older = _opened(path + ".1")
        there = os.fstat(file.fileno()).st_size
        before = chain(older or (), _lines(file, there))
        yield from _entries(_last(before, tail))
        if older:
            older.close()
        rest = b""
        while True:
            going = alive()
            fresh = file.read(_AT_ONCE)
            *lines, rest = (rest + fresh).split(b"\n")
            yield from _entries(line + b"\n" for line in lines)
            if fresh:
                continue
            following = _successor(path, file)
            if following:
                file.close()
                file = following
            elif not going:
                return
            else:
                time.sleep(0.1)
    finally:
        file.close()


def _lines(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the lines of the first `size` bytes of a file."""
    while file.tell() < size:
        yield file.readline()


def _successor(path: str, file: BinaryIO) -> BinaryIO | None:
    """Return the file that has been begun at `path` since `file` was, if one has."""
    following = _opened(path)
    if following and os.path.samestat(os.fstat(following.fileno()), os.fstat(file.fileno())):
        following.close()
        return None
    return following
