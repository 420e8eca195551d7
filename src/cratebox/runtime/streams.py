"""The loop of who stays with a process of a container: what is typed goes in, what it writes comes out, signals are passed on.

    our standard input ---> target     the terminal's master, or the write end of a pipe
    source --------------> our output  the master, or the read ends of two pipes
    signals -------------> pidfd       and the size of our terminal to the container's

No more is read than can be written: who writes faster than others read is held back.
"""

from __future__ import annotations

import _signal
import os
import select

from cratebox.linux import process, tty
from cratebox.runtime.detach_keys import DetachKeys

_CHUNK = 65536


class Streams:
    """`outputs` are pairs of what is read and our descriptor that it goes to;
    `target`, or -1, is what our standard input goes to.

    Both are closed at their end, save for `master`, the terminal, if there is one: it may be both. `keys`, typed on a terminal,
    leave the process to itself, and so do as many SIGINT or SIGTERM as `patience` says (0: none).
    """

    def __init__(
        self,
        pidfd: int,
        outputs: tuple[tuple[int, int], ...],
        target: int = -1,
        master: int = -1,
        keys: bytes = b"",
        patience: int = 0,
    ) -> None:
        self._pidfd = pidfd
        self._sinks = dict(outputs)
        self._target = target
        self._master = master
        self._keys = DetachKeys(keys)
        self._typing = target >= 0  # our standard input has not ended
        self._pending = b""  # typed, and not taken yet
        self._patience = patience
        self._left = False
        self.detached = False  # by the keys
        self.unwritten: tuple[int, int] | None = None  # the first of our descriptors that took no more, and errno

    def run(self, wake: int) -> bool:
        """Return True when the process has ended and what it wrote is printed, False where it was left to itself.

        Signals come from `wake`, as numbers (signal.set_wakeup_fd).
        """
        for fd in (self._target, *self._sinks):
            if fd >= 0:
                os.set_blocking(fd, False)
        while not self._left:
            ready = dict(self._poll(wake).poll())
            if wake in ready:
                self._signals(os.read(wake, 64))
            if 0 in ready:
                self._read_typed()
            if self._pending and self._target in ready:
                self._write_typed()
            for source in [source for source in self._sinks if source in ready]:
                self._print(source)
            if self._pidfd in ready:
                for source in list(self._sinks):
                    while source in self._sinks and self._print(source):
                        pass
                return True
        return False

    def _poll(self, wake: int) -> select.poll:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.register(wake, select.POLLIN)
        if self._typing and not self._pending:
            poll.register(0, select.POLLIN)
        wanted = dict.fromkeys(self._sinks, select.POLLIN)
        if self._pending:
            wanted[self._target] = wanted.get(self._target, 0) | select.POLLOUT
        for fd, events in wanted.items():
            poll.register(fd, events)
        return poll

    def _signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number == _signal.SIGWINCH:
                pass_size(self._master)
                continue
            if self._patience and number in {_signal.SIGINT, _signal.SIGTERM}:
                self._patience -= 1
                self._left = not self._patience
            try:
                process.send_signal(self._pidfd, number)
            except OSError:
                pass  # it has just ended

    def _read_typed(self) -> None:
        try:
            data = os.read(0, _CHUNK if self._master < 0 else 4096)
        except BlockingIOError:
            return
        except OSError:  # EIO: our terminal was hung up, or is another job's
            data = b""
        if not data:
            self._end_typing()
            return
        if self._master >= 0:
            data, self.detached = self._keys.without(data)
            self._left = self._left or self.detached
        self._pending = data
        if data:
            self._write_typed()

    def _write_typed(self) -> None:
        try:
            self._pending = self._pending[os.write(self._target, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:  # EPIPE: it does not read any more
            self._pending = b""
            self._end_typing()

    def _end_typing(self) -> None:
        """A pipe has an end, a terminal has none."""
        self._typing = False
        if self._target >= 0 and self._target != self._master:
            os.close(self._target)
        self._target = -1

    def _print(self, source: int) -> bool:
        """Print what has been written to `source`; False where there is nothing now."""
        try:
            data = os.read(source, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # EIO: nobody has the other side of the terminal open
            data = b""
        if not data:
            self._end_source(source)
        elif self._sinks[source] >= 0 and not self._is_written(self._sinks[source], data):
            # Nobody reads our output. Who writes to a pipe hears of that;
            # a terminal that nobody empties would hold its process up.
            if source == self._master:
                self._sinks[source] = -1
            else:
                self._end_source(source)
        return bool(data)

    def _is_written(self, fd: int, data: bytes) -> bool:
        """Write all of `data`; False where nobody reads it any more, or it cannot be written."""
        try:
            write(fd, data)
        except BrokenPipeError:
            return False
        except OSError as error:
            self.unwritten = self.unwritten or (fd, error.errno or 0)
            return False
        return True

    def _end_source(self, source: int) -> None:
        del self._sinks[source]
        if source != self._master:
            os.close(source)


def write(fd: int, data: bytes) -> None:
    """Write all of `data` to `fd`, however long that takes. Raises OSError."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # somebody else has made it so: it is theirs as well
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()


def pass_size(master: int) -> None:
    """Give the terminal `master` the size of ours."""
    try:
        tty.set_size(master, *tty.size(0))
    except OSError:
        pass  # we have no terminal, or the container's is closed
