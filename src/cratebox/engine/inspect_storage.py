"""GraphDriver and Mounts: where a container's files are, in the words of `docker inspect`."""

from __future__ import annotations

import os

from cratebox.engine.config import ContainerConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cratebox.engine.mounts import MountWish
    from cratebox.paths import Paths


def graph_driver_of(where: str, layers: Sequence[str]) -> dict[str, Any]:
    """Return the section. `where` is the container's directory, `layers` those of its image, lowest first.

    Unlike Docker's, crate's overlay is mounted in the container's own mount namespace: on the machine MergedDir is empty.
    """
    if os.path.isdir(where + "/copy"):  # a file system below that does no overlay: see flatten.py
        return {"Name": "copy", "Data": {"MergedDir": where + "/copy"}}
    data = {"MergedDir": where + "/rootfs", "UpperDir": where + "/rw/upper", "WorkDir": where + "/rw/work"}
    lower = {"LowerDir": ":".join(reversed(layers))} if layers else {}
    return {"Name": "overlay", "Data": lower | data}


def mounts_of(paths: Paths, config: ContainerConfig) -> list[dict[str, Any]]:
    """Return the section: volumes, and what was asked for with -v and --mount;
    a --tmpfs stands in HostConfig, as with Docker.
    """
    return [_mount(paths, one) for one in config.mounts if one.kind != "tmpfs"]


def _mount(paths: Paths, one: MountWish) -> dict[str, Any]:
    propagation = next((word for word in one.options if word.removeprefix("r") in ("private", "shared", "slave")), "")
    volume = one.kind == "volume"
    return {
        "Type": one.kind,
        **({"Name": one.source} if volume else {}),
        "Source": f"{paths.root}/volumes/{one.source}/_data" if volume else one.source,
        "Destination": one.target,
        **({"Driver": "local"} if volume else {}),
        "Mode": ",".join(one.options),
        "RW": not one.read_only and "ro" not in one.options,
        "Propagation": propagation or ("rprivate" if one.kind == "bind" else ""),
    }
