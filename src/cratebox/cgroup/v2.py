"""cgroup v2: one hierarchy, controllers handed down from parent to child (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import os
import time

from cratebox.cgroup import base, tree
from cratebox.errors import NotFound, RuntimeFailure, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.cgroup.model import DeviceRule, Memory, Resources
    from cratebox.cgroup.mounts import Unified
    from cratebox.cgroup.oom import OOMWatch
    from cratebox.cgroup.resources import Write

_ENOENT, _ENODEV = 2, 19
_SECONDS_TO_FREEZE = 10.0
# What containers are given where the kernel has it: limits, and the figures of `stats`.
_USUAL = ("cpuset", "cpu", "io", "memory", "pids", "hugetlb", "rdma")


class V2(base.Driver):
    """`place`: the directory below which cgroups are made; the root or one delegated to an ordinary user."""

    name = "v2"
    born_inside = True

    def __init__(self, place: str, rootless: bool = False) -> None:
        self.place = place
        self.rootless = rootless

    def create(self, path: str, resources: Resources | None = None, pid: int = 0) -> V2Cgroup:  # noqa: ARG002  it joins by itself
        """Make the directory, hand controllers down to it, write limits, attach the program of the device rules."""
        path = tree.checked_path(path)
        writes = limits_of(resources)
        cgroup = V2Cgroup({"unified": f"{self.place}/{path}"})
        made = False
        try:
            made = tree.make(cgroup.directory, lambda parent: hand_down(self.place, parent, _USUAL))
            if writes:
                need_controllers(self.place, cgroup.directory, writes, self.rootless)
                cgroup.apply(writes)
            if resources and resources.devices and not self.rootless:  # it takes root; without, /dev holds bound nodes only
                cgroup.attach(resources.devices)
            cgroup.full = bool(resources and resources.pids and resources.pids.limit == 0)
        except BaseException as error:
            cgroup.close()
            if made:
                cgroup.remove()
            if isinstance(error, OSError):
                raise RuntimeFailure(f"cannot make cgroup {path}: {error.strerror}") from None
            raise
        return cgroup


def limits_of(resources: Resources | None) -> list[Write]:
    """Return the limits to write. Raises InvalidValue, Unsupported."""
    if resources is None or resources.__dict__.keys() <= {"devices"}:
        return []
    from cratebox.cgroup.files_v2 import for_v2
    from cratebox.cgroup.resources import check

    check(resources)
    return for_v2(resources)


def need_controllers(place: str, directory: str, writes: list[Write], rootless: bool) -> None:
    """Make sure that the controllers of `writes` are there. Raises Unsupported, naming what is not."""
    wanted = {one.controller: one.name for one in writes if not one.optional}
    wanted.pop("cgroup", None)  # files of the core
    missing = wanted.keys() - set(tree.read(directory, "cgroup.controllers").split())
    if missing:
        hand_down(place, os.path.dirname(directory), tuple(missing))
        missing -= set(tree.read(directory, "cgroup.controllers").split())
    for controller in sorted(missing):
        raise Unsupported(
            f"cannot set {wanted[controller]}: the {controller} controller is not available in {place}",
            "systemctl edit user@.service, with [Service] and Delegate=cpu cpuset io memory pids" if rootless else None,
        )


def hand_down(place: str, parent: str, controllers: tuple[str, ...]) -> None:
    """Enable `controllers` for the children of `parent`, from `place` downwards, as far as they are to be had.

    One by one: a write of several fails whole. A cgroup with processes of its own cannot hand anything down (EBUSY).
    """
    here = place
    for part in ("", *parent[len(place) :].strip("/").split("/")):
        here = f"{here}/{part}" if part else here
        had = tree.read(here, "cgroup.controllers").split()
        given = tree.read(here, "cgroup.subtree_control").split()
        for controller in controllers:
            if controller in had and controller not in given:
                try:
                    tree.write(here, "cgroup.subtree_control", f"+{controller}")
                except OSError:
                    continue


class V2Cgroup(base.Cgroup):
    """One directory. `directory` is absolute; `full`: no process can be born inside, but one can join."""

    def __init__(self, directories: dict[str, str]) -> None:
        super().__init__(directories)
        self.directory = directories["unified"]
        self.full = False
        self._fd = -1
        self._procs = -1
        self._born_inside = False

    def open(self) -> int:
        """Return a descriptor of the directory, kept until `close`."""
        if self._fd < 0:
            self._fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._fd

    def fd_for_clone(self) -> int | None:
        """Return the directory for CLONE_INTO_CGROUP; `join` has nothing to do afterwards."""
        if self.full:
            return None
        self._born_inside = True
        return self.open()

    def join(self) -> None:
        """Move the calling process, unless it was born inside: the write takes a lock over all processes."""
        if not self._born_inside:
            tree.write(self.directory, "cgroup.procs", "0")

    def join_fds(self) -> tuple[int, ...]:
        """Return the open cgroup.procs: what counts is who has opened it."""
        if self._procs < 0:
            self._procs = os.open(f"{self.directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        return (self._procs,)

    def add(self, pid: int) -> None:
        """Write it to cgroup.procs."""
        tree.write(self.directory, "cgroup.procs", str(pid))

    def give(self, uid: int) -> None:
        """Change the owner of the directory, and of the files that the kernel says may be delegated: limits stay ours."""
        try:
            names = tree.read("/sys/kernel/cgroup", "delegate").split()
        except OSError:
            names = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]
        os.chown(self.directory, uid, -1)
        for name in names:
            try:
                os.chown(f"{self.directory}/{name}", uid, -1)
            except FileNotFoundError:
                continue  # of a controller that is not here

    def close(self) -> None:
        """Close the descriptors of the directory and of cgroup.procs."""
        for fd in (self._fd, self._procs):
            if fd >= 0:
                os.close(fd)
        self._fd, self._procs, self._born_inside = -1, -1, False

    def beside(self, pid: int) -> base.Cgroup:
        """A container may run its own cgroups. One that has handed controllers down takes no process any more (EBUSY): its
        first process must be in one below then, and that is where others go.
        """
        try:
            handed_down = tree.read(self.directory, "cgroup.subtree_control")
            return V2Cgroup({"unified": self._below(pid)}) if handed_down else self
        except OSError:
            return self  # it is gone, as whoever joins it will say

    def _below(self, pid: int) -> str:
        """Return the directory of process `pid`, where that is in this one, else this one. Raises OSError."""
        from cratebox.cgroup import mounts

        unified = mounts.find()[1]
        lines = tree.read(f"/proc/{pid}", "cgroup").split("\n")
        path = next((line[3:] for line in lines if line.startswith("0::")), "")
        above = unified.root.rstrip("/") if unified else ""
        if not unified or not path.startswith(above + "/") or "/../" in path + "/":
            return self.directory
        found = unified.mountpoint + path[len(above) :]
        return found if found.startswith(self.directory + "/") and os.path.isdir(found) else self.directory

    def apply(self, writes: list[Write], in_use: bool = False) -> None:
        """Write limits. Raises Unsupported, RuntimeFailure."""
        from cratebox.cgroup import limits

        (limits.change if in_use else limits.apply)({one.controller: self.directory for one in writes}, writes)

    def attach(self, rules: tuple[DeviceRule, ...], replace: bool = False) -> None:
        """Attach the program of the device rules, with `replace` in place of those that are there.
        Raises OSError, InvalidValue.
        """
        from cratebox.cgroup import devices
        from cratebox.linux import bpf

        program = devices.v2_program(rules)
        before = bpf.attached_device_programs(self.open()) if replace else []
        if program:
            fd = bpf.load_device_program(program)
            try:
                bpf.attach_device_program(self.open(), fd)
            finally:
                os.close(fd)
        for old in before:
            fd = bpf.open_program(old)
            try:
                bpf.detach_device_program(self.open(), fd)
            finally:
                os.close(fd)

    def update(self, resources: Resources) -> None:
        """Write the limits, and attach another program where there are device rules."""
        if not os.path.isdir(self.directory):
            raise NotFound(f"the cgroup {self.directory} is gone")
        try:
            resources = self._completed(resources)
            writes = limits_of(resources)
            parent = os.path.dirname(self.directory)
            need_controllers(parent, self.directory, writes, os.geteuid() != 0)
            if resources.memory and resources.memory.check_before_update:
                self._check_use(resources.memory)
            self.apply(writes, in_use=True)
            if resources.devices and os.geteuid() == 0:
                self.attach(resources.devices, replace=True)
        except OSError as error:
            raise RuntimeFailure(f"cannot update cgroup {self.directory}: {error.strerror}") from None
        finally:
            self.close()

    def _completed(self, resources: Resources) -> Resources:
        """A file of v2 holds two of OCI's numbers: take the one that is not given from what is set."""
        cpu, memory = resources.cpu, resources.memory
        if cpu and cpu.period and not cpu.quota:
            quota = self._number("cpu.max")
            resources = resources.replace(cpu=cpu.replace(quota=quota)) if quota else resources
        if memory and memory.swap and memory.swap > 0 and memory.limit is None:
            limit = self._number("memory.max")
            resources = resources.replace(memory=memory.replace(limit=limit)) if limit else resources
        return resources

    def _number(self, file: str) -> int | None:
        """Return the first word of a file, None where it is "max" or there is no such file."""
        try:
            word = tree.read(self.directory, file).split(" ")[0]
        except FileNotFoundError:
            return None
        return int(word) if word.isdigit() else None

    def _check_use(self, memory: Memory) -> None:
        """v1 refuses a limit below what is in use; v2 would begin to kill (memory.checkBeforeUpdate)."""
        used = self._number("memory.current") or 0
        for name, limit in (("limit", memory.limit), ("swap", memory.swap)):
            if limit and 0 < limit < used:
                raise RuntimeFailure(f"cannot set memory.{name} to {limit}: {used} bytes are in use")

    def freeze(self) -> None:
        """Write to cgroup.freeze and wait for cgroup.events to say so."""
        self._set_frozen("1", "pause")

    def thaw(self) -> None:
        """Undo `freeze`. What a cgroup above it froze stays frozen."""
        self._set_frozen("0", "resume")

    def _set_frozen(self, wanted: str, verb: str) -> None:
        deadline = time.monotonic() + _SECONDS_TO_FREEZE
        pause = 0.001
        try:
            tree.write(self.directory, "cgroup.freeze", wanted)
            while f"frozen {wanted}" not in tree.read(self.directory, "cgroup.events").split("\n"):
                if time.monotonic() > deadline:
                    if wanted == "1":
                        tree.write(self.directory, "cgroup.freeze", "0")
                    raise RuntimeFailure(f"cannot {verb}: a process or a cgroup above keeps its state")
                time.sleep(pause)
                pause = min(pause * 2, 0.1)
        except FileNotFoundError:
            raise NotFound(f"the cgroup {self.directory} is gone") from None
        except OSError as error:
            raise RuntimeFailure(f"cannot {verb}: {error.strerror}") from None

    def is_frozen(self) -> bool:
        """Ask for what was last wished."""
        try:
            return tree.read(self.directory, "cgroup.freeze") == "1"
        except OSError:
            return False

    def stats(self) -> dict[str, Any]:
        """Read the files of every controller."""
        from cratebox.cgroup import stats

        return stats.of_v2(self.directory)

    def watch_oom(self) -> OOMWatch:
        """Watch memory.events."""
        from cratebox.cgroup import oom

        return oom.watch_v2(self.directory)

    def kill(self) -> None:
        """Let the kernel kill them all (cgroup.kill, Linux 5.14); before that freeze, kill, thaw."""
        try:
            tree.write(self.directory, "cgroup.kill", "1")
        except FileNotFoundError:
            if os.path.isdir(self.directory):
                self._kill_each()
        except OSError as error:
            if error.errno != _ENODEV:  # removed between open and write
                raise

    def _kill_each(self) -> None:
        try:
            tree.write(self.directory, "cgroup.freeze", "1")
            tree.kill_each(self.directory)  # SIGKILL ends frozen processes of v2 at once
            tree.write(self.directory, "cgroup.freeze", "0")
        except OSError as error:
            if error.errno not in {_ENOENT, _ENODEV}:
                raise


def delegated(unified: Unified) -> str | None:
    """Return the directory of the highest cgroup above this process that its user may use, or None.

    A process can be moved only within a tree whose top, too, lets the mover write to cgroup.procs ("Delegation Containment").
    """
    if not (unified.own + "/").startswith(unified.root.rstrip("/") + "/"):
        return None  # what is mounted is not above us
    here = unified.mountpoint + unified.own[len(unified.root.rstrip("/")) :].rstrip("/")
    found = None
    while len(here) >= len(unified.mountpoint) and _ours(here):
        found = here
        here = os.path.dirname(here)
    return found


def _ours(directory: str) -> bool:
    return all(os.access(directory + file, os.W_OK) for file in ("", "/cgroup.procs", "/cgroup.subtree_control"))
