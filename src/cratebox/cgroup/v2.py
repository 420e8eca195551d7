"""cgroup v2: one hierarchy, controllers handed down from parent to child (Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import os

from cratebox.cgroup import base
from cratebox.errors import RuntimeFailure, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.cgroup.mounts import Unified

_ENOENT, _ENODEV = 2, 19
# What containers are given where the kernel has it: limits, and the figures of `stats`.
_USUAL = ("cpuset", "cpu", "io", "memory", "pids", "hugetlb")


class V2(base.Driver):
    """`place`: the directory below which cgroups are made; the root or one delegated to an ordinary user."""

    name = "v2"
    born_inside = True

    def __init__(self, place: str, rootless: bool = False) -> None:
        self.place = place
        self.rootless = rootless

    def create(self, path: str, resources: dict[str, Any] | None = None) -> V2Cgroup:
        """Make the directory, hand controllers down to it, write limits, attach the program of the device rules."""
        from cratebox.cgroup.resources import for_v2

        path = base.checked_path(path)
        writes = for_v2(resources) if resources else []
        cgroup = V2Cgroup({"unified": f"{self.place}/{path}"})
        made = False
        try:
            made = base.make(cgroup.directory, lambda parent: self._hand_down(parent, _USUAL))
            if writes:
                self._need_controllers(cgroup.directory, writes)
            for file, value in writes:
                base.write(cgroup.directory, file, value)
            if (
                resources and resources.get("devices") and not self.rootless
            ):  # it takes root; without, /dev holds bound nodes only
                self._attach(cgroup, resources["devices"])
        except BaseException as error:
            cgroup.close()
            if made:
                cgroup.remove()
            if isinstance(error, OSError):
                raise RuntimeFailure(f"cannot make cgroup {path}: {error.strerror}") from None
            raise
        return cgroup

    def _need_controllers(self, directory: str, writes: list[tuple[str, str]]) -> None:
        """Make sure that the controllers of the files in `writes` are there. Raises Unsupported, naming what is not."""
        wanted = {file.partition(".")[0]: file for file, _ in writes}
        wanted.pop("cgroup", None)
        missing = wanted.keys() - set(base.read(directory, "cgroup.controllers").split())
        if missing:
            self._hand_down(os.path.dirname(directory), tuple(missing))
            missing -= set(base.read(directory, "cgroup.controllers").split())
        for controller in sorted(missing):
            raise Unsupported(
                f"cannot set {wanted[controller]}: the {controller} controller is not available in {self.place}",
                "systemctl edit user@.service, with [Service] and Delegate=cpu cpuset io memory pids"
                if self.rootless
                else None,
            )

    def _hand_down(self, parent: str, controllers: tuple[str, ...]) -> None:
        """Enable `controllers` for the children of `parent`, from our place downwards, as far as they are to be had.

        One by one: a write of several fails whole. A cgroup with processes of its own cannot hand anything down (EBUSY).
        """
        here = self.place
        for part in ("", *parent[len(self.place) :].strip("/").split("/")):
            here = f"{here}/{part}" if part else here
            had = base.read(here, "cgroup.controllers").split()
            given = base.read(here, "cgroup.subtree_control").split()
            for controller in controllers:
                if controller in had and controller not in given:
                    try:
                        base.write(here, "cgroup.subtree_control", f"+{controller}")
                    except OSError:
                        continue

    def _attach(self, cgroup: V2Cgroup, rules: list[dict[str, Any]]) -> None:
        from cratebox.cgroup import devices
        from cratebox.linux import bpf

        program = devices.v2_program(rules)
        if not program:
            return
        fd = bpf.load_device_program(program)
        try:
            bpf.attach_device_program(cgroup.open(), fd)
        finally:
            os.close(fd)


class V2Cgroup(base.Cgroup):
    """One directory. `directory` is absolute."""

    def __init__(self, directories: dict[str, str]) -> None:
        super().__init__(directories)
        self.directory = directories["unified"]
        self._fd = -1
        self._procs = -1
        self._born_inside = False

    def open(self) -> int:
        """Return a descriptor of the directory, kept until `close`."""
        if self._fd < 0:
            self._fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._fd

    def fd_for_clone(self) -> int:
        """Return the directory for CLONE_INTO_CGROUP; `join` has nothing to do afterwards."""
        self._born_inside = True
        return self.open()

    def join(self) -> None:
        """Move the calling process, unless it was born inside: the write takes a lock over all processes."""
        if not self._born_inside:
            base.write(self.directory, "cgroup.procs", "0")

    def join_fds(self) -> tuple[int, ...]:
        """Return the open cgroup.procs: what counts is who has opened it."""
        if self._procs < 0:
            self._procs = os.open(f"{self.directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        return (self._procs,)

    def close(self) -> None:
        """Close the descriptors of the directory and of cgroup.procs."""
        for fd in (self._fd, self._procs):
            if fd >= 0:
                os.close(fd)
        self._fd, self._procs, self._born_inside = -1, -1, False

    def kill(self) -> None:
        """Let the kernel kill them all (cgroup.kill, Linux 5.14); before that freeze, kill, thaw."""
        try:
            base.write(self.directory, "cgroup.kill", "1")
        except FileNotFoundError:
            if os.path.isdir(self.directory):
                self._kill_each()
        except OSError as error:
            if error.errno != _ENODEV:  # removed between open and write
                raise

    def _kill_each(self) -> None:
        try:
            base.write(self.directory, "cgroup.freeze", "1")
            base.kill_each(self.directory)  # SIGKILL ends frozen processes of v2 at once
            base.write(self.directory, "cgroup.freeze", "0")
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
