"""Jobs side by side in forked processes, which report to the parent in lines.

Processes, not threads: hashing and inflating release the interpreter's lock, but parsing 39,000 tar headers does not. A process
takes one job after the other, for a fork costs more than unpacking a small layer, and a connection can be used again.

    parent                                   worker (a process group of its own)
      fork ------------------------------------> takes the number of the next job
                           <--------------------- ["begun", key]
      heard(key, message)  <---- JSON lines ----- report(message)
                           <--------------------- ["finished"], and the next job, or
      its error is raised  <---- last line ------ ["failed", class, message, hint]
      SIGTERM to the group ---------------------> unwinds: partial downloads stay, half-made trees go

A worker ends by itself where the parent is gone: by PR_SET_PDEATHSIG, and by the pipe that nobody reads any more.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from cratebox import errors, jsontext
from cratebox.errors import DISK_FULL, CrateError
from cratebox.linux import const, memory, process
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Report = Callable[[list[Any]], None]

_GRACE = 10.0  # seconds that a worker has to take its half-made tree away
_HELD_BACK = (signal.SIGINT, signal.SIGTERM)


class Job(Record):
    """Work for one process at a time, which may have done others before.
    `work` gets a function that sends a list of JSON values to the parent.
    """

    key: str
    work: Callable[[Report], None]


class _Stopped(BaseException):
    """The parent wants no more of this."""


def run(jobs: Sequence[Job], limit: int, heard: Callable[[str, list[Any]], None]) -> None:
    """Run all jobs, at most `limit` at a time, in their order; `heard` gets what they report, with their key.

    Where one fails the others are ended, and its error is raised here as what it was.
    """
    running: dict[int, _Worker] = {}
    poller = select.poll()
    queue = _queue(len(jobs))
    try:
        for _ in range(min(limit, len(jobs))):
            worker = _Worker(jobs, queue, tuple(running))
            running[worker.fd] = worker
            poller.register(worker.fd, select.POLLIN)
        while running:
            for fd, _ in poller.poll():
                if not running[fd].receive(heard):
                    poller.unregister(fd)
                    running.pop(fd).finish()
    except BaseException:
        _stop(list(running.values()))
        raise
    finally:
        os.close(queue)


def _queue(count: int) -> int:
    """Return a descriptor that gives the numbers below `count`, four bytes each, to whoever reads next: forks share its
    position, which the kernel moves for one reader at a time.
    """
    fd = os.memfd_create("jobs", os.MFD_CLOEXEC)
    os.write(fd, b"".join(number.to_bytes(4) for number in range(count)))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class _Worker:
    """A forked process, as its parent sees it."""

    def __init__(self, jobs: Sequence[Job], queue: int, siblings: tuple[int, ...]) -> None:
        self.key = ""
        self._rest = b""
        self._failed: list[Any] | None = None
        parent = os.getpid()
        self.fd, writing = os.pipe()
        # Within fork(2) an interrupt would be lost in what libraries do there, and in the child end in the parent's handler.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _live(jobs, queue, writing, (self.fd, *siblings), parent, mask)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(writing)
        try:
            os.setpgid(self.pid, self.pid)  # here and there: whoever is first, a signal to the group finds it
        except OSError:
            pass

    def receive(self, heard: Callable[[str, list[Any]], None]) -> bool:
        """Take what has come; return False at the end."""
        data = os.read(self.fd, 1 << 16)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            message = jsontext.loads(line)
            match message:
                case ["begun", str(key)]:
                    self.key = key
                case ["finished"]:
                    self.key = ""
                case ["failed", *_]:
                    self._failed = message
                case _:
                    heard(self.key, message)
        return bool(data)

    def finish(self) -> None:
        """Wait for the process, whose pipe has ended; raise its error."""
        os.close(self.fd)
        status = os.waitpid(self.pid, 0)[1]
        if self._failed is not None:
            _, kind, message, hint = self._failed
            raise getattr(errors, kind)(message, hint)
        if status or self.key:
            code = process.waited_status(status)
            how = f"was ended by signal {code - 128}" if os.WIFSIGNALED(status) else f"ended with exit code {code}"
            raise CrateError(f"the process that worked on {self.key or 'it'} {how}", "was there enough memory?")


def _stop(workers: list[_Worker]) -> None:
    """End the workers: gently, then not."""
    try:
        for worker in workers:
            os.close(worker.fd)  # one that writes to it gets EPIPE instead of waiting
            _signal(worker, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE
        while workers and time.monotonic() < deadline:
            workers = [worker for worker in workers if os.waitpid(worker.pid, os.WNOHANG)[0] == 0]
            if workers:
                time.sleep(0.01)
    finally:
        # Also where a second Ctrl-C comes: nothing of ours is left behind.
        for worker in workers:
            _signal(worker, signal.SIGKILL)
            _reap(worker)


def _signal(worker: _Worker, number: int) -> None:
    try:
        os.killpg(worker.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _reap(worker: _Worker) -> None:
    try:
        os.waitpid(worker.pid, 0)
    except ChildProcessError:
        pass


def _live(jobs: Sequence[Job], queue: int, fd: int, foreign: tuple[int, ...], parent: int, mask: Iterable[int]) -> None:
    """The life of a worker; does not return."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, _on_term)
        sys.unraisablehook = _raised_in_vain
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.setpgid(0, 0)
        process.prctl("PR_SET_PDEATHSIG", const.PR_SET_PDEATHSIG, signal.SIGTERM)
        for each in foreign:
            os.close(each)
        memory.keep_freed()
        if os.getppid() == parent:
            while (number := os.read(queue, 4)) and _do(jobs[int.from_bytes(number)], fd):
                pass
            code = 0
    except (_Stopped, BrokenPipeError):
        pass
    finally:
        os._exit(code)


def _do(job: Job, fd: int) -> bool:
    _send(fd, ["begun", job.key])
    outcome = _outcome(job, fd)
    _send(fd, outcome)
    return outcome == ["finished"]


def _on_term(_number: int, _frame: object) -> None:
    # Once, and for the whole group: this worker may have forked into a user namespace.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGTERM)
    raise _Stopped


def _raised_in_vain(unraisable: sys.UnraisableHookArgs) -> None:
    """A signal that comes while a finalizer runs raises there, which stops nothing: raise once more, when it is over."""
    if unraisable.exc_type is _Stopped:
        signal.signal(signal.SIGALRM, _on_term)
        signal.setitimer(signal.ITIMER_REAL, 0.01)  # seconds; what is raised in here would be in vain as well


def _outcome(job: Job, fd: int) -> list[Any]:
    try:
        job.work(lambda message: _send(fd, message))
    except CrateError as error:
        return ["failed", _public_name(type(error)), error.message, error.hint]
    except BrokenPipeError:
        raise
    except OSError as error:
        kind = "StorageError" if error.errno in DISK_FULL else "CrateError"
        return ["failed", kind, f"{job.key}: {error.strerror or error}", None]
    except Exception as error:  # noqa: BLE001  this process ends here; a traceback would reach nobody who can use it
        return ["failed", "CrateError", f"{job.key}: {type(error).__name__}: {error}", None]
    return ["finished"]


def _public_name(kind: type) -> str:
    """Return the name of the class in errors.py that `kind` is or comes from."""
    return next(str(each.__name__) for each in kind.__mro__ if getattr(errors, each.__name__, None) is each)


def _send(fd: int, message: list[Any]) -> None:
    data = jsontext.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(fd, data) :]
