"""The verb start: what `create` has made is let go (runtime.md, Operations)."""

from __future__ import annotations

import os

from cratebox.errors import Conflict, RuntimeFailure
from cratebox.linux import pidfds
from cratebox.runtime import place, sync
from cratebox.runtime import state as saved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.errors import CrateError


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
    from cratebox.runtime import ending, hooks

    wanted = saved.load_spec(directory).hooks
    try:
        if wanted:
            told = {**bundles.hook_state(found), "status": "running", "pid": found.pid}
            hooks.run("poststart", wanted.poststart, told)
    except BaseException:
        ending.end(found, directory)
        raise


def _open_gate(directory: str, found: saved.State) -> CrateError | None:
    """Let the process through; return what kept its program from running, once the process is gone."""
    fds = [pidfds.open_pidfd(found.pid, found.started)]
    try:
        # A FIFO's reader may open it before there is a writer, its writer only where there is a reader: ENXIO, if it has died.
        for name, mode in (("report", os.O_RDONLY), ("gate", os.O_WRONLY)):
            fds.append(os.open(f"{directory}/{name}", mode | os.O_NONBLOCK | os.O_CLOEXEC))
        pidfd, report, gate = fds
        error = _go(pidfd, report, gate, found.command)
    finally:
        for fd in fds:
            os.close(fd)
    place.unlink(directory, "gate", "report", "door")
    return error


def _go(pidfd: int, report: int, gate: int, command: str) -> CrateError | None:
    os.set_blocking(report, True)
    os.write(gate, sync.GO)
    message = b""
    while part := os.read(report, 65536):
        message += part
    error = sync.read_report(message, command)
    if error:
        from cratebox.runtime import ending

        ending.wait_for_end(pidfd)
    return error
