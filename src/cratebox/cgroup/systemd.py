"""Cgroups made by systemd: a transient scope for each container, in a slice.

The tree of cgroups is systemd's own; a scope with Delegate is how it gives a part of it away. So the scope is asked for by
D-Bus, with the limits that systemd knows, and the rest is written to its files as the cgroupfs drivers do. A scope begins with
a process: the container's, which waits meanwhile.
"""

from __future__ import annotations

import os

from cratebox.cgroup import base, mounts, tree, units
from cratebox.errors import Conflict, CrateError, NotFound, RuntimeFailure, Unsupported
from cratebox.linux.procfs import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.cgroup.dbus import Systemd as Manager
    from cratebox.cgroup.model import Resources
    from cratebox.cgroup.oom import OOMWatch
    from cratebox.cgroup.units import Property, Unit
    from cratebox.cgroup.v1 import V1Cgroup
    from cratebox.cgroup.v2 import V2Cgroup

BOOTED = "/run/systemd/system"  # sd_booted(3)
_MANAGED = {"cpu", "cpuacct", "blkio", "memory", "devices", "pids", "name=systemd"}  # by systemd, of v1


class Systemd(base.Driver):
    """`rootless`: units are the user's own manager's. Raises Unsupported where systemd does not run the machine."""

    name = "systemd"
    needs_pid = True

    def __init__(self, rootless: bool) -> None:
        if not os.path.isdir(BOOTED):
            raise Unsupported("systemd does not run this machine: there is no " + BOOTED, "use the cgroupfs driver")
        self.rootless = rootless
        self.wished: list[Property] = []
        try:
            self.hierarchies, self.unified = mounts.find()
        except OSError as error:
            raise Unsupported(f"cannot read /proc/self: {error.strerror}") from None
        self.v2 = all(names.startswith("name=") for names, _ in self.hierarchies) and self.unified is not None
        if rootless and not self.v2:
            raise Unsupported("without root, systemd's scopes take cgroup v2", "use --cgroup-manager disabled")

    def default_path(self, name: str) -> str:
        """Return ":crate-oci:NAME", the scope crate-oci-NAME.scope in the default slice."""
        return f":crate-oci:{name}"

    def check_path(self, path: str) -> None:
        """Raise InvalidValue unless `path` is "slice:prefix:name"."""
        units.parse(path, self.rootless)

    def heed(self, annotations: dict[str, str]) -> None:
        """Take what org.systemd.property.NAME says about the scopes that are made from now on."""
        from cratebox.cgroup import properties

        self.wished = properties.of_annotations(annotations)

    def create(self, path: str, resources: Resources | None = None, pid: int = 0) -> SystemdCgroup:
        """Start the scope around process `pid`, and write what systemd does not know to its files."""
        unit = units.parse(path, self.rootless)
        if pid <= 0:
            raise RuntimeFailure(f"cannot make {unit.name}: systemd's scopes begin with a process")
        properties = units.of_scope(unit, pid, self.v2) + self.wished
        if resources:
            from cratebox.cgroup.resources import check

            check(resources)
            properties += self._limits(resources)
        from cratebox.cgroup import dbus

        with dbus.Systemd(self.rootless) as manager:
            _start(manager, unit, properties)
            try:
                where = manager.control_group(unit.name)
                return self._fill(unit, where, resources, pid)
            except BaseException as error:
                _stop(manager, unit.name)
                if isinstance(error, OSError):
                    raise RuntimeFailure(f"cannot make cgroup {unit.name}: {error.strerror}") from None
                raise

    def clear(self, path: str) -> None:
        """Stop the scope, where nobody is in it. Raises Conflict where somebody is."""
        unit = units.parse(path, self.rootless)
        from cratebox.cgroup import dbus

        with dbus.Systemd(self.rootless) as manager:
            if not _is_empty(manager, unit.name):
                raise Conflict(f"unit {unit.name} is in use")
            _stop(manager, unit.name)
        where = f"{units.directory_of(unit.slice)}/{unit.name}"
        if not self.v2:  # a scope's directory goes with it, but for those that systemd did not make
            from cratebox.cgroup.v1 import V1Cgroup

            directories = {names: mountpoint + where for names, mountpoint in self.hierarchies}
            V1Cgroup(directories).remove()
            _remove_slices(directories)

    def _limits(self, resources: Resources) -> list[Property]:
        found = units.of_limits(resources, self.v2)
        if resources.devices and not self.rootless:
            found += units.of_devices(resources.devices, units.groups_in(read_text("/proc/devices")))
        return found

    def _fill(self, unit: Unit, where: str, resources: Resources | None, pid: int) -> SystemdCgroup:
        inner = self._fill_v2(where, resources) if self.v2 else self._fill_v1(where, resources, pid)
        return SystemdCgroup(inner, unit.name, self.rootless, self.v2, new=True)

    def _fill_v2(self, where: str, resources: Resources | None) -> V2Cgroup:
        from cratebox.cgroup import v2

        assert self.unified
        mountpoint, above = self.unified.mountpoint, self.unified.root.rstrip("/")
        if not where.startswith(above + "/"):
            raise RuntimeFailure(f"the cgroup of the scope, {where}, is not below {above}, which is mounted")
        cgroup = v2.V2Cgroup({"unified": mountpoint + where[len(above) :]})
        writes = v2.limits_of(resources)
        if writes:
            place = os.path.dirname(cgroup.directory) if self.rootless else mountpoint
            v2.need_controllers(place, cgroup.directory, writes, self.rootless)
            cgroup.apply(writes)
        if resources and resources.devices and not self.rootless:
            cgroup.attach(resources.devices)
        cgroup.close()
        return cgroup

    def _fill_v1(self, where: str, resources: Resources | None, pid: int) -> V1Cgroup:
        """Make the directories in the hierarchies that systemd leaves alone (cpuset, freezer, net_cls...), and join all."""
        from cratebox.cgroup import v1

        cgroup = v1.V1Cgroup({names: mountpoint + where for names, mountpoint in self.hierarchies})
        for names, directory in cgroup.directories.items():
            try:
                tree.make(directory)
            except Conflict:
                pass  # systemd has put the process there
            if "cpuset" in names.split(","):
                v1.fill_cpuset(directory)
        if resources:
            if resources.devices:
                cgroup.set_devices(resources)
            cgroup.apply(resources)
        cgroup.add(pid)
        return cgroup


