"""What all drivers share: the cgroup of one container, the driver that makes them, and which driver this machine has.

A container has one directory in each hierarchy of cgroup v1, or one in cgroup v2 (cgroups(7)), below the place that is ours:

    driver = detect(rootless=False)
    cgroup = driver.create("crate/<id>", resources)   # directories, limits, device rules
    cgroup.join()                                      # in the child; or clone3 with cgroup.fd_for_clone()
    cgroup.close()                                     # in the parent, once the child is inside
    cgroup.kill(); cgroup.remove()                     # from_paths(cgroup.paths()) does it from another process
"""

from __future__ import annotations

import os
import time

from cratebox.errors import Conflict, InvalidValue, RuntimeFailure, Unsupported
from cratebox.linux import process
from cratebox.linux.procfs import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cratebox.cgroup.mounts import Unified

_EBUSY = 16
_SECONDS_TO_EMPTY = 5.0
_SIGKILL = 9
_HELD_AT_ONCE = 64  # pidfds: a process may have 1024 descriptors


class Cgroup:
    """The cgroup of one container. `directories` are absolute, by the hierarchy's controllers ("cpu,cpuacct", "unified")."""

    def __init__(self, directories: dict[str, str]) -> None:
        self.directories = directories

    def join(self) -> None:
        """Move the calling process inside. Raises OSError. Cheap: for a child between fork and execve."""
        raise NotImplementedError

    def join_fds(self) -> tuple[int, ...]:
        """Return descriptors that take the calling process inside when it writes "0" to each, for one that cannot open
        them itself. `close` closes them. Raises OSError.
        """
        raise NotImplementedError

    def fd_for_clone(self) -> int | None:
        """Return a directory for clone3's CLONE_INTO_CGROUP, whose child need not join any more; None where there is none."""
        return None

    def close(self) -> None:
        """Close the descriptors kept for `join` and `fd_for_clone`; both may be called again all the same."""

    def paths(self) -> dict[str, str]:
        """Return what `from_paths` takes, for the state file."""
        return dict(self.directories)

    def pids(self) -> list[int]:
        """Return the processes inside, those in cgroups below included, as this process's PID namespace numbers them."""
        return processes(self._tracked()) if self.directories else []

    def signal(self, number: int) -> int:
        """Send signal `number` to the processes that are inside now; return to how many. Raises OSError."""
        return signal_each(self._tracked(), number) if self.directories else 0

    def kill(self) -> None:
        """Send SIGKILL to every process inside, also to those that are being born. Does not wait. Raises OSError."""
        raise NotImplementedError

    def remove(self) -> None:
        """Remove the directories and what is below them, in every hierarchy, and close what is open.

        What was killed a moment ago may still be there: waits for it, 5 seconds in all. Raises RuntimeFailure then; what
        could be removed is.
        """
        self.close()
        deadline = time.monotonic() + _SECONDS_TO_EMPTY
        failed = [error for path in self.directories.values() if (error := _remove_tree(path, deadline))]
        if failed:
            raise RuntimeFailure(f"cannot remove cgroup {failed[0]}", "processes in it are still alive")

    def _tracked(self) -> str:
        """Return the directory that is asked for processes."""
        return next(iter(self.directories.values()))


class Driver:
    """Makes cgroups. `name` is "v1", "v2" or "disabled", then `reason` says why.

    `born_inside`: a child of clone3 begins its life in the cgroup (`Cgroup.fd_for_clone`), which is then made before it.
    """

    name = ""
    reason = ""
    born_inside = False

    def create(self, path: str, resources: dict[str, Any] | None = None) -> Cgroup:
        """Make the cgroup `path` ("crate/<id>") with the limits and device rules of an OCI linux.resources.

        Either it is there whole afterwards or nothing is. Raises InvalidValue for a path or a value that is none, Conflict
        where a cgroup of that path has processes, Unsupported for a limit that this machine or crate cannot set,
        RuntimeFailure where the kernel refuses.
        """
        raise NotImplementedError


class Disabled(Driver):
    """No cgroups for us: containers stay in the caller's, without limits of their own."""

    name = "disabled"

    def __init__(self, reason: str, hint: str | None = None) -> None:
        self.reason = reason
        self.hint = hint

    def create(self, path: str, resources: dict[str, Any] | None = None) -> Cgroup:  # noqa: ARG002  the other drivers need it
        """Return a cgroup that is none; raises Unsupported where limits were asked for."""
        from cratebox.cgroup.resources import limits_in

        limits = limits_in(resources)
        if limits:
            raise Unsupported(f"cannot limit {limits[0]}: {self.reason}", self.hint)
        rules = (resources or {}).get("devices") or []
        if os.geteuid() == 0 and any(rule.get("allow") is False for rule in rules):
            # Without them a container that may make nodes could open every device of the machine.
            raise Unsupported(f"cannot keep a container from the machine's devices: {self.reason}", self.hint)
        return _NoCgroup({})


class _NoCgroup(Cgroup):
    def join(self) -> None:
        """Stay where we are."""

    def join_fds(self) -> tuple[int, ...]:
        """There is nothing to be written to."""
        return ()

    def kill(self) -> None:
        """Nobody is inside."""


def detect(rootless: bool) -> Driver:
    """Return the driver for this machine and user; never raises, see `Disabled.reason`.

    v1 wherever the controllers are in v1 hierarchies, which takes root; v2 where there is only that, and for a
    `rootless` caller where a cgroup of v2 has been delegated to it (as systemd does for each user's own services).
    """
    from cratebox.cgroup import mounts

    try:
        hierarchies, unified = mounts.find()
    except OSError as error:
        return Disabled(f"cannot read /proc/self: {error.strerror}")
    if rootless:
        return _rootless(unified)
    if hierarchies:
        from cratebox.cgroup.v1 import V1

        writable = tuple(one for one in hierarchies if os.access(one[1], os.W_OK))
        if writable:
            return V1(writable)
    elif unified and os.access(unified.mountpoint, os.W_OK):
        from cratebox.cgroup.v2 import V2

        return V2(unified.mountpoint)
    if hierarchies or unified:
        return Disabled("the cgroup file systems are read-only here")
    return Disabled("no cgroup file system is mounted", "mount -t cgroup2 none /sys/fs/cgroup")


def _rootless(unified: Unified | None) -> Driver:
    from cratebox.cgroup.v2 import V2, delegated

    if not unified:
        return Disabled("without root, limits take cgroup v2, which is not mounted here")
    base = delegated(unified)
    if not base:
        return Disabled(
            "no cgroup has been delegated to this user", "run crate below systemd-run --user --scope, which makes one"
        )
    return V2(base, rootless=True)


def from_paths(paths: dict[str, str]) -> Cgroup:
    """Return the cgroup that `Cgroup.paths` described, in this or another process. Nothing is checked."""
    if not paths:
        return _NoCgroup({})
    if "unified" in paths:
        from cratebox.cgroup.v2 import V2Cgroup

        return V2Cgroup(paths)
    from cratebox.cgroup.v1 import V1Cgroup

    return V1Cgroup(paths)


def checked_path(path: str) -> str:
    """Return `path` ("crate/<id>", or absolute as in cgroupsPath) relative. Raises InvalidValue for one that could leave its place."""
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
    for child in _children(directory):
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
        process.send_signal(pidfd, number)
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


def _children(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _remove_tree(directory: str, deadline: float) -> str | None:
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
        nested = _children(directory)
        failed = [problem for child in nested if (problem := _remove_tree(child, deadline))]
        if failed:
            return failed[0]
        if not nested:
            time.sleep(pause)  # processes that are dying
            pause = min(pause * 2, 0.05)
