"""cgroup v1: a hierarchy for each controller, a directory of the container in every one of them.

In a hybrid layout v2 is mounted beside them, and has the controllers that v1 does not: a limit of one of those gives the
container a directory there as well.
"""

from __future__ import annotations

import os
import time

from cratebox.cgroup import base, tree
from cratebox.errors import NotFound, RuntimeFailure, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.cgroup.model import Resources
    from cratebox.cgroup.oom import OOMWatch
    from cratebox.cgroup.resources import Write
    from cratebox.cgroup.v2 import V2Cgroup

_ENOENT, _ENODEV = 2, 19
_SECONDS_TO_FREEZE = 10.0
# The groups of limits with their controller in v1 and in v2.
_GROUPS = (
    ("memory", "memory", "memory"), ("cpu", "cpu", "cpu"), ("pids", "pids", "pids"), ("block_io", "blkio", "io"),
    ("hugepage_limits", "hugetlb", "hugetlb"), ("rdma", "rdma", "rdma"),
)  # fmt: skip


class V1(base.Driver):
    """`hierarchies`: ((controllers, mountpoint), ...); `unified`: where v2 is mounted, or ""."""

    name = "v1"

    def __init__(self, hierarchies: tuple[tuple[str, str], ...], unified: str = "") -> None:
        self.hierarchies = hierarchies
        self.unified = unified

    def create(self, path: str, resources: Resources | None = None, pid: int = 0) -> V1Cgroup:  # noqa: ARG002  it joins by itself
        """Make the directories, write limits and device rules, and open what `join` writes to."""
        path = tree.checked_path(path)
        ours, others = _divided(resources, {name for names, _ in self.hierarchies for name in names.split(",")}, self.unified)
        writes = _writes(ours)
        cgroup = V1Cgroup({controllers: f"{mountpoint}/{path}" for controllers, mountpoint in self.hierarchies})
        made: dict[str, str] = {}
        try:
            for controllers, directory in cgroup.directories.items():
                if tree.make(directory):
                    made[controllers] = directory
                if "cpuset" in controllers.split(","):
                    fill_cpuset(directory)
            if others:
                made["unified"] = cgroup.directories["unified"] = self._make_unified(path, others)
            if resources and resources.devices:
                cgroup.set_devices(resources)
            if writes:
                _apply(cgroup.directories, writes)
            cgroup.open()
        except BaseException as error:
            cgroup.close()
            V1Cgroup(made).remove()
            if isinstance(error, OSError):
                raise RuntimeFailure(f"cannot make cgroup {path}: {error.strerror}") from None
            raise
        return cgroup

    def _make_unified(self, path: str, resources: Resources) -> str:
        from cratebox.cgroup.v2 import V2

        return V2(self.unified).create(path, resources).directory


def _divided(resources: Resources | None, controllers: set[str], unified: str) -> tuple[Resources | None, Resources | None]:
    """Return what is for v1, and what v2 at `unified` has the controllers for and v1 has not; None for nothing."""
    if resources is None or resources.__dict__.keys() <= {"devices"} or not unified:
        return resources, None
    from cratebox.cgroup.model import Resources

    try:
        there = tree.read(unified, "cgroup.controllers").split()
    except OSError:
        there = []
    moved = {}
    for group, in_v1, in_v2 in _GROUPS:
        if resources.__dict__.get(group) and in_v1 not in controllers and in_v2 in there:
            moved[group] = resources.__dict__[group]
    if resources.unified and there:
        moved["unified"] = resources.unified
    if not moved:
        return resources, None
    stay = {group: value for group, value in resources.__dict__.items() if group not in moved}
    return Resources(**stay), Resources(**moved)


def _writes(resources: Resources | None) -> list[Write]:
    """Return the limits to write. Raises InvalidValue, Unsupported."""
    if resources is None or resources.__dict__.keys() <= {"devices"}:
        return []
    from cratebox.cgroup.files_v1 import for_v1
    from cratebox.cgroup.resources import check

    check(resources)
    return for_v1(resources)


def _apply(directories: dict[str, str], writes: list[Write], in_use: bool = False) -> None:
    from cratebox.cgroup import limits

    alone = {name: directory for names, directory in directories.items() for name in names.split(",")}
    (limits.change if in_use else limits.apply)(alone, writes)


def fill_cpuset(directory: str) -> None:
    """Give a cgroup of the cpuset hierarchy its parent's processors and memory, where it has none.

    An empty cpuset can hold no process, and that is how one begins, unless the parent says clone_children: ours does
    from the first time on, so that this costs one read.
    """
    if tree.read(directory, "cpuset.cpus"):
        return
    parent = os.path.dirname(directory)
    fill_cpuset(parent)
    for file in ("cpuset.cpus", "cpuset.mems"):
        tree.write(directory, file, tree.read(parent, file))
    tree.write(directory, "cgroup.clone_children", "1")


