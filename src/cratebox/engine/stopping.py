"""Signals to a container: `kill` sends one, `stop` the one that asks it to end,
and after a while the one that it cannot refuse.
"""

from __future__ import annotations

import os
import time

from cratebox.cgroup import base as cgroups
from cratebox.engine import events, records, states, stopped, witness
from cratebox.engine.records import Container
from cratebox.errors import Conflict, CrateError, InvalidValue, NotFound, RuntimeFailure, StorageError
from cratebox.linux import process
from cratebox.paths import Paths
from cratebox.runtime.state import is_held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.witness import Witness

SIGKILL = 9
_SIGTERM = 15
_SECONDS_TO_STOP = 10.0
SECONDS_TO_DIE = 10.0
_SECONDS_TO_FINISH = 30.0  # one that slept has to become an interpreter first, which on a busy machine takes its time
PAUSE = 0.005  # seconds
_SECONDS_TO_ANSWER = 0.3  # of a supervisor that has something to do
_SECONDS_UNSEEN = 2.0  # of a process that is being made, before its state is written
_LONGEST_POLL = 2_000_000  # seconds: poll(2) counts milliseconds in an int


def kill(paths: Paths, container: Container, signal: int) -> None:
    """Send a signal to the container's process. Raises Conflict where it does not run.

    SIGKILL and the container's stop signal say that it is to end: its restart policy does not start it again, and where it is
    paused, it goes on to receive them. Other signals wait until it is unpaused.
    """
    ending = signal in {SIGKILL, stop_signal(container)}
    there = process_of(paths, container)
    if there is None:
        status = records.status(paths, container)
        if status.status != "restarting" or not ending:
            raise states.wrong(status)
        stop(paths, container, 0)  # there is no process: what is to be ended is the waiting
        return
    unwritten = None
    try:
        if ending:
            unwritten = mark(paths, container)
        process.send_signal(there.pidfd, signal)
        _tell(paths, container, "kill", signal=str(signal))
        if ending:
            thaw(paths, container)
    except ProcessLookupError:
        raise states.wrong(records.status(paths, container)) from None
    except PermissionError as error:
        raise Conflict(f"cannot signal {container.name}: {error.strerror}") from None
    finally:
        there.close()
    if unwritten:
        raise unwritten


def stop_signal(container: Container) -> int:
    """Return what asks the container to end: the user's word, else the image's, else SIGTERM."""
    from cratebox.engine.signals import parse

    try:
        return parse(container.config.stop_signal or container.defaults.stop_signal or "TERM")
    except InvalidValue:
        return _SIGTERM  # the image's own word, which nobody has checked


def stop(
    paths: Paths, container: Container, timeout: float | None = None, signal: int | None = None, by_user: bool = True
) -> None:
    """Send the stop signal, wait, then SIGKILL; return when the container has ended and its supervisor is done.

    `timeout` is in seconds, None for the container's own or 10, negative for ever; `signal` takes the stop signal's place; not
    `by_user`: a boot makes up for it (stopped.py). A stopped container is left alone. Raises Conflict, RuntimeFailure where it
    does not even die of SIGKILL, StorageError where it has ended but that could not be marked.
    """
    where = records.directory(paths, container.id)
    if not records.is_locked(where) and records.running_state(paths, container.id) is None:
        return
    if timeout is None:
        timeout = _SECONDS_TO_STOP if container.config.stop_timeout is None else container.config.stop_timeout
    if signal is None:
        signal = stop_signal(container)
    unwritten = mark(paths, container, by_user)
    end(paths, container, signal, timeout)
    _tell(paths, container, "stop")
    if unwritten:
        raise unwritten


def mark(paths: Paths, container: Container, by_user: bool = True) -> StorageError | None:
    """Mark the container as stopped. Where that cannot be written, the mark is made beside the state of its process, for this
    run alone; return what is to be said of it when all else is done.
    """
    try:
        stopped.mark(records.directory(paths, container.id), by_user)
    except StorageError as error:
        try:
            stopped.mark(f"{paths.running}/{container.id}", by_user)
        except StorageError:
            pass
        name = container.name or container.id[:12]
        return StorageError(
            f"{name}: {error.message}", "it was signalled all the same; its restart policy may start it after a boot"
        )
    return None


def end(paths: Paths, container: Container, signal: int, timeout: float) -> None:
    """End a container that is marked as stopped: `signal`, then after `timeout` seconds SIGKILL.
    Return when its supervisor is done.

    Raises Conflict, RuntimeFailure where it does not die.
    """
    # More than once where its policy had begun to start it again when the mark was made.
    while there := process_of(paths, container):
        try:
            process.send_signal(there.pidfd, signal)
            _tell(paths, container, "kill", signal=str(signal))
            thaw(paths, container)
            if not ended(there.pidfd, timeout):
                kill_and_wait(paths, container, there.pidfd)
            if not records.is_locked(records.directory(paths, container.id)):
                bequeath(paths, container, there)
        except ProcessLookupError:
            pass
        finally:
            there.close()
    _wake(paths, container)
    wait_for_supervisor(paths, container)


