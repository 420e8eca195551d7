"""A bar for each layer of a pull or a push, on a terminal."""

from __future__ import annotations

import signal
import time
from threading import RLock, current_thread, main_thread

from cratebox.cli.progress import Lines
from cratebox.cli.render import short_id
from cratebox.text import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

_REDRAW = 0.1  # seconds
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Bars(Lines):
    """Draws a bar for each layer with rich, which is imported with the first layer.

    No thread draws: a fork that follows a pull would copy it half-way. A bar moves when bytes come. Threads that fetch
    layers side by side may call; the last one that is done ends the drawing, hence the lock.
    """

    def __init__(self, stream: TextIO, doing: str = "Pulling") -> None:
        super().__init__(stream, doing)
        self._drawing: Any = None
        self._tasks: dict[str, Any] = {}
        self._open: set[str] = set()
        self._last = 0.0
        self._lock = RLock()
        self._handlers: dict[int, Any] = {}

    def layer(self, digest: str, total_bytes: int) -> None:
        with _Undisturbed(self._lock):
            if digest in self._tasks:
                return
            if self._drawing is None:
                self._drawing = _rich_progress(self._stream)
                self._take_signals()
                self._drawing.start()
            self._tasks[digest] = self._drawing.add_task(short_id(digest), total=max(total_bytes, 1), note=self._doing)
            self._open.add(digest)
            self._redraw()

    def advance(self, digest: str, n_bytes: int) -> None:
        with _Undisturbed(self._lock):
            if self._drawing is not None and digest in self._open:
                self._drawing.advance(self._tasks[digest], n_bytes)
                if time.monotonic() - self._last >= _REDRAW:
                    self._redraw()

    def done(self, digest: str, note: str) -> None:
        with _Undisturbed(self._lock):
            if digest not in self._open:
                self.message(f"{short_id(digest)}: {note}")
                return
            self._open.discard(digest)
            self._finish(self._tasks[digest], note)
            if not self._open:
                self.close()  # whatever comes next has the terminal for itself

    def _finish(self, task: Any, note: str) -> None:
        total = next(entry.total for entry in self._drawing.tasks if entry.id == task)
        self._drawing.update(task, completed=total, note=safe(note))
        self._redraw()

    def message(self, text: str) -> None:
        with _Undisturbed(self._lock):
            if self._drawing is None:
                super().message(text)
            else:
                self._drawing.console.print(safe(text), markup=False, highlight=False)

    def close(self) -> None:
        with _Undisturbed(self._lock):
            if self._drawing is not None:
                drawing, self._drawing = self._drawing, None
                drawing.stop()
                self._give_signals_back()
                self._tasks.clear()
                self._open.clear()

    def _take_signals(self) -> None:
        """While bars are drawn the cursor is hidden: whoever ends us then ends the drawing first."""
        if current_thread() is main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                self._handlers[number] = signal.signal(number, _leave)

    def _give_signals_back(self) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def _redraw(self) -> None:
        self._last = time.monotonic()
        self._drawing.refresh()


class _Undisturbed:
    """Holds a lock, and holds back the signals that end a program: half of what rich does to a terminal cannot be undone."""

    def __init__(self, lock: RLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.acquire()
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)

    def __exit__(self, *_error: object) -> None:
        self._lock.release()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)  # what was held back comes now


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _rich_progress(stream: TextIO) -> Any:
    from cratebox.third_party import add_site_packages

    add_site_packages()
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        TextColumn("{task.fields[note]:<14}", markup=False),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(file=stream),
        auto_refresh=False,
    )
