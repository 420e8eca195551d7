"""A supervisor that has nothing to do needs no interpreter for it: it goes to sleep, and some kilobytes wait in its place.

    supervisor (an interpreter, megabytes)
        │  nothing has happened for a while, nobody is attached, nothing is due soon
        v
    sleeper (linux/sleeper.py, the same process: the container's parent, with the same descriptors)
        │  output, the container's end, somebody at the door, the guardian's end, memory that ran out; a health check, --timeout
        v
    supervisor: takeover.py, which finds on the disk what it was doing

It is the way by which a killed supervisor is replaced, gone on purpose. Waking takes an interpreter's start, so whoever is
woken often sleeps more and more seldom; what it had planned itself does not count.
"""

from __future__ import annotations

import os
import time

from cratebox.engine import guardian
from cratebox.linux import process, sleeper, stub
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cratebox.engine.custody import Custody
    from cratebox.engine.guardian import Ward
    from cratebox.engine.loop import Loop, Timer

_FIRST_PATIENCE = 1.0  # seconds without an event
_PATIENCE = 15.0  # after it was woken once; twice as long after each further time
_MOST_WAKES = 16
_LEAST = 10.0  # seconds until something is due, as a health check


class Sleep(Record):
    """What a supervisor that wakes is told beyond its ward: how often it was woken, its terminal, its door, the file of its
    run's state (or -1), and `due`, when it was to wake in any case: in milliseconds of time.monotonic(), -1 for never.
    """

    wakes: int = 0
    console: int = -1
    door: int = -1
    state: int = -1
    due: int = -1

    @property
    def named(self) -> dict[str, int]:
        return {"wakes": self.wakes, "console": self.console, "door": self.door, "state": self.state, "due": self.due}

    @property
    def descriptors(self) -> tuple[int, ...]:
        return self.console, self.door, self.state

    @property
    def is_over(self) -> bool:
        """Whether its time has come: nobody has woken it."""
        return 0 <= self.due <= time.monotonic() * 1000


class Drowsiness:
    """Watches a supervisor's loop, and calls `fall_asleep` when nothing has happened in it for long enough."""

    def __init__(self, loop: Loop, wakes: int, fall_asleep: Callable[[int], None]) -> None:
        self._loop, self._wakes, self._fall_asleep = loop, min(wakes, _MOST_WAKES), fall_asleep
        self._seen = 0
        self.timer: Timer  # ends it where it is cancelled
        self._wait()

    def _wait(self) -> None:
        self._seen = self._loop.turns
        patience = _PATIENCE * 2 ** (self._wakes - 1) if self._wakes else _FIRST_PATIENCE
        self.timer = self._loop.after(patience, self._look)

    def _look(self) -> None:
        if self._loop.turns == self._seen + 1:  # this timer's own turn
            self._fall_asleep(self._wakes + 1)
        self._wait()


def worth_it(timers: Iterable[Timer]) -> bool:
    """Tell whether nothing is due so soon that waking would take more than staying awake."""
    return all(timer.due - time.monotonic() > _LEAST for timer in timers)


def sleep(ward: Ward, custody: Custody, how: Sleep, until: Mapping[int, int]) -> None:
    """Sleep until one of the descriptors `until` has one of its events, as of poll(2), or it is due.
    Returns only where it cannot sleep.
    """
    kept = {fd for fd in (*custody.descriptors, *ward.descriptors, *how.descriptors, *until) if fd >= 0}
    try:
        program = stub.sealed(
            sleeper.build(until, how.due if how.due < 0 else max(0, how.due - int(time.monotonic() * 1000)) + 1)
        )
        process.close_on_exec_from(3)
        for fd in kept:
            os.set_inheritable(fd, True)
        sleeper.execute(program, guardian.COMMAND, guardian.successor(ward, custody, how.named), guardian.environment())
    except OSError:
        return  # it stays awake: no executable memory, or none at all
