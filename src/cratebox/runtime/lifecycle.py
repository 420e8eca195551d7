"""The verbs of an OCI runtime (runtime.md), each in a process of its own.

Here are create, run and exec; the others are found in the module that has them when they are asked for: `state` and `kill` are
asked often, and what makes containers, or ends them, is not for them.
"""

from __future__ import annotations

import os

from cratebox.errors import CrateError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.runtime import spec
    from cratebox.runtime.control import pause, processes, resume, stats, update, update_rdt, watch_events
    from cratebox.runtime.ending import delete, kill
    from cratebox.runtime.listing import list_containers, state
    from cratebox.runtime.starting import start

__all__ = (
    "create", "delete", "execute", "kill", "list_containers", "own_process", "pause", "processes", "resume", "run", "start",
    "state", "stats", "update", "update_rdt", "watch_events",
)  # fmt: skip

# Where each of the other verbs is.
_ELSEWHERE = {
    **dict.fromkeys(("pause", "processes", "resume", "stats", "update", "update_rdt", "watch_events"), "control"),
    **dict.fromkeys(("delete", "kill"), "ending"),
    **dict.fromkeys(("list_containers", "state"), "listing"),
    "start": "starting",
}


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(__import__(f"cratebox.runtime.{_ELSEWHERE[name]}", fromlist=[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_ELSEWHERE])


def create(root: str, name: str, bundle: str, **settings: Any) -> None:
    """Create the container `name` of `bundle`; its process waits. `settings` are the fields of bundle.Settings.

    The container gets this process's standard streams. Raises InvalidValue and Unsupported for what cannot be run as it is
    written, Conflict for a name that is taken, RuntimeFailure; nothing of the container is left then.
    """
    from cratebox.runtime import bundle as bundles

    bundles.create(root, name, bundle, bundles.Settings(**settings), detached=True)


# --- exec -------------------------------------------------------------------------------------------------------------


def execute(root: str, name: str, wanted: spec.Process, **settings: Any) -> int:
    """Run the process `wanted` in the container `name`: see exec.execute, which this is."""
    from cratebox.runtime import exec as joining

    return joining.execute(root, name, wanted, **settings)


def own_process(root: str, name: str) -> spec.Process:
    """Return the process of the container `name` as its spec had it. Raises NotFound, StorageError."""
    from cratebox.runtime import place
    from cratebox.runtime import state as saved

    document = saved.load_spec(place.directory_of(root, name))
    assert document.process
    return document.process


# --- run --------------------------------------------------------------------------------------------------------------


def run(root: str, name: str, bundle: str, *, detach: bool = False, keep: bool = False, **settings: Any) -> int:
    """Create and start; return at once with `detach`, else stay in the foreground and return the exit code (128+N for
    signal N) once the container has ended and, without `keep`, is deleted. Raises as create and start; nothing is left then.
    """
    from cratebox.runtime import bundle as bundles
    from cratebox.runtime import console, starting

    before = console.hold_signals()
    master = -1
    try:
        pid, master = bundles.create(root, name, bundle, bundles.Settings(**settings), detached=detach)
        try:
            starting.start(root, name)
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
    from cratebox.linux import process
    from cratebox.runtime import console

    pidfd = os.pidfd_open(pid)  # our child, and not waited for: the number is still its own
    try:
        console.stay_at(pidfd, master, before)
    finally:
        os.close(pidfd)
    return process.waited_status(os.waitpid(pid, 0)[1])


def _delete_ended(root: str, name: str) -> None:
    from cratebox.runtime import ending

    try:
        ending.delete(root, name, force=True)
    except NotFound:
        pass  # somebody else was faster


def _delete_after_error(root: str, name: str) -> None:
    from cratebox.runtime import ending

    try:
        ending.delete(root, name, force=True)
    except (CrateError, OSError):
        pass  # what went wrong before is what is told; `delete --force` says the rest
