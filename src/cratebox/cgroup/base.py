"""What all drivers share: the cgroup of one container, and the driver that makes it. detect.py says which one a machine has.

A container has one directory in each hierarchy of cgroup v1, or one in cgroup v2 (cgroups(7)), below the place that is ours:

    driver = detect.driver("", rootless=False)
    cgroup = driver.create("crate/<id>", resources)   # directories, limits, device rules
    cgroup.join()                                      # in the child; or clone3 with cgroup.fd_for_clone()
    cgroup.close()                                     # in the parent, once the child is inside
    cgroup.kill(); cgroup.remove()                     # from_paths(cgroup.paths()) does it from another process

Where `driver.needs_pid`, the process must be there first, and is inside when `create(path, resources, pid)` returns.
"""

from __future__ import annotations

import os
import time

from cratebox.cgroup import tree
from cratebox.errors import InvalidValue, NotFound, RuntimeFailure, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.cgroup.model import Resources
    from cratebox.cgroup.oom import OOMWatch


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

    def add(self, pid: int) -> None:
        """Move process `pid` inside. Raises OSError, RuntimeFailure."""
        raise NotImplementedError

    def give(self, uid: int) -> None:
        """Let the host's user `uid` run it from inside, where that is safe: on v2 (config-linux.md, Cgroup ownership).
        Raises OSError.
        """

    def close(self) -> None:
        """Close the descriptors kept for `join` and `fd_for_clone`; both may be called again all the same."""

    def paths(self) -> dict[str, str]:
        """Return what `from_paths` takes, for the state file: the directories, and what else a driver must know again."""
        return dict(self.directories)

    def below(self, paths: dict[str, str]) -> Cgroup:
        """Return the cgroups in this one that `paths` name by controller, "" for all of them;
        other controllers stay at this one.

        Raises InvalidValue for what could leave it and for a controller that it has not, NotFound where there is none.
        """
        found = dict(self.directories)
        for controller, path in paths.items():
            path = tree.checked_path(path)
            moved = [names for names in found if not controller or controller in names.split(",")]
            if not moved or (controller and "unified" in moved):
                raise InvalidValue(
                    f"--cgroup {controller}:{path}: the container has no cgroup of a controller {controller!a} alone",
                    "cgroup v2 has one for all: give the path alone",
                )
            for names in moved:
                found[names] = f"{self.directories[names]}/{path}"
                if not os.path.isdir(found[names]):
                    raise NotFound(f"cgroup {path} does not exist in the container")
        return from_paths(found)

    def beside(self, pid: int) -> Cgroup:  # noqa: ARG002  v2 needs it
        """Return what to join to be with process `pid` of this cgroup: this one, unless it takes no process any more."""
        return self

    def update(self, resources: Resources) -> None:
        """Set what `resources` gives and leave the rest; where something of it is refused, what was changed is set back.

        Raises InvalidValue, Unsupported, RuntimeFailure as `Driver.create`; NotFound where the cgroup is gone.
        """
        raise NotImplementedError

    def freeze(self) -> None:
        """Stop every process inside, and return when all have stopped. Raises RuntimeFailure, Unsupported, NotFound."""
        raise NotImplementedError

    def thaw(self) -> None:
        """Let them go on. Raises as `freeze`."""
        raise NotImplementedError

    def is_frozen(self) -> bool:
        """Say whether the processes are stopped, or being stopped. Never raises: a cgroup that is gone is not frozen."""
        raise NotImplementedError

    def stats(self) -> dict[str, Any]:
        """Return what is used and what is allowed, as "data" of the events that `crate-oci events` prints (see stats.py).

        Bytes and nanoseconds. What the kernel does not count is left out. Raises nothing for a cgroup that is gone.
        """
        raise NotImplementedError

    def watch_oom(self) -> OOMWatch:
        """Return what tells when the kernel kills a process for want of memory. Raises Unsupported, NotFound."""
        raise NotImplementedError

    def pids(self) -> list[int]:
        """Return the processes inside, those in cgroups below included, as this process's PID namespace numbers them."""
        return tree.processes(self.tracked()) if self.directories else []

    def signal(self, number: int) -> int:
        """Send signal `number` to the processes that are inside now; return to how many. Raises OSError."""
        return tree.signal_each(self.tracked(), number) if self.directories else 0

    def kill(self) -> None:
        """Send SIGKILL to every process inside, also to those that are being born or frozen. Does not wait. Raises OSError."""
        raise NotImplementedError

    def remove(self) -> None:
        """Remove the directories and what is below them, in every hierarchy, and close what is open.

        What was killed a moment ago may still be there: waits for it, 5 seconds in all. Raises RuntimeFailure then; what
        could be removed is. The cgroups above belong to whoever named them, and stay.
        """
        self.close()
        deadline = time.monotonic() + tree.SECONDS_TO_EMPTY
        failed = [error for path in self.directories.values() if (error := tree.remove_tree(path, deadline))]
        if failed:
            raise RuntimeFailure(f"cannot remove cgroup {failed[0]}", "processes in it are still alive")

    def tracked(self) -> str:
        """Return the directory that is asked for processes."""
        return next(iter(self.directories.values()))


