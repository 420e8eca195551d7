"""What a container said, kept for `crate logs`: one line of the file a line of output.

    2026-01-31T12:00:00.123456789Z stdout F hello

Time (RFC 3339, UTC), stream, F for a full line or P for a part of one that goes on, then the bytes as they were. It is the
format that the Kubernetes container runtime interface gives its logs: nothing has to be escaped, so nothing is lost.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PART = 16384  # bytes: a longer line is written in parts
_AT_ONCE = 1 << 20  # bytes that a follower reads and holds


class LogWriter:
    """Writes a container's output to the file `path`, which is appended to. Its only writer is the supervisor."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._rest: dict[str, bytes] = {}

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
            _write_all(self._fd, b"".join(out))

    def close(self) -> None:
        """Write what has no end of line yet, and close the file. Raises OSError."""
        for stream, rest in self._rest.items():
            _write_all(self._fd, _head(stream) + b"P " + rest + b"\n")
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
    from collections import deque

    try:
        file = open(path, "rb")  # noqa: SIM115  closed below, whatever the reader does
    except FileNotFoundError:
        return
    with file:
        lines = file if tail is None else deque(file, maxlen=tail)
        for line in lines:
            if line.endswith(b"\n"):
                entry = parse(line)
                if entry:
                    yield entry


def follow(path: str, alive: Callable[[], bool], tail: int | None = None) -> Iterator[tuple[str, int, bytes]]:
    """Yield what is in the log, then what comes, until `alive()` is false and all has been read. Raises OSError.

    `tail` bounds what was there before to its last lines.
    """
    position, rest = 0, b""
    if tail is not None:
        yield from read(path, tail)
        position = os.stat(path).st_size if os.path.exists(path) else 0
    while True:
        going = alive()
        try:
            with open(path, "rb") as file:
                file.seek(position)
                fresh = file.read(_AT_ONCE)
                position = file.tell()
        except FileNotFoundError:
            return
        *lines, rest = (rest + fresh).split(b"\n")
        for line in lines:
            entry = parse(line + b"\n")
            if entry:
                yield entry
        if not fresh:
            if not going:
                return
            time.sleep(0.1)
