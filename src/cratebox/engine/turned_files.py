"""Reading files of lines that grow, and become older files: FILE, then FILE.1, FILE.2; the higher the number, the older.

So are logs and the journal of events. Whoever writes them renames the oldest first, and writes to none but FILE. They are read
by pieces, so that files of any size take little memory.
"""

from __future__ import annotations

import os
import time
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cratebox.linux.inotify import Watch

_AT_ONCE = 1 << 20  # bytes that are read and held
_BACKWARDS = 1 << 16  # bytes that are read at once from the end
_LONGEST = 1 << 25  # bytes: what has no end of line in so many is none of ours
_UNTOLD = 0.1  # seconds: the longest pause where there is no watch
_ATTEMPTS, _PAUSE = 20, 0.001  # and seconds between them
_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5)  # seconds until the next look where nothing changes, or nobody tells of it


class Place:
    """A file, and how far it has been read."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.offset = 0
        self.end: int | None = None  # what is written behind it is not read
        self.inode = os.fstat(fd).st_ino

    def end_here(self) -> None:
        """Read no more than there is now."""
        self.end = os.fstat(self.fd).st_size

    def go_to_end(self) -> None:
        """Read only what is added from now on."""
        self.offset = os.fstat(self.fd).st_size

    def close(self) -> None:
        """Close the file."""
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

    def line_behind(self, offset: int) -> tuple[int, bytes] | None:
        """Return (where it begins, the line without its end) of the first whole line that begins behind `offset`,
        and not far.
        """
        data = os.pread(self.fd, _BACKWARDS if self.end is None else min(_BACKWARDS, self.end - offset), offset)
        begin = data.find(b"\n") + 1
        end = data.find(b"\n", begin) if begin else -1
        return (offset + begin, data[begin:end]) if end >= 0 else None

    def head(self) -> list[bytes]:
        """Return the first whole lines."""
        return os.pread(self.fd, min(_BACKWARDS, self.size), 0).split(b"\n")[:-1]

    @property
    def size(self) -> int:
        """How many bytes there are to be read."""
        return os.fstat(self.fd).st_size if self.end is None else self.end

    def backwards(self) -> Iterator[tuple[int, bytes]]:
        """Yield (where it ends, the line without its end) of each whole line, the last one first."""
        begin = self.size
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


def open_all(path: str) -> list[Place]:
    """Open the files that are there, oldest first.

    One that is begun meanwhile gives the others new numbers: then it is done again. Where there is none of the name itself,
    the next one is about to be begun, or whoever was about to was killed. Raises OSError.
    """
    for attempt in count():
        found = _open_each(path)
        newest = _inode(path)
        if newest == (found[-1].inode if found else None) or (newest is None and attempt > _ATTEMPTS):
            break
        for place in found:
            place.close()
        time.sleep(_PAUSE)
    return found


def _open_each(path: str) -> list[Place]:
    found: list[Place] = []
    for name in _names(path):
        try:
            place = Place(os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK))
        except FileNotFoundError:
            continue
        if any(place.inode == other.inode for other in found):
            place.close()
        else:
            found.append(place)
    return found[::-1]


def _names(path: str) -> list[str]:
    """Return the names that the files have or may be given just now, newest first.

    While they are renamed, one by one, a listing lacks the number that is free, which another file has a moment later.
    """
    directory, base = os.path.split(path)
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    numbers = [name.removeprefix(base + ".") for name in names if name.startswith(base + ".")]
    listed = {int(text) for text in numbers if text.isdecimal()}
    return [path, *(f"{path}.{number}" for number in sorted(listed.union(range(1, 2 * len(listed) + 2))))]


def _inode(path: str) -> int | None:
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return None


def lines(path: str, places: list[Place], alive: Callable[[], bool] | None, until: int | None) -> Iterator[list[bytes]]:
    """Yield the lines of the places, which go from `places` when they have been read; with `alive` also what comes, in these
    files and in those after them, until that is false, or it is later than `until` (nanoseconds since 1970). Raises OSError.
    """
    quiet = _Quiet(os.path.dirname(path))
    try:
        yield from _lines(path, places, alive, until, quiet)
    finally:
        quiet.close()


class _Quiet:
    """The wait for something to come. The end of who writes is told by no file:
    so each wait is the longer, the quieter it is.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._watch: Watch | None = None
        self._waits = 0

    def wait(self) -> None:
        """Wait until a file has changed, or for a while; at first not at all, since what came before the watch is not told."""
        seconds = _PAUSES[min(self._waits, len(_PAUSES) - 1)]
        if self._watch is None and self._waits == 0:
            self._watch = _watch(self._directory)
            self._waits = 1
        elif self._watch is None:
            time.sleep(min(seconds, _UNTOLD))
            self._waits += 1
        else:
            self._waits = 1 if self._watch.wait(seconds) else self._waits + 1

    def close(self) -> None:
        """Wait no more."""
        if self._watch:
            self._watch.close()


def _watch(directory: str) -> Watch | None:
    from cratebox.linux.inotify import Watch

    try:
        return Watch(directory)
    except OSError:
        return None  # the user has too many, or the directory is gone


def _lines(
    path: str, places: list[Place], alive: Callable[[], bool] | None, until: int | None, quiet: _Quiet
) -> Iterator[list[bytes]]:
    while places or alive:
        going = alive is not None and alive() and (until is None or time.time_ns() <= until)  # before the last look
        if places and (some := places[0].lines()):
            yield some
            continue
        if len(places) < 2 and alive:
            places += _newer(path, places[0].inode if places else None)
            if len(places) > 1 and (some := places[0].lines()):  # it was written to until the next one was begun
                yield some
                continue
        if len(places) > 1 or not going:
            if places:
                places.pop(0).close()
            if not places:
                return
            continue
        quiet.wait()


def _newer(path: str, inode: int | None) -> list[Place]:
    """Return the files that were begun after the one that has the number `inode`; all where that one has gone."""
    if inode is not None and _inode(path) in {inode, None}:
        return []
    found = open_all(path)
    known = [number for number, place in enumerate(found) if place.inode == inode]
    for place in found[: known[0] + 1] if known else ():
        place.close()
    return found[known[0] + 1 :] if known else found
