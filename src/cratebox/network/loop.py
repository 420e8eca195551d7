"""The one wait of the resolver, and of a relay: descriptors, and moments.
Thousands of the first, so by epoll(7); of the second few.
"""

from __future__ import annotations

import _heapq
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Act = Callable[[], object]

READ, WRITE = select.EPOLLIN, select.EPOLLOUT


class Moment:
    """Something to be done at `due`, in seconds of time.monotonic(), where it is not called off before."""

    __slots__ = ("act", "due")

    def __init__(self, due: float, act: Act | None) -> None:
        self.due, self.act = due, act

    def __lt__(self, other: Moment) -> bool:
        return self.due < other.due

    def call_off(self) -> None:
        self.act = None


class Loop:
    """What is called may add and take away both."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._acts: dict[int, Act] = {}
        self._moments: list[Moment] = []

    def watch(self, fd: int, act: Act, events: int = READ) -> None:
        """Call `act` whenever `fd` is ready, at its end, or broken; in place of what was called before."""
        if fd in self._acts:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._acts[fd] = act

    def unwatch(self, fd: int) -> None:
        """Watch `fd` no more; nothing where it is not watched. To be called before it is closed."""
        if self._acts.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def after(self, seconds: float, act: Act) -> Moment:
        """Call `act` once, in `seconds` from now."""
        moment = Moment(time.monotonic() + seconds, act)
        _heapq.heappush(self._moments, moment)
        return moment

    def turn(self) -> None:
        """Wait until something is ready or due, and do what is to be done."""
        while self._moments and not self._moments[0].act:
            _heapq.heappop(self._moments)
        patience = max(0.0, self._moments[0].due - time.monotonic()) if self._moments else -1
        for fd, _events in self._epoll.poll(patience):
            act = self._acts.get(fd)
            if act:  # what was called before may have taken it away
                act()
        while self._moments and (not self._moments[0].act or self._moments[0].due <= time.monotonic()):
            act = _heapq.heappop(self._moments).act
            if act:
                act()
