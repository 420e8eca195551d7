"""The logs of several containers as one: by time where they are read, as they come where they are followed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cratebox.engine.log_reading import Entry

    Log = Iterator[Sequence[Entry]]

_WAITING = 1024  # lines that are read and not taken yet
_LONGEST = 1 << 20  # bytes of a line that are held


def by_time(logs: Sequence[Log]) -> Iterator[tuple[int, Entry]]:
    """Yield the lines of all in the order of their times, each with the number of its log. What is whole stays so."""
    from heapq import merge

    numbered = [_numbered(number, log) for number, log in enumerate(logs)]
    yield from merge(*numbered, key=lambda one: (one[1][1], one[0]))


def _numbered(number: int, log: Log) -> Iterator[tuple[int, Entry]]:
    return ((number, entry) for entry in _whole(log))


def as_they_come(logs: Sequence[Log]) -> Iterator[tuple[int, Entry]]:
    """Yield the lines of all as they come, each with the number of its log, until all have ended.

    Raises what reading one of them raises.
    """
    from queue import Queue
    from threading import Thread

    waiting: Queue[tuple[int, Entry | BaseException | None]] = Queue(_WAITING)

    def follow(number: int, log: Log) -> None:
        try:
            for entry in _whole(log):
                waiting.put((number, entry))
            waiting.put((number, None))
        except BaseException as error:  # noqa: BLE001  raised by who waits
            waiting.put((number, error))

    for number, log in enumerate(logs):
        Thread(target=follow, args=(number, log), daemon=True).start()
    left = len(logs)
    while left:
        number, found = waiting.get()
        if isinstance(found, BaseException):
            raise found
        if found is None:
            left -= 1
        else:
            yield number, found


def _whole(log: Log) -> Iterator[Entry]:
    """Yield whole lines: the parts of a long one are one line again, or others would come between them."""
    parts: dict[str, Entry] = {}
    for entries in log:
        for stream, when, data, attributes in entries:
            before = parts.pop(stream, None)
            entry = (stream, before[1], before[2] + data, attributes) if before else (stream, when, data, attributes)
            if data.endswith(b"\n") or len(entry[2]) > _LONGEST:
                yield entry
            else:
                parts[stream] = entry
    yield from parts.values()
