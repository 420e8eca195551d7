"""The container's view of its cgroups, a mount of type cgroup (config-linux.md, Cgroups).

Made after the cgroup namespace, so that its root is the container's own cgroup and no name of the host's shows. On cgroup
v2 it is one file system; on v1 a directory for each hierarchy, in a small tmpfs, with a link for each controller.
"""

from __future__ import annotations

import os

from cratebox.cgroup import mounts
from cratebox.linux import const, mount
from cratebox.linux.beneath import open_beneath
from cratebox.linux.procfs import read_text
from cratebox.runtime.mount_options import place_of, split
from cratebox.runtime.targets import open_kernel_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.runtime.spec import Mount

_EPERM, _EBUSY, _EINVAL = 1, 16, 22
_SAFE = const.MOUNT_ATTR_NOSUID | const.MOUNT_ATTR_NODEV | const.MOUNT_ATTR_NOEXEC


def mount_cgroup(root: int, one: Mount, directories: dict[str, str], own_namespace: bool, label: str = "") -> None:
    """Mount the cgroup hierarchies at `one.destination` below the descriptor `root`. Raises OSError.

    Its options are those of every hierarchy; nosuid, nodev and noexec are there whatever is asked for, and data is for cgroup
    v2 alone. `directories` are the container's cgroup, by the controllers of each hierarchy, as the host sees them. In a cgroup
    namespace a bind of such a directory is the same as a new mount, and made in half of the time; without one it is the only
    way not to show the host's. Of a hierarchy that the container has no cgroup in it sees its caller's, read-only, or there is
    EPERM.
    """
    target = open_kernel_place(root, place_of(one))
    options = split(one)
    flags, minus = _SAFE | options.plus, options.minus & ~_SAFE
    hierarchies = _hierarchies()
    if hierarchies:
        if options.rest:
            raise OSError(_EINVAL, f"the hierarchies of cgroup v1 take no option {options.rest[0]!a}")
        tree = mount.new_filesystem("tmpfs", ("mode=755", "size=64k", *_label(label)), _SAFE)
        mount.attach(tree, target, one.destination)
        for controllers in hierarchies:
            _mount_v1(tree, controllers, flags, _source(directories, controllers, own_namespace, flags))
        mount.set_attributes(tree, flags, minus)
    else:
        tree = _v2(directories, own_namespace, options.rest, flags)
        mount.set_attributes(tree, flags, minus)
        mount.attach(tree, target, one.destination)
    for kind, deep in options.propagation:
        mount.set_attributes(tree, propagation=kind, recursive=deep)
    os.close(tree)
    os.close(target)


def _v2(directories: dict[str, str], own_namespace: bool, data: tuple[str, ...], flags: int) -> int:
    """In a cgroup namespace without its user namespace, or where the host's mount has other options, a new mount is refused:
    a bind of the container's own cgroup shows the same.
    """
    if own_namespace:
        try:
            return mount.new_filesystem("cgroup2", data, _SAFE)
        except OSError as error:
            if error.errno not in (_EPERM, _EBUSY) or "unified" not in directories:
                raise
    return mount.clone_tree(_source(directories, "unified", own_namespace, flags), recursive=False)


def _label(label: str) -> tuple[str, ...]:
    return ("context=" + label,) if label else ()


def _source(directories: dict[str, str], controllers: str, own_namespace: bool, flags: int) -> str:
    """Return what to bind, "" for a new mount. A container without a cgroup of its own is in its caller's:
    it may look at that.
    """
    if controllers in directories or own_namespace:
        return directories.get(controllers, "")
    if not flags & const.MOUNT_ATTR_RDONLY:
        raise OSError(_EPERM, "the container has no cgroup of its own to write to, and no cgroup namespace")
    hierarchies, unified = mounts.find()
    if controllers == "unified" and unified:
        return unified.mountpoint + "/" + os.path.relpath(unified.own, unified.root)
    place = dict(hierarchies).get(controllers)
    if not place:
        raise OSError(_EPERM, "the container has no cgroup of its own to show, and no cgroup namespace")
    return place + _hierarchies()[controllers]


def _hierarchies() -> dict[str, str]:
    """Return our cgroup by the controllers of each v1 hierarchy, "cpu,cpuacct", from /proc/self/cgroup (cgroups(7))."""
    rows = [line.split(":", 2) for line in read_text("/proc/self/cgroup").splitlines()]
    return {row[1]: row[2] for row in rows if row[1]}


def _mount_v1(directory: int, controllers: str, flags: int, source: str) -> None:
    name = controllers.removeprefix("name=")
    os.mkdir(name, 0o755, dir_fd=directory)
    place = open_beneath(directory, name, const.O_PATH | os.O_DIRECTORY)
    if source:
        tree = mount.clone_tree(source, recursive=False)
        mount.set_attributes(tree, flags)
    else:
        # A hierarchy with a name has no controller, and says so.
        options = ("none", controllers) if controllers.startswith("name=") else tuple(controllers.split(","))
        tree = mount.new_filesystem("cgroup", options, flags, source="cgroup")
    mount.attach(tree, place, name)
    os.close(tree)
    os.close(place)
    if "," in name:
        for controller in name.split(","):
            os.symlink(name, controller, dir_fd=directory)
