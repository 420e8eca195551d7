"""Reading ahead: a thread fetches, inflates and hashes the next chunks while the caller makes files of the last ones.

Both sides spend their time in system calls and in C code that lets go of the interpreter's lock, so on two processors a
layer takes a third less time, for the same work.
"""

from __future__ import annotations

from _queue import SimpleQueue
from threading import Semaphore, Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNKS = 6  # how many are ready at most; of a megabyte each
_PATIENCE = 0.2  # seconds


class Ahead:
    """An iterator over `source`, which only the thread touches until `stop` has returned. What it raises is raised here."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source = source
        self._room = Semaphore(_CHUNKS)
        self._ready: SimpleQueue[bytes | BaseException | None] = SimpleQueue()
        self._stopped = self._ended = False
        self._thread = Thread(target=self._work, name="read-ahead", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            for chunk in self._source:
                self._room.acquire()
                if self._stopped:
                    return
                self._ready.put(chunk)
            self._ready.put(None)
        except BaseException as error:  # noqa: BLE001  the caller raises it
            self._ready.put(error)

    def __iter__(self) -> Ahead:
        return self

    def __next__(self) -> bytes:
        if self._ended:
            raise StopIteration
        item = self._ready.get()
        self._room.release()
        if isinstance(item, bytes):
            return item
        self._ended = True
        if item is None:
            raise StopIteration
        raise item

    def stop(self, *, hurry: bool = False) -> None:
        """Wait until the thread has left `source` alone. In a `hurry` (Ctrl-C, a signal) a stalled network is not waited for:
        the thread is a daemon's, and what it would write to is closed by then.
        """
        self._stopped = True
        self._room.release()
        self._thread.join(_PATIENCE if hurry else None)
