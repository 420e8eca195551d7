"""Descriptors that outlive a supervisor: its guardian has them, and whoever takes over finds them there.

    supervisor                        guardian (linux/guard.py), a program that only waits
    ----------                        ----------------------------------------------------
    ours <--------------------------> kept
         descriptors, by their names ----> wait unread in the queue of this end
         <---------------------------- reports: a process of the container's kin has ended, and how

Each has both ends open, so nothing in the queues is lost with one of them. What is there before the two part (the pipes of the
container's output) the guardian simply inherits. What comes later (a terminal, who is attached) is sent.
"""

from __future__ import annotations

import _socket
import os

from cratebox.linux import fdpass, guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST = 250  # descriptors of one message; the kernel takes 253 (SCM_MAX_FD)


class Custody:
    """The two ends of the socket pair, `ours` and `kept`."""

    def __init__(self, ours: _socket.socket, kept: _socket.socket) -> None:
        self.ours, self.kept = ours, kept
        self._holds = False

    @classmethod
    def of(cls, ours: int, kept: int) -> Custody:
        """Return the custody whose ends a supervisor that was killed has left."""
        return cls(_socket.socket(fileno=ours), _socket.socket(fileno=kept))

    @property
    def descriptors(self) -> tuple[int, int]:
        return self.ours.fileno(), self.kept.fileno()

    def hold(self, named: Mapping[str, int]) -> None:
        """Have these descriptors kept in place of those before. What cannot be kept is lost with this supervisor alone."""
        if not named and not self._holds:
            return
        fds = tuple(named.values())[:_MOST]
        try:
            fdpass.send(self.ours, " ".join(list(named)[:_MOST]).encode() or b" ", fds)
        except OSError:
            return  # ETOOMANYREFS: the user has as many on their way as he may have open
        if self._holds:  # not before: were this process killed in between, there would be none
            _close(self._next()[1])
        self._holds = True

    def take(self) -> dict[str, int]:
        """Return the descriptors that were kept last, by their names;
        they are kept on, at every moment: this process may be killed.
        """
        found: dict[str, int] = {}
        messages = 0
        fdpass.look_on(self.kept, True)
        while True:
            try:
                names, fds = self._next(_socket.MSG_PEEK)
            except BlockingIOError:
                break
            messages += 1
            _close(tuple(found.values()))
            found = dict(zip(names.decode().split(), fds, strict=False))
        fdpass.look_on(self.kept, False)
        for _ in range(messages - 1):  # one was killed between sending the last and taking back the one before
            _close(self._next()[1])
        self._holds = messages > 0
        return found

    def _next(self, flags: int = 0) -> tuple[bytes, tuple[int, ...]]:
        self.kept.setblocking(False)  # the guardian only writes to it, and never waits
        return fdpass.receive(self.kept, most_fds=_MOST, flags=flags)

    def report(self) -> tuple[int, int] | None:
        """Return the pid and wait status of the first process whose end the guardian has reported; it stays the first."""
        try:
            raw = self.ours.recv(guard.REPORT.size, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
        except OSError:
            return None
        return guard.REPORT.unpack(raw) if len(raw) == guard.REPORT.size else None

    def drop_report(self) -> None:
        """Forget the first report: what it says is written down, or nobody's business."""
        try:
            self.ours.recv(guard.REPORT.size, _socket.MSG_DONTWAIT)
        except OSError:
            pass


def new() -> Custody:
    """Return a custody with nothing in it. Raises OSError."""
    return Custody(*fdpass.pair())


def _close(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
