"""Health: the command that is run in a container now and then, and what its exit codes add up to.

A probe is a child of the supervisor that does what `exec` does. It loads what that takes, and is gone with it when the command
has ended: a supervisor that waits for the next probe is no larger than another. Docker's rules: 0 makes the container healthy
at once; so many failures in a row make it unhealthy, those in the start period do not count before the first success.
"""

from __future__ import annotations

import os
import select
import time

from cratebox.engine import guardian
from cratebox.engine.healthcheck import SECOND, words_of
from cratebox.engine.watching import HEALTHY, STARTING, UNHEALTHY, Health, Probe
from cratebox.errors import CrateError
from cratebox.linux import process
from cratebox.linux.procfs import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from cratebox.engine.config import HealthCheck
    from cratebox.paths import Paths

_NAME = "crate-health"
_MOST_OUTPUT = 4096  # bytes of a probe's output that are kept, as Docker's
_MOST_PROBES = 5
_TIMED_OUT = -1  # Docker's exit code of a probe that took too long
_SIGKILL = 9
_MOST_AT_ONCE = 10_000  # processes whose children are looked for before these are killed


def started(before: Health | None) -> Health:
    """Return the health of a container whose program has just begun; the probes of earlier runs stay in its log."""
    return Health(log=before.log if before else ())


def judged(health: Health, check: HealthCheck, probe: Probe, age: float) -> Health:
    """Return the health after `probe`, which began when the container had been running for `age` seconds."""
    log = (*health.log, probe)[-_MOST_PROBES:]
    if probe.exit_code == 0:
        return Health(HEALTHY, 0, log)
    if health.status == STARTING and age < check.start_period / SECOND:
        return health.replace(log=log)
    streak = health.failing_streak + 1
    return Health(UNHEALTHY if streak >= check.retries else health.status, streak, log)


def pause(health: Health, check: HealthCheck, age: float) -> float | None:
    """Return how many seconds to wait until the next probe, None where there is none to come by itself."""
    if check.interval < 0:
        return None
    early = health.status == STARTING and age < check.start_period / SECOND
    return (check.start_interval if early else check.interval) / SECOND


class Running:
    """A probe that runs: `pidfd` is readable when its process has ended, `output` when that has written something."""

    def __init__(self, paths: Paths, identity: str, check: HealthCheck) -> None:
        """Begin a probe in a container that runs. Raises OSError."""
        self.begun = time.time()
        self.check = check
        self._said = b""
        self.output, write_end = os.pipe()
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _become(paths, identity, check, write_end)
        except OSError:
            os.close(self.output)
            raise
        finally:
            os.close(write_end)
        self.pidfd = os.pidfd_open(self.pid)
        self._started = process.start_time(self.pid)
        os.set_blocking(self.output, False)

    def read(self) -> bool:
        """Read what there is; False at the end. More than what is kept is thrown away, so that the command can go on."""
        try:
            data = os.read(self.output, 65536)
        except BlockingIOError:
            return True
        self._said = (self._said + data)[:_MOST_OUTPUT]
        return bool(data)

    def finish(self) -> Probe | None:
        """Return the result of a probe whose process has ended, or whose time is over: all that it started is killed then.

        None where nobody knows it: this process has divided since, and the kernel does not tell.
        """
        over = self._is_over()
        status = self._waited(os.WNOHANG) if over else None
        code, text = _TIMED_OUT, f"Health check exceeded timeout ({self.check.timeout / SECOND:g}s)"
        if status is not None:
            code = process.waited_status(status)
            self.read()
            text = self._said.decode(errors="replace")
        elif not over:
            _kill_tree(self.pid, process.parent(self.pid))
            self._waited(0)
        self._close()
        return None if over and status is None else Probe(self.begun, time.time(), code, text)

    def _is_over(self) -> bool:
        return bool(select.select([self.pidfd], [], [], 0)[0])

    def _waited(self, options: int) -> int | None:
        """Return the wait status of its process. Where this one has divided since, that is a child of the guardian."""
        try:
            return os.waitpid(self.pid, options)[1]
        except ChildProcessError:
            status = process.zombie_status(self.pid, self._started)
            return process.reaped_status(self.pidfd) if status is None else status

    def _close(self) -> None:
        os.close(self.pidfd)
        os.close(self.output)

    def drop(self) -> None:
        """End a probe whose result nobody asks for any more: the container has ended, and the command with it."""
        try:
            process.send_signal(self.pidfd, _SIGKILL)
        except ProcessLookupError:
            pass  # the guardian has reaped it
        self._waited(0)
        self._close()


