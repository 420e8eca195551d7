"""The one wait of a supervisor: descriptors and timers, and what is to be done for each.

Whoever has something to wait for (the container's output, its end, a client, a health check, a restart) puts it in here; nobody
in a supervisor sleeps or blocks elsewhere, for the container's output would be held up.
"""

from __future__ import annotations

import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Act = Callable[[], object]

READ, WRITE = select.POLLIN, select.POLLOUT
_LONGEST = 2**31 - 1  # milliseconds that poll(2) takes: whoever waits for longer looks once a month


class Timer:
    """Something to be done at `due`, in seconds of time.monotonic()."""

    def __init__(self, due: float, act: Act) -> None:
        self.due, self.act = due, act


class Loop:
    """Descriptors and timers. What is called may add and take away both."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._acts: dict[int, Act] = {}
        self._timers: list[Timer] = []
        self.turns = 0

    def watch(self, fd: int, act: Act, events: int = READ) -> None:
        """Call `act` whenever `fd` is ready (or at its end, or broken), until `unwatch`: a descriptor is to be watched once."""
        self._poll.register(fd, events)
        self._acts[fd] = act

    def unwatch(self, fd: int) -> None:
        """Watch `fd` no more; nothing where it is not watched. To be called before it is closed."""
        if self._acts.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def after(self, seconds: float, act: Act) -> Timer:
        """Call `act` once, in `seconds` from now; return what `cancel` takes."""
        timer = Timer(time.monotonic() + seconds, act)
        self._timers.append(timer)
        return timer

    def cancel(self, timer: Timer | None) -> None:
        """Forget a timer; nothing where it is none, or was called already."""
        if timer in self._timers:
            self._timers.remove(timer)

    @property
    def watched(self) -> frozenset[int]:
        return frozenset(self._acts)

    @property
    def timers(self) -> frozenset[Timer]:
        return frozenset(self._timers)

    def turn(self) -> None:
        """Wait until something is ready or due, and do what is to be done."""
        self.turns += 1
        for fd, _events in self._poll.poll(self._patience()):
            act = self._acts.get(fd)
            if act:  # what was called before may have taken it away
                act()
        if self._timers:
            self._call_due()

    def _patience(self) -> float | None:
        """Return the milliseconds until the next timer, None for ever."""
        if not self._timers:
            return None
        # Rounded up: a timer that is not quite due would be waited for in a circle.
        milliseconds = int((min(timer.due for timer in self._timers) - time.monotonic()) * 1000) + 1
        return min(max(0, milliseconds), _LONGEST)

    def _call_due(self) -> None:
        now = time.monotonic()
        for timer in [one for one in self._timers if one.due <= now]:
            if timer in self._timers:
                self._timers.remove(timer)
                timer.act()
