"""`wait`: until a container has ended, or is what else was asked for.

    who waits                                      the supervisor
    ---------                                      --------------
    opens (makes) ID/waited
    looks whether the container runs
    sleeps until its process has ended             reaps it, and where there is a file ID/waited,
                                                   unlinks it and writes the exit code into it
    reads the code through its descriptor          writes exit.json, starts it again or removes it (--rm)

So each run tells its own code to all who waited for it, also where another run has begun or nothing is left of the container.
"""

from __future__ import annotations

import errno
import os
import time

from cratebox.engine import records, stopping, witness
from cratebox.engine.records import Container
from cratebox.errors import NotFound, StorageError, UsageError
from cratebox.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cratebox.engine.records import ContainerStatus
    from cratebox.engine.witness import Witness

_ENDED = ("stopped", "exited", "not-running")
_STATES = ("created", "running", "paused", "healthy", "unhealthy")
CONDITIONS = (*_ENDED, *_STATES, "next-exit", "removed")
_LONGEST_PAUSE = 0.1  # seconds


def wait(paths: Paths, container: Container, conditions: Sequence[str] = ("stopped",), interval: float = 0.25) -> int:
    """Return the exit code when the container does not run any more; -1 when one of the other `conditions` is met.

    stopped, exited, not-running are the same, and at once met by a container that does not run; next-exit is met by an end that
    is still to come. The others are asked for every `interval` seconds. Raises UsageError, NotFound where it is removed.
    """
    for one in conditions:
        if one not in CONDITIONS:
            raise UsageError(f"no such condition to wait for: {ascii(one)[1:-1]}", "one of " + ", ".join(CONDITIONS))
    if set(conditions) <= set(_ENDED):
        return _until_ended(paths, container)
    if tuple(conditions) == ("next-exit",):
        while not _is_alive(paths, container):
            time.sleep(interval)
        return _until_ended(paths, container)
    return _until(paths, container, frozenset(conditions), interval)


def at_once(ask: Callable[[str], int], references: Sequence[str]) -> dict[str, Callable[[], int]]:
    """Begin to `ask` of all containers, each in a thread; return, by what was asked of, functions that wait for the answer.

    Who waited for one after the other would not hear of a second that ends, and is removed, before the first.
    """
    return {reference: _begun(ask, reference) for reference in references}


def _begun(ask: Callable[[str], int], reference: str) -> Callable[[], int]:
    import threading

    found: list[int] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(ask(reference))
        except BaseException as error:  # noqa: BLE001  told to who waits
            failed.append(error)

    def answer() -> int:
        thread.join()
        if failed:
            raise failed[0]
        return found[0]

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return answer


def _until_ended(paths: Paths, container: Container) -> int:
    where = records.directory(paths, container.id)
    ticket = _ticket(where)
    seen: Witness | None = None
    rouser = stopping.Rouser(where)
    try:
        pause = stopping.PAUSE
        while True:
            # Without its supervisor and guardian, which were killed, a container runs on.
            over = not records.is_locked(where) and records.running_state(paths, container.id) is None
            if ticket >= 0 and (told := os.pread(ticket, 16, 0)):
                return int(told)
            if over and not (seen and stopping.bequeath(paths, container, seen)):
                return _code(paths, container, seen)
            if seen or pause == _LONGEST_PAUSE:
                rouser.look()
            seen = _sleep_until_it_ends(paths, container, pause, seen)
            pause = min(pause * 2, _LONGEST_PAUSE)
    finally:
        if seen:
            seen.close()
        if ticket >= 0:
            os.close(ticket)
            _withdraw(where)


def _ticket(where: str) -> int:
    try:
        return os.open(where + "/waited", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        raise NotFound(f"no container {os.path.basename(where)[:12]}: it was removed") from None
    except OSError as error:
        if error.errno == errno.EROFS:
            return -1  # so nobody else can tell it there either
        raise StorageError(f"cannot write {where}/waited: {error.strerror}") from None


def _withdraw(where: str) -> None:
    """Of a container that does not run nobody would take the file away. Others who still wait hear from exit.json."""
    if not records.is_locked(where):
        try:
            os.unlink(where + "/waited")
        except OSError:
            pass


def _sleep_until_it_ends(paths: Paths, container: Container, pause: float, seen: Witness | None) -> Witness | None:
    """Sleep until the container's process has ended; for `pause` seconds where it has none, or has just ended. Return who has
    seen it, or `seen`, who saw the one before.
    """
    now = witness.of(paths, container.id)
    if now is not None:
        stopping.ended(now.pidfd, -1)
        if seen:
            seen.close()
    time.sleep(pause)
    return now or seen


def _code(paths: Paths, container: Container, seen: Witness | None) -> int:
    """Return how the last run ended, as it is written down, or was seen; 0 for a container that never ran."""
    try:
        status = records.status(paths, records.load(paths, container.id))
    except NotFound:
        raise NotFound(f"{container.name} was removed before it told its exit code") from None
    if seen and not os.path.exists(records.directory(paths, container.id) + "/exit.json"):
        code = seen.code()
        if code is not None:
            return code
    return status.exit_code or 0


def _is_alive(paths: Paths, container: Container) -> bool:
    return records.status(paths, records.load(paths, container.id)).alive


def _until(paths: Paths, container: Container, wanted: frozenset[str], interval: float) -> int:
    while True:
        try:
            status = records.status(paths, records.load(paths, container.id))
        except NotFound:
            if "removed" in wanted:
                return -1
            raise
        if _met(status, wanted):
            return -1 if status.alive or status.status == "created" else status.exit_code or 0
        time.sleep(interval)


def _met(status: ContainerStatus, wanted: frozenset[str]) -> bool:
    ended = not status.alive and not wanted.isdisjoint(_ENDED)
    return ended or status.status in wanted or bool(status.health and status.health in wanted)
