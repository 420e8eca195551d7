"""NetworkSettings: how a container is reached, in the words of `docker inspect`. There is `host` and there is `none`: no addresses."""

from __future__ import annotations

from cratebox.engine.records import Container, ContainerStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ADDRESS = {
    "EndpointID": "",
    "Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "MacAddress": "",
}


def network_settings_of(container: Container, status: ContainerStatus) -> dict[str, Any]:
    """Return the section."""
    return {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": f"/proc/{status.pid}/ns/net" if status.pid else "",
        "Ports": {},
        **_ADDRESS,
        "Networks": {
            container.config.network: {"IPAMConfig": None, "Links": None, "Aliases": None, "NetworkID": "", **_ADDRESS}
        },
    }
