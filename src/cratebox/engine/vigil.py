"""How the end of a container's first process is learnt, by whoever supervises it, and in which of three ways.

whose child it is               how its status is learnt
this process's, as at first     waitid(2), without reaping it: until its end is written down, it can be asked again
its guardian's                  the guardian reaps it and reports; this process took over from one that was killed
somebody else's                 the kernel tells: while it is a zombie, by /proc, and after that by its pidfd (Linux 6.15)

It changes hands while it is watched: a supervisor that is killed leaves the process to its guardian, and both at once to init.
"""

from __future__ import annotations

import os
import time

from cratebox.engine import exits
from cratebox.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.engine.loop import Loop

_SIGKILL = 9
_SECONDS_TO_TELL, _PAUSE = 1.0, 0.02


class Vigil:
    """A process, held by `pid` and `pidfd` (-1 before it is there, and once it has ended). `ended` is called with its exit
    code, as a shell counts, once.
    """

    def __init__(self, loop: Loop, ended: Callable[[int], None]) -> None:
        self._loop, self._heard = loop, ended
        self.pid, self.pidfd = 0, -1
        self.strange = False  # it is a child neither of this process nor of its guardian
        self._started = 0  # see runtime/state.py
        self._questions = 0
        self._code: int | None = None

    def begin(self, pid: int, pidfd: int, started: int) -> None:
        """Watch a child of this process, `started` in clock ticks after the boot; the pidfd is the vigil's to close."""
        self.pid, self.pidfd, self._started = pid, pidfd, started
        self._loop.watch(pidfd, self._look)

    def resume(self, pid: int, started: int, pidfd: int = -1) -> None:
        """Watch a process that another supervisor has watched, and that may have ended;
        `pidfd` is its own where whoever comes has it.
        """
        self.pid, self._started = pid, started
        if pidfd >= 0:
            self.pidfd = pidfd
            self._be_strange()
            return
        try:
            self.pidfd = os.pidfd_open(pid)  # its number is nobody else's: it was not reaped, or that is still to be heard
        except ProcessLookupError:
            self._loop.after(_SECONDS_TO_TELL, self._is_lost)
            return
        parent = process.parent(pid)
        if parent == os.getpid():
            self._loop.watch(self.pidfd, self._look)
        elif parent != os.getppid():
            self._be_strange()

    def orphan(self, guardian: int) -> None:
        """The process is no child of this one any more. Where it is the guardian's, he tells how it ended."""
        if self.pidfd >= 0:
            self._loop.unwatch(self.pidfd)
            if process.parent(self.pid) != guardian:
                self._be_strange()

    def told(self, pid: int, status: int) -> bool:
        """Hear from the guardian how a process ended, as of waitpid(2); tell whether it is this one."""
        if pid != self.pid:
            return False
        if self._code is None:
            self._ended(process.waited_status(status))
        return True

    @property
    def can_be_left(self) -> bool:
        """Whether another supervisor could go on with it."""
        return self.pidfd >= 0 and (self.strange or process.parent(self.pid) in {os.getpid(), os.getppid()})

    @property
    def age(self) -> float:
        """How many seconds ago it began, whatever was done to the clock."""
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - self._started / os.sysconf("SC_CLK_TCK"))

    def signal(self, number: int) -> None:
        """Send it a signal; nothing where it has ended. Raises OSError, ValueError."""
        if self.pidfd >= 0:
            process.send_signal(self.pidfd, number)

    def kill(self) -> int:
        """End it, and listen no more: `ended` is not called. Return its exit code."""
        self.signal(_SIGKILL)
        self._let_go(128 + _SIGKILL)
        return 128 + _SIGKILL

    def reap(self) -> None:
        """Let a child of this process go for good, which has ended, or does so now."""
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # the guardian's

    def _look(self) -> None:
        how = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOWAIT)
        assert how
        self._ended(how.si_status if how.si_code == os.CLD_EXITED else 128 + how.si_status)

    def _be_strange(self) -> None:
        self.strange = True
        self._questions = int(_SECONDS_TO_TELL / _PAUSE)
        self._loop.watch(self.pidfd, self._ask)

    def _ask(self) -> None:
        if self._code is not None:
            return  # the guardian has told meanwhile
        self._loop.unwatch(self.pidfd)
        status = process.zombie_status(self.pid, self._started)
        if status is None:
            status = process.reaped_status(self.pidfd)
        if status is not None:
            self._ended(process.waited_status(status))
        elif self._questions:
            self._questions -= 1
            self._loop.after(_PAUSE, self._ask)  # its parent has not reaped it yet
        else:
            self._is_lost()

    def _is_lost(self) -> None:
        if self._code is None:
            self._ended(exits.LOST)

    def _ended(self, code: int) -> None:
        self._let_go(code)
        self._heard(code)

    def _let_go(self, code: int) -> None:
        self._code = code
        if self.pidfd >= 0:
            self._loop.unwatch(self.pidfd)
            os.close(self.pidfd)
            self.pidfd = -1
