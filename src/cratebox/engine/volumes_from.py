"""--volumes-from: the mounts of other containers, at the same places. Taken when the container is made, as Docker does."""

from __future__ import annotations

from cratebox.engine import records
from cratebox.engine.config import ContainerConfig, MountWish
from cratebox.paths import Paths


def resolved(paths: Paths, config: ContainerConfig) -> ContainerConfig:
    """Return the config with the mounts of the containers that it names. What it mounts itself at such a place counts more.

    Raises NotFound, Conflict.
    """
    found: dict[str, MountWish] = {}
    names = []
    for text in config.volumes_from:
        name, colon, mode = text.partition(":")
        other = records.load(paths, records.find(paths, name))
        names.append(other.id + colon + mode)
        for mount in other.config.mounts:
            found[mount.target] = mount.replace(read_only=True) if mode == "ro" else mount
    own = {mount.target for mount in config.mounts}
    mounts = (*(mount for target, mount in found.items() if target not in own), *config.mounts)
    return config.replace(mounts=mounts, volumes_from=tuple(names))
