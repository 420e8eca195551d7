"""Reading a container's log: its last lines, a time of it, what is still to come. logs.py tells what it looks like.

Everything is read by pieces, so that a log of any size takes little memory; its last lines are looked for from its end.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache

from cratebox import jsontext
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    # stream, nanoseconds since 1970, bytes with their end of line (without one: a part of a line), what --log-opt adds
    Entry = tuple[str, int, bytes, dict[str, str]]

_AT_ONCE = 1 << 20  # bytes that are read and held
_BACKWARDS = 1 << 16  # bytes that are read at once from the end
_LONGEST = 1 << 25  # bytes: what has no end of line in so many is no log
_PAUSES = (0.01, 0.02, 0.05, 0.1)  # seconds between two looks at a log to which nothing comes
_STREAMS = ("stdout", "stderr")


class Wanted(Record):
    """Which lines: the last `tail` of them, and of those what was written from `since` to `until` (nanoseconds since 1970)."""

    tail: int | None = None
    since: int | None = None
    until: int | None = None


def read(path: str, wanted: Wanted, alive: Callable[[], bool] | None = None) -> Iterator[list[Entry]]:
    """Yield what is wanted of the log at `path`, oldest first, as much at once as was read at once; nothing where there is none.

    With `alive` also what comes from now on, until that is false and all has been read. Raises OSError.
    """
    places = _open_all(path)
    if alive is None and places:
        places[-1].end = os.fstat(places[-1].fd).st_size  # whoever writes for ever faster than this reads is not run after
    try:
        if wanted.tail is not None:
            _go_to_last(places, wanted.tail)
        for lines in _lines(path, places, alive, wanted.until):
            entries = [entry for entry in map(parse, lines) if entry]
            some = [one for one in entries if wanted.since is None or one[1] >= wanted.since]
            some = [one for one in some if wanted.until is None or one[1] <= wanted.until]
            if some:
                yield some
            if alive and wanted.until is not None and entries and entries[-1][1] > wanted.until:
                return
    finally:
        for place in places:
            place.close()


class _Place:
    """How far a file of the log has been read."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.offset = 0
        self.end: int | None = None  # what is written behind it is not read
        self.inode = os.fstat(fd).st_ino

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def lines(self) -> list[bytes]:
        """Return the next whole lines, without their ends; none at the end of the file."""
        at_once = _AT_ONCE
        while True:
            count = at_once if self.end is None else min(at_once, self.end - self.offset)
            data = os.pread(self.fd, count, self.offset)
            border = data.rfind(b"\n") + 1
            if border or len(data) < at_once:
                self.offset += border
                return data[:border].split(b"\n")[:-1]
            if at_once >= _LONGEST:
                self.offset += len(data)
            else:
                at_once *= 2

    def backwards(self) -> Iterator[tuple[int, bytes]]:
        """Yield (where it ends, the line without its end) of each whole line, the last one first."""
        begin = os.fstat(self.fd).st_size if self.end is None else self.end
        data = b""
        while begin:
            before = max(begin - max(_BACKWARDS, len(data)), 0)
            data = os.pread(self.fd, begin - before, before) + data
            begin = before
            border = data.find(b"\n") + 1 if begin else 0  # what stands before it may have begun earlier
            if begin and not border:
                data = data if len(data) < _LONGEST else b""
                continue
            *lines, half = data[border:].split(b"\n")
            end = begin + len(data) - len(half)
            for line in reversed(lines):
                yield end, line
                end -= len(line) + 1
            data = data[:border]


def _open_all(path: str) -> list[_Place]:
    """Open the files of a log, oldest first. One that is added meanwhile puts the others in other places: then it is done again."""
    while True:
        found: list[_Place] = []
        for name in _names(path):
            try:
                place = _Place(os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK))
            except FileNotFoundError:
                continue
            if any(place.inode == other.inode for other in found):
                place.close()
            else:
                found.append(place)
        if _inode(path) in {None, found[0].inode if found else None}:
            return found[::-1]
        for place in found:
            place.close()


