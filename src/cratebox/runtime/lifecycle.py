"""The verbs of an OCI runtime (runtime.md), each in a process of its own: create, start, state, kill, delete; and run.

Those for a container that is there are control.py's and exec.py's. What makes containers is imported by those who make one: `state`
and `kill` are asked often.
"""

from __future__ import annotations

import os
import select
import time

from cratebox.cgroup import base as cgroups
from cratebox.errors import Conflict, CrateError, InvalidValue, NotFound, RuntimeFailure, StorageError
from cratebox.linux import process
from cratebox.runtime import control, place
from cratebox.runtime import state as saved
from cratebox.runtime.control import pause, processes, resume, stats, update, watch_events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.runtime import spec

__all__ = (
    "create", "delete", "execute", "kill", "list_containers", "own_process", "pause", "processes", "resume", "run", "start",
    "state", "stats", "update", "watch_events",
)  # fmt: skip

ALIVE = ("created", "running", "paused")
_SIGKILL = 9
_MILLISECONDS_TO_DIE = 10_000


def create(root: str, name: str, bundle: str, **settings: Any) -> None:
    """Create the container `name` of `bundle`; its process waits. `settings` are the fields of bundle.Settings.

    The container gets this process's standard streams. Raises InvalidValue and Unsupported for what cannot be run as it is
    written, Conflict for a name that is taken, RuntimeFailure; nothing of the container is left then.
    """
    from cratebox.runtime import bundle as bundles

    bundles.create(root, name, bundle, bundles.Settings(**settings), detached=True)


def start(root: str, name: str) -> None:
    """Let the program of a created container run; return when it does.

    Raises NotFound, Conflict where it runs or has stopped, CommandNotFound, CannotInvoke, RuntimeFailure.
    """
    directory = place.directory_of(root, name)
    lock = place.lock(directory)
    try:
        state = saved.load(directory)
        now = saved.status(state, directory)
        if now == "running":
            raise Conflict("cannot start an already running container")
        if now == "paused":
            raise Conflict("cannot start a paused container", "resume it first")
        if now != "created":
            raise Conflict("cannot start a container that has stopped", "delete it and create it again")
        error = _open_gate(directory, state)
        if error:
            raise error
        if state.hooked:
            _run_poststart(directory, state)
    except OSError as error:
        raise RuntimeFailure(f"cannot start container {name}: {error.strerror}") from None
    finally:
        os.close(lock)


def _run_poststart(directory: str, state: saved.State) -> None:
    """Run the hooks of a program that runs by now. Where one fails the container is stopped (runtime.md, Lifecycle)."""
    from cratebox.runtime import bundle as bundles
    from cratebox.runtime import hooks

    wanted = saved.load_spec(directory).hooks
    try:
        if wanted:
            told = {**bundles.hook_state(state), "status": "running", "pid": state.pid}
            hooks.run("poststart", wanted.poststart, told)
    except BaseException:
        _end(state)
        raise


def _open_gate(directory: str, state: saved.State) -> CrateError | None:
    """Let the process through; return what kept its program from running, once the process is gone."""
    fds = [process.open_pidfd(state.pid, state.started)]
    try:
        # A FIFO's reader may open it before there is a writer, its writer only where there is a reader: ENXIO, if it has died.
        for name, mode in (("report", os.O_RDONLY), ("gate", os.O_WRONLY)):
            fds.append(os.open(f"{directory}/{name}", mode | os.O_NONBLOCK | os.O_CLOEXEC))
        pidfd, report, gate = fds
        error = _go(pidfd, report, gate, state.command)
    finally:
        for fd in fds:
            os.close(fd)
    place.unlink(directory, "gate", "report")
    return error


def _go(pidfd: int, report: int, gate: int, command: str) -> CrateError | None:
    from cratebox.runtime import sync

    os.set_blocking(report, True)
    os.write(gate, sync.GO)
    message = b""
    while part := os.read(report, 65536):
        message += part
    error = sync.read_report(message, command)
    if error:
        _wait_for_end(pidfd)
    return error


