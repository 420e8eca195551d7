"""The verbs that end: kill and delete (runtime.md, Operations)."""

from __future__ import annotations

import os

from cratebox.cgroup import base as cgroups
from cratebox.errors import Conflict, CrateError, NotFound, RuntimeFailure, StorageError
from cratebox.linux import pidfds
from cratebox.runtime import place
from cratebox.runtime import state as saved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.runtime import spec

_ALIVE = ("created", "running", "paused")
_SIGKILL = 9
_MILLISECONDS_TO_DIE = 10_000


def kill(root: str, name: str, signal: int, *, all: bool = False) -> None:  # noqa: A002  runc's word for it
    """Send `signal` to the container's process, or to all of its processes. Raises NotFound, Conflict, RuntimeFailure.

    It takes no lock: one call to the kernel comes before or after whatever else happens.
    """
    directory = place.directory_of(root, name)
    found = saved.load(directory)
    now = saved.status(found, directory)
    if now not in _ALIVE:
        raise Conflict("container not running")
    try:
        if all or (signal == _SIGKILL and not found.own_pids):  # no end of a PID namespace would take the others along
            _signal_all(found, directory, signal)
        else:
            _signal_one(found, signal)
        if now == "paused" and signal == _SIGKILL:  # what is frozen by cgroup v1 does not die
            cgroups.from_paths(found.cgroup).thaw()
    except ProcessLookupError:
        raise Conflict("container not running") from None
    except OSError as error:
        raise RuntimeFailure(f"cannot send signal {signal} to container {name}: {(error.strerror or '').lower()}") from None


def _signal_one(found: saved.State, signal: int) -> None:
    pidfd = pidfds.open_pidfd(found.pid, found.started)
    try:
        pidfds.send_signal(pidfd, signal)
    finally:
        os.close(pidfd)


def _signal_all(found: saved.State, directory: str, signal: int) -> None:
    group = place.cgroup_of(found, directory)
    if signal == _SIGKILL:
        _signal_one(found, signal)  # the end of its PID namespace
        group.kill()
    elif group.signal(signal):
        pass
    elif found.own_pids:
        _signal_namespace(found.pid, signal)
    else:
        _signal_one(found, signal)


def _signal_namespace(leader: int, signal: int) -> None:
    """Send `signal` to the processes in the PID namespace of `leader`, for a container without a cgroup of its own."""
    from cratebox.runtime import control

    wanted = control.pid_namespace(leader)
    for pid in control.namespace_pids(leader):
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if control.pid_namespace(pid) == wanted:  # still: the number may be another process's by now
                pidfds.send_signal(pidfd, signal)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)


def delete(root: str, name: str, *, force: bool = False) -> None:
    """Remove a container that has stopped or was never started; with `force` any, by SIGKILL.

    Raises NotFound, Conflict where it runs, RuntimeFailure where it does not die (deleting may then be tried again),
    StorageError where its files are damaged and, by force, where nothing tells any more whether it has processes.
    """
    directory = place.directory_of(root, name)
    if force:
        _kill_early(directory, name)
    lock = place.lock(directory)
    try:
        try:
            found = _known(directory, name, force)
        except NotFound:
            left = cgroups.from_paths(place.find_cgroup(directory))
            if left.directories and not force:
                raise StorageError(f"damaged: {directory} is empty, and its processes run", "delete it by force") from None
            left.kill()
            left.remove()
            saved.forget(directory, whole=force)  # its create died before it wrote anything: we have its lock
            raise
        now = saved.status(found, directory)
        if now in {"running", "paused"} and not force:
            raise Conflict(f"cannot delete container {name} that is not stopped: {now}", "kill it first, or delete by force")
        if now in _ALIVE:
            end(found, directory)
        hooks = _hooks(found, directory, force)
        place.remove_cgroup(found, directory)
        if found.resctrl:
            from cratebox.runtime.bundle import remove_rdt

            remove_rdt(found.resctrl)
        saved.forget(directory, whole=force)
        if hooks:
            from cratebox.runtime.bundle import run_poststop

            run_poststop(found, hooks)
    except OSError as error:
        raise RuntimeFailure(f"cannot delete container {name}: {error.strerror}") from None
    finally:
        os.close(lock)


def _hooks(found: saved.State, directory: str, force: bool) -> spec.Hooks | None:
    """Return the hooks of a container whose directory will be gone.
    Raises StorageError where they are damaged, unless `force`.
    """
    if not found.hooked:
        return None
    try:
        return saved.load_spec(directory).hooks
    except StorageError as error:
        if not force and found.pid:
            raise
        if found.pid:
            from cratebox.runtime import warnings

            warnings.tell(f"{error.message}: its hooks poststop are not run")
        return None


def _known(directory: str, name: str, force: bool) -> saved.State:
    """Return the state of a container; with `force`, where its files are damaged or contradict each other, what is certain."""
    if not force:
        found = saved.load(directory)
        if found.pid:
            saved.check_identity(directory, found)
        return found
    from cratebox.runtime import salvage

    return salvage.load(directory, name)


def _kill_early(directory: str, name: str) -> None:
    """Kill before waiting for the lock: a `start` that waits for the process would hold it for ever."""
    try:
        found = _known(directory, name, force=True)
        if saved.status(found, directory) in _ALIVE:
            _signal_all(found, directory, _SIGKILL)
        elif not found.pid:
            cgroups.from_paths(found.cgroup).kill()  # all that tells of it: see salvage.py
    except (CrateError, OSError):
        pass  # what is to be said about it is said under the lock


def end(found: saved.State, directory: str) -> None:
    """Kill the container's processes; return when the first one has ended. Raises RuntimeFailure, OSError."""
    try:
        pidfd = pidfds.open_pidfd(found.pid, found.started)
    except ProcessLookupError:
        return
    try:
        pidfds.send_signal(pidfd, _SIGKILL)
        place.cgroup_of(found, directory).kill()  # thaws, where it is frozen: what is frozen does not die
        wait_for_end(pidfd)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def wait_for_end(pidfd: int) -> None:
    """Wait until the process of `pidfd` has ended. Raises RuntimeFailure where it does not."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(_MILLISECONDS_TO_DIE):
        raise RuntimeFailure("the container's process does not die", "it may wait for a disk or a network file system")
