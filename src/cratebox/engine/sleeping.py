"""A supervisor that has nothing to do needs no interpreter for it: it goes to sleep, and some kilobytes wait in its place.

    supervisor (an interpreter, megabytes)
        │  nothing has happened for a while, nobody is attached, nothing is due
        v
    sleeper (linux/sleeper.py, the same process: the container's parent, with the same descriptors)
        │  output, the container's end, somebody at the door, the guardian's end
        v
    supervisor: takeover.py, which finds on the disk what it was doing

It is the way by which a killed supervisor is replaced, gone on purpose. Waking takes an interpreter's start, so whoever is woken often
sleeps more and more seldom.
"""

from __future__ import annotations

import os

from cratebox.engine import guardian
from cratebox.linux import process, sleeper, stub
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cratebox.engine.custody import Custody
    from cratebox.engine.guardian import Ward
    from cratebox.engine.loop import Loop, Timer

_FIRST_PATIENCE = 1.0  # seconds without an event
_PATIENCE = 15.0  # after it was woken once; twice as long after each further time
_MOST_WAKES = 16


class Sleep(Record):
    """What a supervisor that wakes is told beyond its ward: how often it was woken, its terminal, its door, the file of its run's
    state (or -1).
    """

    wakes: int = 0
    console: int = -1
    door: int = -1
    state: int = -1

    @property
    def named(self) -> dict[str, int]:
        return {"wakes": self.wakes, "console": self.console, "door": self.door, "state": self.state}

    @property
    def descriptors(self) -> tuple[int, ...]:
        return self.console, self.door, self.state


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
        if self._loop.turns == self._seen + 1 and not self._loop.has_timers:  # this timer's own turn
            self._fall_asleep(self._wakes + 1)
        self._wait()


def sleep(ward: Ward, custody: Custody, how: Sleep, until: Sequence[int]) -> None:
    """Sleep until one of the descriptors `until` is readable. Returns only where it cannot sleep."""
    kept = {fd for fd in (*custody.descriptors, *ward.descriptors, *how.descriptors, *until) if fd >= 0}
    try:
        program = stub.sealed(sleeper.build(until))
        process.close_on_exec_from(3)
        for fd in kept:
            os.set_inheritable(fd, True)
        sleeper.execute(program, guardian.COMMAND, guardian.successor(ward, custody, how.named), guardian.environment())
    except OSError:
        return  # it stays awake: no executable memory, or none at all