def _wait_for_end(pidfd: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(_MILLISECONDS_TO_DIE):
        raise RuntimeFailure("the container's process does not die", "it may wait for a disk or a network file system")


# --- state and list ---------------------------------------------------------------------------------------------------


def state(root: str, name: str) -> dict[str, Any]:
    """Return the state of a container (runtime.md, State) with runc's additions. Raises NotFound, StorageError."""
    directory = place.directory_of(root, name)
    found = saved.load(directory)
    now = saved.status(found, directory)
    return {
        "ociVersion": found.oci_version,
        "id": found.id,
        "pid": 0 if now == "stopped" else found.pid,
        "status": now,
        "bundle": found.bundle,
        "rootfs": found.rootfs,
        "created": _timestamp(found.created),
        "owner": _user_name(found.owner),
        **({"annotations": found.annotations} if found.annotations else {}),
    }


def _timestamp(seconds: float) -> str:
    """Return RFC 3339, as Go prints it."""
    whole = int(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((seconds - whole) * 1e9):09d}Z"


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def list_containers(root: str) -> list[dict[str, Any]]:
    """Return the state of each container, by ID; of one whose state file is damaged, as good as nothing but the ID."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            found.append(state(root, name))
        except (NotFound, InvalidValue):
            continue
        except StorageError:
            from cratebox.runtime.spec import VERSION

            found.append({"ociVersion": VERSION, "id": name, "pid": 0, "status": "damaged", "bundle": ""})
    return found


# --- kill and delete --------------------------------------------------------------------------------------------------


def kill(root: str, name: str, signal: int, *, all: bool = False) -> None:  # noqa: A002  runc's word for it
    """Send `signal` to the container's process, or to all of its processes. Raises NotFound, Conflict, RuntimeFailure.

    It takes no lock: one call to the kernel comes before or after whatever else happens.
    """
    directory = place.directory_of(root, name)
    found = saved.load(directory)
    now = saved.status(found, directory)
    if now not in ALIVE:
        raise Conflict("container not running")
    try:
        if all or (signal == _SIGKILL and not found.own_pids):  # no end of a PID namespace would take the others along
            _signal_all(found, signal)
        else:
            _signal_one(found, signal)
        if now == "paused" and signal == _SIGKILL:  # what is frozen by cgroup v1 does not die
            cgroups.from_paths(found.cgroup).thaw()
    except ProcessLookupError:
        raise Conflict("container not running") from None
    except OSError as error:
        raise RuntimeFailure(f"cannot send signal {signal} to container {name}: {(error.strerror or '').lower()}") from None


def _signal_one(found: saved.State, signal: int) -> None:
    pidfd = process.open_pidfd(found.pid, found.started)
    try:
        process.send_signal(pidfd, signal)
    finally:
        os.close(pidfd)


def _signal_all(found: saved.State, signal: int) -> None:
    group = cgroups.from_paths(found.cgroup)
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
    wanted = control.pid_namespace(leader)
    for pid in control.namespace_pids(leader):
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if control.pid_namespace(pid) == wanted:  # still: the number may be another process's by now
                process.send_signal(pidfd, signal)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)


def delete(root: str, name: str, *, force: bool = False) -> None:
    """Remove a container that has stopped or was never started; with `force` any, by SIGKILL.

    Raises NotFound, Conflict where it runs, RuntimeFailure where it does not die (deleting may then be tried again).
    """
    directory = place.directory_of(root, name)
    if force:
        _kill_early(directory, name)
    lock = place.lock(directory)
    try:
        try:
            found = _known(directory, name, force)
        except NotFound:
            saved.forget(directory)  # its create died before it wrote anything: we have its lock
            raise
        now = saved.status(found, directory)
        if now in {"running", "paused"} and not force:
            raise Conflict(f"cannot delete container {name} that is not stopped: {now}", "kill it first, or delete by force")
        if now in ALIVE:
            _end(found)
        hooks = _hooks(found, directory, force)
        place.remove_cgroup(found)
        if found.resctrl:
            from cratebox.runtime.bundle import remove_rdt

            remove_rdt(found.resctrl)
        saved.forget(directory)
        if hooks:
            from cratebox.runtime.bundle import run_poststop

            run_poststop(found, hooks)
    except OSError as error:
        raise RuntimeFailure(f"cannot delete container {name}: {error.strerror}") from None
    finally:
        os.close(lock)


def _hooks(found: saved.State, directory: str, force: bool) -> spec.Hooks | None:
    """Return the hooks of a container whose directory will be gone. Raises StorageError where they are damaged, unless `force`."""
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
    """Return the state of a container; with `force`, where that is damaged, what its identity tells."""
    try:
        return saved.load(directory)
    except StorageError:
        if not force:
            raise
        return saved.load_identity(directory, name)


def _kill_early(directory: str, name: str) -> None:
    """Kill before waiting for the lock: a `start` that waits for the process would hold it for ever."""
    try:
        found = _known(directory, name, force=True)
        if saved.status(found, directory) in ALIVE:
            _signal_all(found, _SIGKILL)
    except (CrateError, OSError):
        pass  # what is to be said about it is said under the lock


def _end(found: saved.State) -> None:
    try:
        pidfd = process.open_pidfd(found.pid, found.started)
    except ProcessLookupError:
        return
    try:
        process.send_signal(pidfd, _SIGKILL)
        cgroups.from_paths(found.cgroup).kill()  # thaws, where it is frozen: what is frozen does not die
        _wait_for_end(pidfd)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


# --- exec -------------------------------------------------------------------------------------------------------------


def execute(root: str, name: str, wanted: spec.Process, **settings: Any) -> int:
    """Run the process `wanted` in the container `name`: see exec.execute, which this is."""
    from cratebox.runtime import exec as joining

    return joining.execute(root, name, wanted, **settings)


def own_process(root: str, name: str) -> spec.Process:
    """Return the process of the container `name` as its spec had it. Raises NotFound, StorageError."""
    document = saved.load_spec(place.directory_of(root, name))
    assert document.process
    return document.process


# --- run --------------------------------------------------------------------------------------------------------------


def run(root: str, name: str, bundle: str, *, detach: bool = False, keep: bool = False, **settings: Any) -> int:
    """Create and start; return at once with `detach`, else stay in the foreground and return the exit code (128+N for
    signal N) once the container has ended and, without `keep`, is deleted. Raises as create and start; nothing is left then.
    """
    from cratebox.runtime import bundle as bundles
    from cratebox.runtime import console

    before = console.hold_signals()
    master = -1
    try:
        pid, master = bundles.create(root, name, bundle, bundles.Settings(**settings), detached=detach)
        try:
            start(root, name)
            if detach:
                return 0
            code = _stay(pid, master, before)
        except BaseException:
            _delete_after_error(root, name)
            raise
        if not keep:
            _delete_ended(root, name)
        return code
    finally:
        if master >= 0:
            os.close(master)
        console.release_signals(before)


def _stay(pid: int, master: int, before: Any) -> int:
    from cratebox.runtime import console

    pidfd = os.pidfd_open(pid)  # our child, and not waited for: the number is still its own
    try:
        console.stay(pidfd, master, before)
    finally:
        os.close(pidfd)
    return process.waited_status(os.waitpid(pid, 0)[1])


def _delete_ended(root: str, name: str) -> None:
    try:
        delete(root, name, force=True)
    except NotFound:
        pass  # somebody else was faster


def _delete_after_error(root: str, name: str) -> None:
    try:
        delete(root, name, force=True)
    except (CrateError, OSError):
        pass  # what went wrong before is what is told; `delete --force` says the rest