class V1Cgroup(base.Cgroup):
    """A directory in each hierarchy; one more in v2 ("unified") where limits are there."""

    def __init__(self, directories: dict[str, str]) -> None:
        super().__init__(directories)
        self._tasks: list[int] = []

    def open(self) -> None:
        """Open what `join` writes to. Done before the fork, since a child in a user namespace may not open it any more."""
        self.close()
        for controllers, directory in self.directories.items():
            file = "cgroup.procs" if controllers == "unified" else "tasks"
            self._tasks.append(os.open(f"{directory}/{file}", os.O_WRONLY | os.O_CLOEXEC))

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

    def add(self, pid: int) -> None:
        """Write it to cgroup.procs, in every hierarchy."""
        for directory in self.directories.values():
            tree.write(directory, "cgroup.procs", str(pid))

    def close(self) -> None:
        """Close the descriptors of `open`."""
        for fd in self._tasks:
            os.close(fd)
        self._tasks = []

    def set_devices(self, resources: Resources) -> None:
        """Write the device rules; in between nothing is allowed. Raises OSError, InvalidValue, Unsupported."""
        from cratebox.cgroup import devices

        directory = self.find("devices")
        files: list[tuple[str, list[str]]] = []
        for file, line in devices.v1_lines(resources.devices):
            if not directory:
                raise Unsupported(f"cannot set {file}: this machine has no devices cgroup controller")
            if files and files[-1][0] == file:
                files[-1][1].append(line)
            else:
                files.append((file, [line]))
        for file, lines in files:
            tree.write(directory, file, *lines)

    def apply(self, resources: Resources) -> None:
        """Write the limits to a cgroup that is new. Raises InvalidValue, Unsupported, RuntimeFailure."""
        writes = _writes(resources)
        if writes:
            _apply(self.directories, writes)

    def update(self, resources: Resources) -> None:
        """Write the limits; device rules while nobody runs, for in between nothing is allowed."""
        self._must_be_there()
        names = {name for names in self.directories for name in names.split(",")}
        ours, others = _divided(resources, names, self.directories.get("unified", ""))
        writes = _writes(ours)
        if writes:
            _apply(self.directories, writes, in_use=True)
        if others:
            self._unified().update(others)
        if resources.devices:
            self._update_devices(resources)

    def _update_devices(self, resources: Resources) -> None:
        running = not self.is_frozen() and self.find("freezer")
        if running:
            self.freeze()
        try:
            self.set_devices(resources)
        except OSError as error:
            raise RuntimeFailure(f"cannot set devices: {error.strerror}") from None
        finally:
            if running:
                self.thaw()

    def _unified(self) -> V2Cgroup:
        from cratebox.cgroup.v2 import V2Cgroup

        return V2Cgroup({"unified": self.directories["unified"]})

    def freeze(self) -> None:
        """Write FROZEN until it is so: processes that are being born may need to be told again."""
        directory = self._freezer()
        deadline = time.monotonic() + _SECONDS_TO_FREEZE
        pause = 0.001
        while True:
            try:
                tree.write(directory, "freezer.state", "FROZEN")
                if tree.read(directory, "freezer.state") == "FROZEN":
                    return
            except OSError as error:
                if error.errno in {_ENOENT, _ENODEV}:
                    raise NotFound(f"the cgroup {directory} is gone") from None
                raise RuntimeFailure(f"cannot pause: {error.strerror}") from None
            if time.monotonic() > deadline:
                _thaw(directory)
                raise RuntimeFailure(
                    "cannot pause: a process does not stop", "one that waits for a disk or a network file system"
                )
            time.sleep(pause)
            pause = min(pause * 2, 0.1)

    def thaw(self) -> None:
        """Write THAWED. What a cgroup above it froze stays frozen."""
        directory = self._freezer()
        try:
            tree.write(directory, "freezer.state", "THAWED")
        except OSError as error:
            if error.errno in {_ENOENT, _ENODEV}:
                raise NotFound(f"the cgroup {directory} is gone") from None
            raise RuntimeFailure(f"cannot resume: {error.strerror}") from None
        if self.is_frozen():
            raise RuntimeFailure("cannot resume: a cgroup above it is frozen", f"thaw it: {os.path.dirname(directory)}")

    def is_frozen(self) -> bool:
        """Ask the freezer."""
        directory = self.find("freezer")
        try:
            return bool(directory) and tree.read(directory, "freezer.state") != "THAWED"
        except OSError:
            return False

    def stats(self) -> dict[str, Any]:
        """Read the files of every controller."""
        from cratebox.cgroup import stats

        found = stats.of_v1({name: directory for names, directory in self.directories.items() for name in names.split(",")})
        if "unified" in self.directories:
            found["hugetlb"] = stats.hugepages_of_v2(self.directories["unified"]) or found["hugetlb"]
        return found

    def watch_oom(self) -> OOMWatch:
        """Let the memory controller write to an eventfd."""
        from cratebox.cgroup import oom

        directory = self.find("memory")
        if not directory:
            raise Unsupported("cannot watch the memory: this machine has no memory cgroup controller")
        return oom.watch_v1(directory)

    def kill(self) -> None:
        """Freeze, kill, thaw: what is frozen cannot fork away."""
        if not tree.processes(self.tracked()):
            return  # as after most ends
        freezer = self.find("freezer")
        try:
            if freezer:
                tree.write(freezer, "freezer.state", "FROZEN")
            tree.kill_each(self.tracked())
        except OSError as error:
            if error.errno not in {_ENOENT, _ENODEV}:  # gone
                raise
        finally:
            if freezer:
                _thaw(freezer)

    def find(self, controller: str) -> str:
        """Return the directory in the hierarchy of `controller`, or "" where there is none."""
        for controllers, directory in self.directories.items():
            if controller in controllers.split(","):
                return directory
        return ""

    def _freezer(self) -> str:
        directory = self.find("freezer")
        if not directory:
            raise Unsupported("cannot pause or resume: this machine has no freezer cgroup controller")
        self._must_be_there()
        return directory

    def _must_be_there(self) -> None:
        if not os.path.isdir(self.tracked()):
            raise NotFound(f"the cgroup {self.tracked()} is gone")

    def tracked(self) -> str:
        return self.find("freezer") or super().tracked()


def _thaw(freezer: str) -> None:
    try:
        tree.write(freezer, "freezer.state", "THAWED")
    except OSError as error:
        if error.errno not in {_ENOENT, _ENODEV}:  # gone
            raise
