"""The verbs of an OCI runtime (runtime.md), each in a process of its own. Here are create, start and run.

The others are listing.py's, ending.py's, control.py's and exec.py's. What makes containers is imported by those who make one: `state`
and `kill` are asked often.
"""

from __future__ import annotations

import os

from cratebox.errors import Conflict, CrateError, NotFound, RuntimeFailure
from cratebox.linux import process
from cratebox.runtime import place
from cratebox.runtime import state as saved
from cratebox.runtime.control import pause, processes, resume, stats, update, update_rdt, watch_events
from cratebox.runtime.ending import delete, end, kill, wait_for_end
from cratebox.runtime.listing import list_containers, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.runtime import spec

__all__ = (
    "create", "delete", "execute", "kill", "list_containers", "own_process", "pause", "processes", "resume", "run", "start",
    "state", "stats", "update", "update_rdt", "watch_events",
)  # fmt: skip


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
        found = saved.load(directory)
        now = saved.status(found, directory)
        if now == "running":
            raise Conflict("cannot start an already running container")
        if now == "paused":
            raise Conflict("cannot start a paused container", "resume it first")
        if now != "created":
            raise Conflict("cannot start a container that has stopped", "delete it and create it again")
        error = _open_gate(directory, found)
        if error:
            raise error
        if found.hooked:
            _run_poststart(directory, found)
    except OSError as error:
        raise RuntimeFailure(f"cannot start container {name}: {error.strerror}") from None
    finally:
        os.close(lock)


def _run_poststart(directory: str, found: saved.State) -> None:
    """Run the hooks of a program that runs by now. Where one fails the container is stopped (runtime.md, Lifecycle)."""
    from cratebox.runtime import bundle as bundles
    from cratebox.runtime import hooks

    wanted = saved.load_spec(directory).hooks
    try:
        if wanted:
            told = {**bundles.hook_state(found), "status": "running", "pid": found.pid}
            hooks.run("poststart", wanted.poststart, told)
    except BaseException:
        end(found, directory)
        raise


def _open_gate(directory: str, found: saved.State) -> CrateError | None:
    """Let the process through; return what kept its program from running, once the process is gone."""
    fds = [process.open_pidfd(found.pid, found.started)]
    try:
        # A FIFO's reader may open it before there is a writer, its writer only where there is a reader: ENXIO, if it has died.
        for name, mode in (("report", os.O_RDONLY), ("gate", os.O_WRONLY)):
            fds.append(os.open(f"{directory}/{name}", mode | os.O_NONBLOCK | os.O_CLOEXEC))
        pidfd, report, gate = fds
        error = _go(pidfd, report, gate, found.command)
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
        wait_for_end(pidfd)
    return error


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


def stay_and_delete(root: str, name: str, pid: int, master: int, before: Any) -> int:
    """Stay in the foreground with a container that runs, our child `pid`; return its exit code once it is deleted."""
    try:
        code = _stay(pid, master, before)
    except BaseException:
        _delete_after_error(root, name)
        raise
    _delete_ended(root, name)
    return code


def _stay(pid: int, master: int, before: Any) -> int:
    from cratebox.runtime import console

    pidfd = os.pidfd_open(pid)  # our child, and not waited for: the number is still its own
    try:
        console.stay_at(pidfd, master, before)
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