def _names(path: str) -> list[str]:
    """Return the names of a log's files, newest first."""
    directory, base = os.path.split(path)
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    numbers = [name.removeprefix(base + ".") for name in names if name.startswith(base + ".")]
    return [path, *(f"{path}.{number}" for number in sorted(int(text) for text in numbers if text.isdecimal()))]


def _inode(path: str) -> int | None:
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return None


def _go_to_last(places: list[_Place], count: int) -> None:
    """Leave only the last `count` lines to be read. A line whose end has not come yet is one."""
    newest = True
    for number in range(len(places) - 1, -1, -1):
        for end, line in places[number].backwards():
            entry = parse(line)
            if entry is None:
                continue
            if entry[2].endswith(b"\n") or newest:
                count -= 1
            newest = False
            if count < 0:
                places[number].offset = end
                for place in places[:number]:
                    place.close()
                del places[:number]
                return


def _lines(path: str, places: list[_Place], alive: Callable[[], bool] | None, until: int | None) -> Iterator[list[bytes]]:
    """Yield the lines of the places, which go from `places` when they have been read, and of files that come after them."""
    waited = 0
    while places or alive:
        going = alive is not None and alive() and (until is None or time.time_ns() <= until)  # before the last look
        lines = places[0].lines() if places else []
        if lines:
            waited = 0
            yield lines
            continue
        if len(places) < 2 and alive:
            places += _newer(path, places[0].inode if places else None)
            if len(places) > 1 and (lines := places[0].lines()):  # it was written to until the next one was begun
                yield lines
                continue
        if len(places) > 1 or not going:
            if places:
                places.pop(0).close()
            if not places:
                return
            continue
        time.sleep(_PAUSES[min(waited, len(_PAUSES) - 1)])
        waited += 1


def _newer(path: str, inode: int | None) -> list[_Place]:
    """Return the files of a log that were begun after the one that has the number `inode`; all where that one has gone."""
    if inode is not None and _inode(path) in {inode, None}:
        return []
    found = _open_all(path)
    known = [number for number, place in enumerate(found) if place.inode == inode]
    for place in found[: known[0] + 1] if known else ():
        place.close()
    return found[known[0] + 1 :] if known else found


def parse(line: bytes) -> Entry | None:
    """Return what a line of a log says, in whichever form it is; None for what is no line."""
    return _json(line) if line[:1] == b"{" else _cri(line)


def _json(line: bytes) -> Entry | None:
    try:
        found = jsontext.loads(line)
        stream, text, when, attributes = found["stream"], found["log"], _nanoseconds(found["time"]), found.get("attrs", {})
        data = text.encode(errors="surrogateescape")
    except (jsontext.JSONError, KeyError, TypeError, AttributeError, UnicodeEncodeError):
        return None
    return (stream, when, data, attributes) if stream in _STREAMS and when is not None else None


def _cri(line: bytes) -> Entry | None:
    fields = line.split(b" ", 3)
    if len(fields) != 4 or fields[2] not in {b"F", b"P"}:
        return None
    stream, when = fields[1].decode(errors="replace"), _nanoseconds(fields[0].decode(errors="replace"))
    if stream not in _STREAMS or when is None:
        return None
    return stream, when, fields[3] + b"\n" if fields[2] == b"F" else fields[3], {}


@lru_cache(maxsize=16)  # what was written at once has one time
def _nanoseconds(text: str) -> int | None:
    import calendar

    try:
        date, clock = text.removesuffix("Z").split("T")
        year, month, day = (int(part) for part in date.split("-"))
        hms, _, fraction = clock.partition(".")
        hour, minute, second = (int(part) for part in hms.split(":"))
        seconds = calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0))
        return seconds * 1_000_000_000 + int((fraction or "0")[:9].ljust(9, "0"))
    except (ValueError, OverflowError):
        return None