class Driver:
    """Makes cgroups. `name` is "v1", "v2", "systemd" or "disabled"; `reason` says why there are none."""

    name = ""
    reason = ""
    born_inside = False  # clone3 can begin a process in the cgroup (`Cgroup.fd_for_clone`), which is then made before it
    needs_pid = False  # the process must be there before its cgroup

    def default_path(self, name: str) -> str:
        """Return the cgroupsPath of a container `name` whose spec gives none."""
        return f"crate-oci/{name}"

    def check_path(self, path: str) -> None:
        """Raise InvalidValue unless `create` can take `path`, a linux.cgroupsPath. Before anything exists."""
        tree.checked_path(path)

    def heed(self, annotations: dict[str, str]) -> None:
        """Take what a spec's annotations say to this driver, before anything exists. Raises InvalidValue."""

    def create(self, path: str, resources: Resources | None = None, pid: int = 0) -> Cgroup:
        """Make the cgroup `path` ("crate/<id>") with limits and device rules.
        `pid` is for drivers that need it: it is inside then.

        To others it says nothing: being moved takes a lock over all processes of the machine, which joining can do without.
        Either it is there whole afterwards or nothing is. Raises InvalidValue for a path or a value that is none, Conflict
        where a cgroup of that path has processes, Unsupported for a limit that this machine cannot set, RuntimeFailure
        where the kernel refuses.
        """
        raise NotImplementedError

    def clear(self, path: str) -> None:
        """Remove what a create that died has left at `path`: no process is ended. Raises Conflict where there is one.

        Making the directories again finds them.
        """
        self.create(path).remove()


class Disabled(Driver):
    """No cgroups for us: containers stay in the caller's, without limits of their own.

    `chosen`: the user wants it so, and with it that device rules do not hold.
    """

    name = "disabled"

    def __init__(self, reason: str, hint: str | None = None, chosen: bool = False) -> None:
        self.reason = reason
        self.hint = hint
        self.chosen = chosen

    def create(self, path: str, resources: Resources | None = None, pid: int = 0) -> Cgroup:  # noqa: ARG002  the others need them
        """Return a cgroup that is none; raises Unsupported where limits were asked for."""
        from cratebox.cgroup.model import limits_in

        limits = limits_in(resources)
        if limits:
            raise Unsupported(f"cannot limit {limits[0]}: {self.reason}", self.hint)
        rules = resources.devices if resources and not self.chosen else ()
        if os.geteuid() == 0 and any(not rule.allow for rule in rules):
            # Without them a container that may make nodes could open every device of the machine.
            raise Unsupported(f"cannot keep a container from the machine's devices: {self.reason}", self.hint)
        return NoCgroup({})


class NoCgroup(Cgroup):
    """What a container without a cgroup of its own has."""

    def join(self) -> None:
        """Stay where we are."""

    def join_fds(self) -> tuple[int, ...]:
        """There is nothing to be written to."""
        return ()

    def add(self, pid: int) -> None:
        """Leave it where it is."""

    def update(self, resources: Resources) -> None:  # noqa: ARG002  the others need it
        """There is nothing to change."""
        raise _nothing("limit")

    def freeze(self) -> None:
        """There is nothing to freeze."""
        raise _nothing("pause")

    def thaw(self) -> None:
        """There is nothing to thaw."""
        raise _nothing("resume")

    def is_frozen(self) -> bool:
        """Never."""
        return False

    def stats(self) -> dict[str, Any]:
        """Nothing is counted."""
        raise _nothing("count what is used by")

    def watch_oom(self) -> OOMWatch:
        """Nobody tells."""
        raise _nothing("watch the memory of")

    def kill(self) -> None:
        """Nobody is inside."""


def _nothing(what: str) -> Unsupported:
    return Unsupported(f"cannot {what} this container: it has no cgroup of its own")


def from_paths(paths: dict[str, str]) -> Cgroup:
    """Return the cgroup that `Cgroup.paths` described, in this or another process. Nothing is checked."""
    if not paths:
        return NoCgroup({})
    if "unit" in paths:
        from cratebox.cgroup.systemd import cgroup_of

        return cgroup_of(paths)
    if paths.keys() == {"unified"}:
        from cratebox.cgroup.v2 import V2Cgroup

        return V2Cgroup(paths)
    from cratebox.cgroup.v1 import V1Cgroup

    return V1Cgroup(paths)
