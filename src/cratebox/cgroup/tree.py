"""Cgroups as directories: made, read, written, searched for processes, removed. Alike in v1 and v2."""

from __future__ import annotations

import os
import time

from cratebox.errors import Conflict, InvalidValue
from cratebox.linux import pidfds
from cratebox.linux.procfs import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_EBUSY = 16
SECONDS_TO_EMPTY = 5.0
_SIGKILL = 9
_HELD_AT_ONCE = 64  # pidfds: a process may have 1024 descriptors


def checked_path(path: str) -> str:
    """Return `path` ("crate/<id>", or absolute as in cgroupsPath) relative.
    Raises InvalidValue for one that could leave its place.
    """
    parts = [part for part in path.split("/") if part]
    if not parts or any(part in {".", ".."} or "\n" in part or "\0" in part or len(part) > 255 for part in parts):
        raise InvalidValue(f"not a path of a cgroup: {path!r}")
    return "/".join(parts)


def make(directory: str, prepare_parent: Callable[[str], None] | None = None) -> bool:
    """Make a cgroup and, where missing, those above it, the last handed to `prepare_parent`. False where it was there.

    Raises Conflict where it was there with processes in it, OSError.
    """
    try:
        os.mkdir(directory, 0o755)
    except FileNotFoundError:
        parent = os.path.dirname(directory)
        try:
            make(parent)
        except Conflict:
            pass  # somebody else made it meanwhile
        if prepare_parent:
            prepare_parent(parent)
        return make(directory)
    except FileExistsError:
        inside = processes(directory)
        if inside:
            raise Conflict(f"cgroup {directory} is in use by process {inside[0]}") from None
        return False
    return True


def write(directory: str, file: str, *values: str) -> None:
    """Write each of `values` to a file of a cgroup, in a write of its own. Raises OSError that names both."""
    path, value = f"{directory}/{file}", ""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for value in values:
                os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise OSError(error.errno, f"write {value!r} to {path}: {error.strerror}") from None


def read(directory: str, file: str) -> str:
    """Return the content of a file of a cgroup without the space around it. Raises OSError."""
    return read_text(f"{directory}/{file}").strip()


def processes(directory: str) -> list[int]:
    """Return the PIDs in a cgroup and those below it; [] where it is gone."""
    try:
        found = [int(line) for line in read(directory, "cgroup.procs").split()]
    except OSError:
        return []  # gone; or, in v2, a threaded one, whose processes are listed above it
    for child in children(directory):
        found += processes(child)
    return [pid for pid in found if pid]  # 0: of a PID namespace that we do not see


def signal_each(cgroup: str, number: int) -> int:
    """Send signal `number` to the processes in `cgroup` and below; return how many were there.

    A number from cgroup.procs may be another process's by the time it is used. So each is held by a pidfd first, and must then
    still be listed. Raises PermissionError.
    """
    found = processes(cgroup)
    for first in range(0, len(found), _HELD_AT_ONCE):
        held = _hold(found[first : first + _HELD_AT_ONCE])
        try:
            inside = set(processes(cgroup))
            for pid, pidfd in held:
                if pid in inside:
                    _signal(pidfd, number)
        finally:
            for _pid, pidfd in held:
                os.close(pidfd)
    return len(found)


def _hold(pids: list[int]) -> list[tuple[int, int]]:
    held = []
    for pid in pids:
        try:
            held.append((pid, os.pidfd_open(pid)))
        except ProcessLookupError:
            pass
        except OSError:
            for _pid, pidfd in held:
                os.close(pidfd)
            raise
    return held


def _signal(pidfd: int, number: int) -> None:
    try:
        pidfds.send_signal(pidfd, number)
    except ProcessLookupError:
        pass  # it has just ended


def kill_each(cgroup: str) -> None:
    """Send SIGKILL to the processes in `cgroup` until no new ones appear. For kernels without cgroup.kill."""
    killed: set[int] = set()
    for _ in range(100):
        listed = set(processes(cgroup))
        if listed <= killed:
            return
        signal_each(cgroup, _SIGKILL)
        killed |= listed


def children(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def remove_tree(directory: str, deadline: float) -> str | None:
    """Remove a cgroup and those below it; return what failed, or None."""
    pause = 0.001
    while True:
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != _EBUSY or time.monotonic() > deadline:
                return f"{directory}: {error.strerror}"
        else:
            return None
        nested = children(directory)
        failed = [problem for child in nested if (problem := remove_tree(child, deadline))]
        if failed:
            return failed[0]
        if not nested:
            time.sleep(pause)  # processes that are dying
            pause = min(pause * 2, 0.05)