def bequeath(paths: Paths, container: Container, seen: Witness) -> bool:
    """Leave what is to be done at the end of a run to a new supervisor, where whoever should do it was killed;
    tell whether there is one.
    """
    from cratebox.engine import adoption

    return adoption.adopt(paths, container.id, seen)


def _tell(paths: Paths, container: Container, action: str, **more: str) -> None:
    events.emit(paths, "container", action, container.id, {**events.of_container(container), **more})


def process_of(paths: Paths, container: Container) -> Witness | None:
    """Return who holds the container's process, None where it has none. One that is about to start is waited for, until its
    program runs.
    """
    where, state_directory = records.directory(paths, container.id), f"{paths.running}/{container.id}"
    begun, rouser = time.monotonic(), Rouser(where)
    end, unseen = begun + SECONDS_TO_DIE, begun + _SECONDS_UNSEEN
    while True:
        now = time.monotonic()
        late = now > end
        found = witness.of(paths, container.id)
        if found is not None:
            if late or not is_held(state_directory):
                return found
            found.close()
        elif late or not records.is_locked(where) or _waits(paths, container):
            return None
        if rouser.look() and (now > unseen or not os.path.isdir(state_directory)):
            from cratebox.engine import lost

            found = lost.of_supervisor(where, state_directory)
            if found is not None:
                return found
        time.sleep(PAUSE)


class Rouser:
    """Lets a supervisor go on that somebody has stopped (SIGSTOP), for whoever waits for it;
    `where` is the container's directory.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._next = time.monotonic() + _SECONDS_TO_ANSWER

    def look(self) -> bool:
        """Look, from time to time; tell whether it was done."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + 1
        from cratebox.engine import lost

        lost.rouse(self._where)
        return True


def _waits(paths: Paths, container: Container) -> bool:
    """Tell whether its supervisor waits until it starts the container again."""
    from cratebox.engine import watching

    told = watching.read(f"{paths.running}/{container.id}")
    return told is not None and told.phase == watching.RESTARTING


def _wake(paths: Paths, container: Container) -> None:
    """Tell a supervisor that waits until it starts the container again that there is something new: the mark."""
    try:
        fifo = os.open(f"{paths.running}/{container.id}/wake", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return  # none waits
    try:
        os.write(fifo, b"!")
    except OSError:
        pass  # it has been told
    finally:
        os.close(fifo)


def thaw(paths: Paths, container: Container) -> None:
    """Let a paused container go on: what is frozen by cgroup v1 does not even die of SIGKILL."""
    try:
        state = records.running_state(paths, container.id)
        if state is None or not state.cgroup:
            return
        group = cgroups.from_paths(state.cgroup)
        if group.is_frozen():
            group.thaw()
    except CrateError:
        pass  # its state is damaged, it has ended meanwhile, or will not: whoever waits for that says so


def kill_and_wait(paths: Paths, container: Container, pidfd: int) -> None:
    """End the process of `pidfd`, the container's. Raises ProcessLookupError where it has, RuntimeFailure where it does not."""
    process.send_signal(pidfd, SIGKILL)
    _tell(paths, container, "kill", signal=str(SIGKILL))
    thaw(paths, container)
    if not ended(pidfd, SECONDS_TO_DIE):
        raise RuntimeFailure(
            f"{container.name or container.id[:12]} does not die of SIGKILL",
            "one of its processes may wait for a disk or a network file system: ps shows it in state D",
        )


def ended(pidfd: int, timeout: float) -> bool:
    """Wait until the process of `pidfd` has ended, at most `timeout` seconds (negative, or more than three weeks: for ever)."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout * 1000 if 0 <= timeout <= _LONGEST_POLL else None))


def _runs(paths: Paths, container: Container) -> bool:
    try:
        return records.running_state(paths, container.id) is not None
    except StorageError:
        return False  # of the run that is over, and damaged


def wait_for_supervisor(paths: Paths, container: Container) -> None:
    """Wait until nobody holds the container's lock: what its supervisor had to write down is written. Return at once where
    somebody has started it again meanwhile. Raises Conflict.
    """
    end, rouser = time.monotonic() + _SECONDS_TO_FINISH, Rouser(records.directory(paths, container.id))
    try:
        while records.is_locked(records.directory(paths, container.id)):
            rouser.look()
            if _runs(paths, container):
                return
            if time.monotonic() > end:
                raise Conflict(
                    f"{container.name} has ended, but its supervisor is still busy", "its output may be held up somewhere"
                )
            time.sleep(PAUSE)
    except NotFound:
        pass  # its supervisor removed it (--rm)
