"""Volumes that are file systems of their own (volume_options.py): made for a container, or had from another that runs.

They come as descriptors of mounts that are attached nowhere, see made_mounts.py: the machine never sees them.
"""

from __future__ import annotations

import os

from cratebox.engine import made_mounts, records
from cratebox.engine.volume_options import file_system
from cratebox.engine.volumes import Volumes
from cratebox.errors import RuntimeFailure
from cratebox.linux import const, mount, userns
from cratebox.runtime import inside
from cratebox.runtime.mounts import open_subpath
from cratebox.runtime.overlay import put
from cratebox.runtime.spec import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.volume_filling import Starting
    from cratebox.paths import Paths


def of_another(paths: Paths, one: Starting) -> int:
    """Return a copy of the mount that a container which runs has of a tmpfs; -1 where there is none."""
    for other in Volumes(paths, one.owner).users().get(one.name, ()):
        state = records.running_state(paths, other.id) if other.id != one.container else None
        if state is None or not inside.is_inside(state):
            continue
        target = next(each.target for each in other.config.mounts if each.kind == "volume" and each.source == one.name)
        try:
            return made_mounts.memory_of_another(state, other.name, target)
        except RuntimeFailure:
            continue  # it has just ended, or has something else there
    return -1


def new(one: Starting) -> int:
    """Make the file system of a volume; return its mount, or that of a path in it. Raises RuntimeFailure, InvalidValue."""
    origin, identity = one.origin, one.owner
    data = file_system(origin)
    space = userns.open_new(identity.uids, identity.gids) if identity.uids and not identity.rootless else -1

    def make() -> tuple[int, ...]:
        mount.mount("none", "/", "", const.MS_REC | const.MS_PRIVATE)
        tree = mount.new_filesystem(origin.type, data, 0, origin.device)
        if one.subpath:
            put(tree, "/")
            place = open_subpath(tree, one.subpath, Mount(one.target, origin.type, one.name))
            tree = mount.clone_tree("", recursive=False, directory=place)
        if space >= 0:
            mount.set_attributes(tree, const.MOUNT_ATTR_IDMAP, userns_fd=space)
        return (tree,)

    flags = const.CLONE_NEWNS | (const.CLONE_NEWUSER if identity.rootless else 0)
    try:
        return made_mounts.made(make, f"cannot mount the volume {one.name}", flags, identity)[0]
    finally:
        if space >= 0:
            os.close(space)