class SystemdCgroup(base.Cgroup):
    """A scope. `inner` is its cgroup; `user`: it is the user's own manager's; `new`: who joins is inside already."""

    def __init__(self, inner: V1Cgroup | V2Cgroup, unit: str, user: bool, v2: bool, new: bool = False) -> None:
        super().__init__(inner.directories)
        self.inner = inner
        self.unit = unit
        self.user = user
        self.v2 = v2
        self.new = new

    def paths(self) -> dict[str, str]:
        """Return the directories, the unit and whose manager it is of."""
        return {**self.directories, "unit": self.unit, "bus": "user" if self.user else "system"}

    def join(self) -> None:
        """Join as any cgroup of its kind; the scope's first process has nothing to do."""
        if not self.new:
            self.inner.join()

    def join_fds(self) -> tuple[int, ...]:
        """Return what another process joins by, none for the first one."""
        return () if self.new else self.inner.join_fds()

    def beside(self, pid: int) -> base.Cgroup:
        """As of any cgroup of its kind."""
        inner = self.inner.beside(pid)
        return self if inner is self.inner else inner

    def add(self, pid: int) -> None:
        """Move it, or where we may not (from a session to a service of the same user) let systemd do it."""
        try:
            self.inner.add(pid)
        except PermissionError:
            with self._manager() as manager:
                manager.attach(self.unit, pid)

    def give(self, uid: int) -> None:
        """Give its files."""
        self.inner.give(uid)

    def close(self) -> None:
        """Close what is open."""
        self.inner.close()

    def update(self, resources: Resources) -> None:
        """Set the unit's properties, then the files."""
        from cratebox.cgroup.resources import check

        check(resources)
        properties = units.of_limits(resources, self.v2)
        if resources.devices and not self.user:
            properties += units.of_devices(resources.devices, units.groups_in(read_text("/proc/devices")))
        if properties:
            with self._manager() as manager:
                manager.set_properties(self.unit, properties)
        self.inner.update(resources)

    def freeze(self) -> None:
        """Freeze by its files."""
        self.inner.freeze()

    def thaw(self) -> None:
        """Thaw by its files."""
        self.inner.thaw()

    def is_frozen(self) -> bool:
        """Ask its files."""
        return self.inner.is_frozen()

    def stats(self) -> dict[str, Any]:
        """Read its files."""
        return self.inner.stats()

    def watch_oom(self) -> OOMWatch:
        """Watch its files."""
        return self.inner.watch_oom()

    def kill(self) -> None:
        """Kill by its files."""
        self.inner.kill()

    def remove(self) -> None:
        """Stop the scope, let systemd forget it, and remove what it leaves. Raises RuntimeFailure.

        A manager that is not to be had (the user has logged out) has stopped its units already.
        """
        try:
            with self._manager() as manager:
                _stop(manager, self.unit)
        except Unsupported:
            pass
        self.inner.remove()
        if not self.v2:
            _remove_slices(self.directories)

    def tracked(self) -> str:
        return self.inner.tracked()

    def _manager(self) -> Manager:
        from cratebox.cgroup import dbus

        return dbus.Systemd(self.user)


def cgroup_of(paths: dict[str, str]) -> SystemdCgroup:
    """Return the scope that `SystemdCgroup.paths` described."""
    from cratebox.cgroup.v1 import V1Cgroup
    from cratebox.cgroup.v2 import V2Cgroup

    directories = {name: path for name, path in paths.items() if name not in {"unit", "bus"}}
    v2 = directories.keys() == {"unified"}
    return SystemdCgroup((V2Cgroup if v2 else V1Cgroup)(directories), paths["unit"], paths.get("bus") == "user", v2)


def _start(manager: Manager, unit: Unit, properties: list[Property]) -> None:
    """Start the scope; one of that name which has failed or is empty is in nobody's use."""
    try:
        manager.start_scope(unit.name, properties)
    except Conflict:
        manager.reset_failed(unit.name)
        if not _is_empty(manager, unit.name):
            raise
        _stop(manager, unit.name)
        manager.start_scope(unit.name, properties)


def _remove_slices(directories: dict[str, str]) -> None:
    """Remove the slices above a scope where systemd has none, and so does not remove them:
    in v1's cpuset, freezer and others.
    """
    for names, directory in directories.items():
        above = os.path.dirname(directory)
        while not _MANAGED & set(names.split(",")) and above.endswith(".slice"):
            try:
                os.rmdir(above)
            except OSError:
                break  # in use
            above = os.path.dirname(above)


def _is_empty(manager: Manager, name: str) -> bool:
    try:
        where = manager.control_group(name)
    except NotFound:
        return True
    hierarchies, unified = mounts.find()
    places = [mountpoint for names, mountpoint in hierarchies if names == "name=systemd"]
    places += [unified.mountpoint] if unified else []
    return not any(tree.processes(place + where) for place in places)


def _stop(manager: Manager, name: str) -> None:
    """What systemd cannot do for a unit must not hide what its files still can."""
    try:
        manager.stop(name)
        manager.reset_failed(name)
    except CrateError:
        pass