def end_left() -> None:
    """End a probe that a supervisor which was killed has left to its guardian: nobody would see to it that it ends in time."""
    parent = os.getppid()
    if not guardian.is_one(parent):
        return
    for pid in _children(parent):
        try:
            if read_text(f"/proc/{pid}/comm") == _NAME + "\n":
                _kill_tree(pid, parent)
        except OSError:
            continue  # it has ended


def _become(paths: Paths, identity: str, check: HealthCheck, output: int) -> NoReturn:
    """Be the child: run the command in the container and end with its exit code."""
    code = 126
    try:
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for source, number in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, number)
        process.close_from(3)  # the container's lock above all, which must not outlive the supervisor
        process.set_name(_NAME)
        code = _run(paths, identity, words_of(check))
    except CrateError as error:
        os.write(1, error.message.encode(errors="replace"))
        code = error.exit_code
    except BaseException as error:  # noqa: BLE001  there is nobody above
        os.write(1, f"{type(error).__name__}: {error}".encode(errors="replace"))
    finally:
        os._exit(code)


def _run(paths: Paths, identity: str, words: tuple[str, ...]) -> int:
    from cratebox.engine import execution
    from cratebox.runtime import exec as runtime

    order = execution.prepare(paths, identity, execution.Wanted(words))
    joined = runtime.begin(order.target, order.process, runtime.Settings(reaper=True), (0, 1, 2))
    return process.waited_status(os.waitpid(joined.pid, 0)[1])


def _kill_tree(pid: int, parent: int) -> None:
    """Kill process `pid`, a child of ours or of our guardian, the `parent`, and all that it started.

    The command is the reaper of what it starts (PR_SET_CHILD_SUBREAPER), so whoever loses his parent becomes its child and is
    found again below it. So it goes last, when nobody is left; or after so many turns that somebody forks on purpose.
    """
    for _ in range(100):
        found = [one for command in _children(pid) for one in _below(command)]
        for one, above in reversed(found):  # the deepest first: as long as its parent is there, its number is its own
            _kill(one, above)
        if not found:
            break
    for command in _children(pid):
        _kill(command, pid)
    _kill(pid, parent)


def _children(pid: int) -> list[int]:
    """Return the children of process `pid`, whichever of its threads made them (proc(5), /proc/PID/task/TID/children)."""
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += [int(word) for word in file.read().split()]
    except OSError:
        pass  # it has ended, or one of its threads has: whoever is still there is found the next time
    return found


def _below(pid: int) -> list[tuple[int, int]]:
    """Return the descendants of process `pid`, each with its parent, parents first; of very many, some.

    How deep they are is the command's choice, so this does not call itself; how many, too, so somebody who forks faster than
    this reads is not followed for ever.
    """
    found, parents = [], [pid]
    for _ in range(_MOST_AT_ONCE):
        if not parents:
            break
        parent = parents.pop()
        for child in _children(parent):
            parents.append(child)
            if process.start_time(child):  # not one that is dead already, and only waits to be reaped
                found.append((child, parent))
    return found


def _kill(pid: int, parent: int) -> None:
    """Kill process `pid` where it is still the child of `parent`: its number may be another's by now."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if process.parent(pid) == parent:
            process.send_signal(pidfd, _SIGKILL)
    except OSError:
        pass
    finally:
        os.close(pidfd)
