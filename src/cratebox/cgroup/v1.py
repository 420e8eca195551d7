"""cgroup v1: a hierarchy for each controller, a directory of the container in every one of them."""

from __future__ import annotations

import os

from cratebox.cgroup import base
from cratebox.errors import RuntimeFailure, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ENOENT = 2


class V1(base.Driver):
    """`hierarchies`: ((controllers, mountpoint), ...)."""

    name = "v1"

    def __init__(self, hierarchies: tuple[tuple[str, str], ...]) -> None:
        self.hierarchies = hierarchies

    def create(self, path: str, resources: dict[str, Any] | None = None) -> V1Cgroup:
        """Make the directories, write limits and device rules, and open what `join` writes to."""
        path = base.checked_path(path)
        writes = self._writes(resources)
        cgroup = V1Cgroup({controllers: f"{mountpoint}/{path}" for controllers, mountpoint in self.hierarchies})
        made: dict[str, str] = {}
        try:
            for controllers, directory in cgroup.directories.items():
                if base.make(directory):
                    made[controllers] = directory
                if "cpuset" in controllers.split(","):
                    _fill_cpuset(directory)
            for controllers, file, values in writes:
                base.write(cgroup.directories[controllers], file, *values)
            cgroup.open()
        except BaseException as error:
            cgroup.close()
            V1Cgroup(made).remove()
            if isinstance(error, OSError):
                raise RuntimeFailure(f"cannot make cgroup {path}: {error.strerror}") from None
            raise
        return cgroup

    def _writes(self, resources: dict[str, Any] | None) -> list[tuple[str, str, list[str]]]:
        """Return (hierarchy, file, values) for limits and device rules. Raises Unsupported where a controller is missing."""
        if not resources:
            return []
        from cratebox.cgroup import devices
        from cratebox.cgroup.resources import for_v1

        wanted = [("devices", file, value) for file, value in devices.v1_lines(resources.get("devices") or [])]
        wanted += for_v1(resources)
        found = {name: controllers for controllers, _ in self.hierarchies for name in controllers.split(",")}
        writes: list[tuple[str, str, list[str]]] = []
        for controller, file, value in wanted:
            if controller not in found:
                raise Unsupported(f"cannot set {file}: this machine has no {controller} cgroup controller")
            if writes and writes[-1][1] == file:
                writes[-1][2].append(value)
            else:
                writes.append((found[controller], file, [value]))
        return writes


def _fill_cpuset(directory: str) -> None:
    """Give a cgroup of the cpuset hierarchy its parent's processors and memory, where it has none.

    An empty cpuset can hold no process, and that is how one begins, unless the parent says clone_children: ours does
    from the first time on, so that this costs one read.
    """
    if base.read(directory, "cpuset.cpus"):
        return
    parent = os.path.dirname(directory)
    _fill_cpuset(parent)
    for file in ("cpuset.cpus", "cpuset.mems"):
        base.write(directory, file, base.read(parent, file))
    base.write(directory, "cgroup.clone_children", "1")


class V1Cgroup(base.Cgroup):
    """A directory in each hierarchy."""

    def __init__(self, directories: dict[str, str]) -> None:
        super().__init__(directories)
        self._tasks: list[int] = []

    def open(self) -> None:
        """Open what `join` writes to. Done before the fork, since a child in a user namespace may not open it any more."""
        self.close()
        for directory in self.directories.values():
            self._tasks.append(os.open(f"{directory}/tasks", os.O_WRONLY | os.O_CLOEXEC))

    def join(self) -> None:
        """Move the calling thread, in every hierarchy: `tasks` takes no lock over all processes, as cgroup.procs does."""
        if not self._tasks:
            self.open()
        for fd, directory in zip(self._tasks, self.directories.values(), strict=True):
            try:
                os.write(fd, b"0")
            except OSError as error:
                raise OSError(error.errno, f"join cgroup {directory}: {error.strerror}") from None

    def join_fds(self) -> tuple[int, ...]:
        """Return the open `tasks` of every hierarchy."""
        if not self._tasks:
            self.open()
        return tuple(self._tasks)

    def close(self) -> None:
        """Close the descriptors of `open`."""
        for fd in self._tasks:
            os.close(fd)
        self._tasks = []

    def kill(self) -> None:
        """Freeze, kill, thaw: what is frozen cannot fork away."""
        freezer = next((path for controllers, path in self.directories.items() if "freezer" in controllers.split(",")), None)
        try:
            if freezer:
                base.write(freezer, "freezer.state", "FROZEN")
            base.kill_each(self._tracked())
        except OSError as error:
            if error.errno != _ENOENT:  # gone
                raise
        finally:
            if freezer:
                _thaw(freezer)

    def _tracked(self) -> str:
        for controllers, directory in self.directories.items():
            if "freezer" in controllers.split(","):
                return directory
        return super()._tracked()


def _thaw(freezer: str) -> None:
    try:
        base.write(freezer, "freezer.state", "THAWED")
    except FileNotFoundError:
        pass
