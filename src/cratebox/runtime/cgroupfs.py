"""The container's view of its cgroups, a mount of type cgroup (config-linux.md, Cgroups).

Made after the cgroup namespace, so that its root is the container's own cgroup and no name of the host's shows. On cgroup
v2 it is one file system; on v1 a directory for each hierarchy, in a small tmpfs, with a link for each controller.
"""

from __future__ import annotations

import os

from cratebox.linux import const, mount
from cratebox.linux.beneath import open_beneath
from cratebox.runtime import rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.runtime.spec import Mount

_SAFE = const.MOUNT_ATTR_NOSUID | const.MOUNT_ATTR_NODEV | const.MOUNT_ATTR_NOEXEC


def mount_cgroup(root: int, one: Mount) -> None:
    """Mount the cgroup hierarchies at `one.destination` below the descriptor `root`. Raises OSError."""
    target = rootfs.open_kernel_place(root, one.destination)
    readonly = const.MOUNT_ATTR_RDONLY if "ro" in one.options else 0
    hierarchies = _hierarchies()
    if hierarchies:
        tree = mount.new_filesystem("tmpfs", ("mode=755", "size=64k"), _SAFE)
        mount.attach(tree, target, one.destination)
        for controllers in hierarchies:
            _mount_v1(tree, controllers, readonly)
        mount.set_attributes(tree, readonly)
    else:
        tree = mount.new_filesystem("cgroup2", (), _SAFE | readonly)
        mount.attach(tree, target, one.destination)
    os.close(tree)
    os.close(target)


def _hierarchies() -> list[str]:
    """Return the controllers of each v1 hierarchy, "cpu,cpuacct", from /proc/self/cgroup (cgroups(7))."""
    with open("/proc/self/cgroup", encoding="ascii", errors="surrogateescape") as file:
        rows = [line.split(":", 2) for line in file]
    return [row[1] for row in rows if row[1]]


def _mount_v1(directory: int, controllers: str, readonly: int) -> None:
    name = controllers.removeprefix("name=")
    os.mkdir(name, 0o755, dir_fd=directory)
    place = open_beneath(directory, name, const.O_PATH | os.O_DIRECTORY)
    # A hierarchy with a name has no controller, and says so.
    options = ("none", controllers) if controllers.startswith("name=") else tuple(controllers.split(","))
    tree = mount.new_filesystem("cgroup", options, _SAFE | readonly, source="cgroup")
    mount.attach(tree, place, name)
    os.close(tree)
    os.close(place)
    if "," in name:
        for controller in name.split(","):
            os.symlink(name, controller, dir_fd=directory)
