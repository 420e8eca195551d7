"""Containers whose own records tell nothing (damaged files, a killed supervisor): what of them is found on the machine."""

from __future__ import annotations

import os
import time

from cratebox.errors import Conflict, CrateError, NotFound
from cratebox.linux import process
from cratebox.linux.procfs import read_text
from cratebox.paths import private_directory
from cratebox.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.witness import Witness

_SUPERVISORS = (b"crate-superviso", b"crate-guardian")  # as the kernel cuts them

_SIGCONT = 18
_SECONDS_TO_DIE, _PAUSE = 2.0, 0.01


def first_process(where: str) -> int | None:
    """Return the pid of the container whose directory is `where`, found through its supervisor or guardian;
    None where there is none.

    A supervisor is told by the container's lock, which it has open: by device and inode, for a path can be made up.
    """
    holders = _holders(where)
    children = [child for holder in holders for child in process.children(holder)]
    return next((child for child in children if child not in holders and not _is_probe(child)), None)


def of_supervisor(where: str, state_directory: str) -> Witness | None:
    """Return who holds the container's process where the state of that is gone, though a supervisor has it;
    None where there is none.

    Raises StorageError where it is there, and damaged.
    """
    try:
        state.load(state_directory)
    except NotFound:
        pass
    else:
        return None  # it has ended
    pid = first_process(where)
    started = process.start_time(pid) if pid else 0
    if not pid or not started:
        return None
    from cratebox.engine.witness import Witness

    made_up = state.State("", os.path.basename(where), where, pid, started, process.boot_id(), 0.0)
    try:
        return Witness(made_up, process.open_pidfd(pid, started))
    except ProcessLookupError:
        return None


def restore_state(where: str, state_directory: str) -> None:
    """Write the state of a container's process again that somebody has deleted: its supervisor has the file open.
    Raises StorageError.
    """
    link = f"{state_directory}/state.json (deleted)"
    for holder in _holders(where):
        for path in _descriptors(holder):
            try:
                if os.readlink(path) != link:
                    continue
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                state.restore(private_directory(state_directory), fd)
            finally:
                os.close(fd)


def rouse(where: str) -> None:
    """Let the supervisor and guardian of a container go on where somebody has stopped them by a signal.

    They are told by the lock alone: one that was stopped while it fell asleep, or woke, has not got its name yet.
    """
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if not _is_stopped(name):
                continue
            lock = os.stat(where + "/lock")
            if not any(os.path.samestat(os.stat(path), lock) for path in _descriptors(int(name))):
                continue
            pidfd = os.pidfd_open(int(name))
            try:
                process.send_signal(pidfd, _SIGCONT)
            finally:
                os.close(pidfd)
        except OSError:
            continue  # it has ended, or is somebody else's


def _is_stopped(pid: str) -> bool:
    text = read_text(f"/proc/{pid}/stat")
    return text[text.rindex(")") + 2] == "T"


def _holders(where: str) -> list[int]:
    try:
        lock = os.stat(where + "/lock")
    except OSError:
        return []
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and _holds(int(name), lock)]


def _is_probe(pid: int) -> bool:
    """Tell whether that child of a supervisor runs a health command."""
    try:
        return read_text(f"/proc/{pid}/comm") == "crate-health\n"
    except OSError:
        return True  # it has ended


def _holds(pid: int, lock: os.stat_result) -> bool:
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            if file.read().strip() not in _SUPERVISORS:
                return False
        return any(os.path.samestat(os.stat(path), lock) for path in _descriptors(pid))
    except OSError:
        return False  # it has ended, or is somebody else's


def _descriptors(pid: int) -> list[str]:
    try:
        return [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return []


def remove_cgroup(where: str, identity: str, rootless: bool) -> None:
    """Remove the cgroup that a supervisor which was killed has left; `where` is the container's directory.

    The container's first process dies with its supervisor where that was still making it, a moment later.
    """
    from cratebox.cgroup import detect

    deadline = time.monotonic() + _SECONDS_TO_DIE
    while True:
        try:
            detect.driver("", rootless).create(_cgroup_path(where, identity)).remove()
        except Conflict:
            if time.monotonic() < deadline:
                time.sleep(_PAUSE)
                continue
        except (CrateError, OSError):
            pass  # what is left is for `system prune`
        return


def _cgroup_path(where: str, identity: str) -> str:
    """Return what the spec of the last start says, or what it says of most where that is damaged."""
    from cratebox import jsontext
    from cratebox.engine.specgen import cgroup_path

    try:
        with open(where + "/config.json", "rb", opener=_at_once) as file:
            found = jsontext.loads(file.read(1 << 24))["linux"]["cgroupsPath"]
    except (OSError, jsontext.JSONError, KeyError, TypeError):
        found = ""
    return found if isinstance(found, str) and found.endswith(cgroup_path(identity)) else cgroup_path(identity)


def _at_once(path: str, flags: int) -> int:
    """Never wait for a writer, should a FIFO be there instead of the file."""
    return os.open(path, flags | os.O_NONBLOCK)
