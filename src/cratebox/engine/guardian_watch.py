"""A supervisor's eye on its guardian: where that is killed, the supervisor becomes one, and goes on in a child."""

from __future__ import annotations

import os

from cratebox.engine import guardian
from cratebox.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.engine.custody import Custody
    from cratebox.engine.guardian import Ward
    from cratebox.engine.loop import Loop

_SIGKILL = 9


class GuardianWatch:
    """The guardian of this process, if there is one. `ward` tells what a new one is to know; `divided` is called, in the child,
    with the pid of its new guardian.
    """

    def __init__(self, loop: Loop, custody: Custody, ward: Callable[[], Ward], divided: Callable[[int], None]) -> None:
        self._loop, self._custody, self._ward, self._divided = loop, custody, ward, divided
        self.fd = -1  # a pidfd, -1 where there is none (any more): the container does without
        self._watch()

    def replace(self) -> None:
        """Have another guardian, which knows what is true now: this one is killed."""
        if self.fd >= 0:
            process.send_signal(self.fd, _SIGKILL)

    def _watch(self) -> None:
        parent = os.getppid()
        try:
            if guardian.is_one(parent):
                self.fd = os.pidfd_open(parent)
                self._loop.watch(self.fd, self._ended)
                return
        except ProcessLookupError:
            pass
        except OSError:
            return  # no descriptor is free
        self._divide()  # it was killed before anybody watched it

    def _ended(self) -> None:
        self._loop.unwatch(self.fd)
        os.close(self.fd)
        self.fd = -1
        self._divide()

    def _divide(self) -> None:
        busy = guardian.divide(self._ward(), self._custody)
        guardian.settle(busy)
        if busy >= 0:
            self._divided(os.getppid())
            self._watch()
