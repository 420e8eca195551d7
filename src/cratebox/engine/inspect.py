"""A container in the form of `docker inspect`, section by section: Docker's names for what crate knows, in Docker's order.

A section is a small pure function in a module beside: inspect_state (State), inspect_config (Config), inspect_limits and
inspect_host_config (HostConfig), inspect_storage (GraphDriver, Mounts), inspect_network (NetworkSettings); inspect_image is the
document of an image. What Docker tells and crate has not is there with the value that Docker gives where there is none, so that
programs written for Docker find each name.

A new field of ContainerConfig is shown in its section, or stands in HIDDEN with the reason: a test looks at each.
"""

from __future__ import annotations

from cratebox.engine import records
from cratebox.engine.inspect_config import config_of
from cratebox.engine.inspect_host_config import host_config_of
from cratebox.engine.inspect_network import network_settings_of
from cratebox.engine.inspect_state import rfc3339, state_of
from cratebox.engine.inspect_storage import graph_driver_of, mounts_of
from cratebox.engine.records import Container, ContainerStatus
from cratebox.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cratebox.engine.sizes import ContainerSize
    from cratebox.network.model import Reservation

# Fields of ContainerConfig that `inspect` does not show, and why.
HIDDEN = {
    "name": "the container's own name counts, which `rename` changes",
    "platform": "it chose the image, which is shown",
    "unset_env": "it shows in what Env does not have",
}


def container_document(
    paths: Paths,
    container: Container,
    status: ContainerStatus,
    layers: Sequence[str] = (),
    size: ContainerSize | None = None,
    network: Reservation | None = None,
) -> dict[str, Any]:
    """Return the document of a container and its present status. `layers`: the directories of its image, lowest first;
    `network`: what it has of networks, where it runs.
    """
    where = records.directory(paths, container.id)
    document = {
        "Id": container.id,
        "Created": rfc3339(container.created),
        "Path": status.command[0] if status.command else "",
        "Args": list(status.command[1:]),
        "State": state_of(paths, status),
        "Image": container.image_id,
        **_files(paths, container, where),
        "Name": "/" + container.name,
        "RestartCount": status.restart_count,
        "Driver": "overlay",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "HostConfig": host_config_of(container),
        "GraphDriver": graph_driver_of(where, layers),
        "Mounts": mounts_of(paths, container.config),
        "Config": config_of(container),
        "NetworkSettings": network_settings_of(container, status, network),
    }
    if size is not None:
        document |= {"SizeRw": size.written, "SizeRootFs": size.root}
    return document


def _files(paths: Paths, container: Container, where: str) -> dict[str, str]:
    """Where those of its files are that crate writes; with another container's network it has the names of that one."""
    word, _, other = container.config.network.partition(":")
    names = records.directory(paths, other) if word == "container" else where
    return {
        "ResolvConfPath": names + "/resolv.conf",
        "HostnamePath": names + "/hostname",
        "HostsPath": names + "/hosts",
        "LogPath": where + "/log" if container.config.log_driver != "none" else "",
        **({"PidFile": container.config.pidfile} if container.config.pidfile else {}),
    }
