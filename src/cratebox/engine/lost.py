"""Containers whose own records tell nothing (damaged files, a killed supervisor): what of them is found on the machine."""

from __future__ import annotations

import os
import time

from cratebox.errors import Conflict, CrateError
from cratebox.linux.procfs import read_text

_SUPERVISORS = (b"crate-superviso", b"crate-guardian")  # as the kernel cuts them

_SECONDS_TO_DIE, _PAUSE = 2.0, 0.01


def first_process(where: str) -> int | None:
    """Return the pid of the container whose directory is `where`, found through its supervisor or guardian; None where there is none.

    A supervisor is told by the container's lock, which it has open: by device and inode, for a path can be made up.
    """
    try:
        lock = os.stat(where + "/lock")
    except OSError:
        return None
    holders = [name for name in os.listdir("/proc") if name.isdigit() and _holds(name, lock)]
    children = [child for name in holders for child in read_text(f"/proc/{name}/task/{name}/children").split()]
    return next((int(child) for child in children if child not in holders), None)


def _holds(pid: str, lock: os.stat_result) -> bool:
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            if file.read().strip() not in _SUPERVISORS:
                return False
        return any(os.path.samestat(os.stat(f"/proc/{pid}/fd/{fd}"), lock) for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False  # it has ended, or is somebody else's


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
