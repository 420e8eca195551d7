"""Reading a container's log: its last lines, a time of it, what is still to come. logs.py tells what it looks like.

turned_files.py reads the files; its last lines are looked for from the end.
"""

from __future__ import annotations

from functools import lru_cache

from cratebox import jsontext
from cratebox.engine import turned_files
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cratebox.engine.turned_files import Place

    # stream, nanoseconds since 1970, bytes with their end of line (without one: a part of a line), what --log-opt adds
    Entry = tuple[str, int, bytes, dict[str, str]]

_NEAR = 1 << 16  # bytes
_STREAMS = ("stdout", "stderr")


class Wanted(Record):
    """Which lines: the last `tail` of them, and of those what was written from `since` to `until` (nanoseconds since 1970)."""

    tail: int | None = None
    since: int | None = None
    until: int | None = None


def read(path: str, wanted: Wanted, alive: Callable[[], bool] | None = None) -> Iterator[list[Entry]]:
    """Yield what is wanted of the log at `path`, oldest first, as much at once as was read at once;
    nothing where there is none.

    With `alive` also what comes from now on, until that is false and all has been read. Raises OSError.
    """
    places = turned_files.open_all(path)
    if alive is None and places:
        places[-1].end_here()  # whoever writes for ever faster than this reads is not run after
    try:
        if wanted.tail is not None:
            _go_to_last(places, wanted.tail)
        elif wanted.since is not None:
            _go_to_time(places, wanted.since)
        for lines in turned_files.lines(path, places, alive, wanted.until):
            entries = [entry for entry in map(parse, lines) if entry]
            some = [one for one in entries if wanted.since is None or one[1] >= wanted.since]
            some = [one for one in some if wanted.until is None or one[1] <= wanted.until]
            if some:
                yield some
            if wanted.until is not None and entries and entries[-1][1] > wanted.until:
                return
    finally:
        for place in places:
            place.close()


def _go_to_last(places: list[Place], count: int) -> None:
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


def _go_to_time(places: list[Place], since: int) -> None:
    """Leave out what was written before that time, as far as that is found without reading it:
    lines are in the order of time.
    """
    for number in range(len(places) - 1, -1, -1):
        first = next((entry for entry in map(parse, places[number].head()) if entry), None)
        if first and first[1] < since:
            for place in places[:number]:
                place.close()
            del places[:number]
            _skip(places[0], since)
            return


def _skip(place: Place, since: int) -> None:
    """Go to a line near the first that is not before that time, by halves. What is near enough is read."""
    end = place.size
    while end - place.offset > _NEAR:
        middle = (place.offset + end) // 2
        found = place.line_behind(middle)
        entry = parse(found[1]) if found else None
        if found is None or entry is None:
            return
        if entry[1] >= since:
            end = middle
        elif found[0] < end:
            place.offset = found[0]
        else:
            return


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
