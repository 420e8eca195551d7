"""A supervisor's eye on the processes that the networks of an ordinary user's container take (network/mending.py): where one is
killed, what it was for is there again at once.
"""

from __future__ import annotations

import os
import time

from cratebox.engine import connections
from cratebox.engine.part import Part
from cratebox.errors import CrateError
from cratebox.network import mending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.dialogue import Watch
    from cratebox.engine.exits import Exit
    from cratebox.engine.loop import Timer
    from cratebox.engine.running import Run

_READ = 1  # poll(2): POLLIN
# Seconds before each attempt (a relay that ends with its guardian has its ports for a moment more); then there is none, until
# the supervisor is woken, or told of a change.
_PAUSES = (0.0, 0.1, 0.3, 1.0, 5.0, 25.0)
_SECONDS_WELL = 60.0  # without an attempt: the next one is the first again


def looked_after(parts: tuple[Part, ...], watch: Watch, run: Run) -> tuple[Part, ...]:
    """Have the networks of a run looked after, or looked at once more; return what goes along with it then."""
    found = next((one for one in parts if isinstance(one, NetworkWatch)), None)
    if found is None:
        found = NetworkWatch(watch)
        parts = (*parts, found)
    found.begin(run)
    return parts


class NetworkWatch(Part):
    """Of the container that `watch` is of. Each run is told by `begin`: until then it does without."""

    def __init__(self, watch: Watch) -> None:
        who = watch.container
        self._place, self._owner = connections.place_of(who.paths, who.owner.rootless), who.id
        self._run: Run | None = None
        self._fds: list[int] = []
        self._timer: Timer | None = None
        self._attempts, self._last = 0, 0.0

    def resumed(self, run: Run) -> None:
        """Wait for `begin`, as at a beginning."""

    def begin(self, run: Run) -> None:
        """Look, and have all attempts again: somebody has changed something."""
        self._attempts = 0
        self.look(run)

    def look(self, run: Run) -> None:
        """Hold what the run's networks take, and mend what is broken of it."""
        self._let_go()
        self._run = run
        while not self._hold():
            if time.monotonic() - self._last > _SECONDS_WELL:
                self._attempts = 0
            pause = _PAUSES[self._attempts] if self._attempts < len(_PAUSES) else None
            if pause is None:
                return
            if pause:
                self._timer = run.loop.after(pause, self._mend)
                return
            self._try()

    def _mend(self) -> None:
        assert self._run
        self._try()
        self.look(self._run)

    def _try(self) -> None:
        self._attempts, self._last = self._attempts + 1, time.monotonic()
        try:
            mending.mend(self._place, self._owner)
        except (CrateError, OSError):
            pass  # no memory for a process, no program any more: it may be there again later

    @property
    def watched(self) -> dict[int, int]:
        """Those whose end it waits for."""
        return dict.fromkeys(self._fds, _READ)

    def ended(self, run: Run, ended: Exit) -> None:  # noqa: ARG002
        """What they are there for is given back."""
        self._let_go()
        self._attempts = 0

    def _hold(self) -> bool:
        """Wait for the end of those who are there; return whether all are."""
        assert self._run
        run = self._run
        self._let_go()
        try:
            self._fds, whole = mending.hold(self._place, self._owner)
        except (CrateError, OSError):
            return True  # nobody knows what there is to be
        for fd in self._fds:
            run.loop.watch(fd, lambda: self.look(run))
        return whole

    def _let_go(self) -> None:
        if self._run:
            self._run.loop.cancel(self._timer)
            for fd in self._fds:
                self._run.loop.unwatch(fd)
                os.close(fd)
        self._fds, self._timer = [], None
