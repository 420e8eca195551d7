"""NetworkSettings: how a container is reached, in the words of `docker inspect`.

Of one that does not run only what was wished is known. With the network of this machine, with none, and with another
container's there are no addresses.
"""

from __future__ import annotations

import hashlib

from cratebox.engine.config import NetworkWish, Port, is_on_networks
from cratebox.engine.network_words import INTERFACE_OPTION, of_image
from cratebox.engine.records import Container, ContainerStatus
from cratebox.network.model import Endpoint, Reservation

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
_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104  what a port without an address is published on


def network_settings_of(container: Container, status: ContainerStatus, network: Reservation | None = None) -> dict[str, Any]:
    """Return the section; `network` is what the container has now, None where it does not run."""
    ends = {one.name: one for one in network.endpoints} if network else {}
    default = ends.get("bridge")
    return {
        "Bridge": "",
        "SandboxID": identity_of(container.id, "") if ends else "",
        "SandboxKey": f"/proc/{status.pid}/ns/net" if status.pid else "",
        "Ports": ports_of(container, network) if network else {},
        **(_addresses(container.id, default) if default else _ADDRESS),
        "Networks": _networks(container, ends),
    }


def identity_of(container: str, network: str) -> str:
    """Return the ID that Docker would have made up for an endpoint: the same each time it is asked for."""
    return hashlib.sha256(f"{container}/{network}".encode()).hexdigest()


def _networks(container: Container, ends: dict[str, Endpoint]) -> dict[str, Any]:
    config = container.config
    if config.network.startswith("container:"):
        return {}
    if not is_on_networks(config):
        return {config.network: {"IPAMConfig": None, "Links": None, "Aliases": None, "NetworkID": "", **_ADDRESS}}
    return {one.name: _network(container, one, ends.get(one.name)) for one in config.networks}


def _network(container: Container, wish: NetworkWish, end: Endpoint | None) -> dict[str, Any]:
    wished = {"IPv4Address": wish.ip, "IPv6Address": wish.ip6}
    options = {INTERFACE_OPTION: wish.interface} if wish.interface else None
    names = tuple(dict.fromkeys((container.name, *(end.aliases if end else (*wish.aliases, container.id[:12])))))
    return {
        "IPAMConfig": {name: text for name, text in wished.items() if text} or None,
        "Links": None,
        "Aliases": list(wish.aliases) or None,
        "DriverOpts": options,
        "GwPriority": wish.priority,
        "NetworkID": end.network if end else "",
        **(_addresses(container.id, end) if end else {**_ADDRESS, "MacAddress": wish.mac}),
        "DNSNames": None if wish.name == "bridge" else list(names),
    }


def _addresses(container: str, end: Endpoint) -> dict[str, Any]:
    return {
        "EndpointID": identity_of(container, end.network),
        "Gateway": end.gateway,
        "GlobalIPv6Address": end.ip6,
        "GlobalIPv6PrefixLen": end.prefix6,
        "IPAddress": end.ip,
        "IPPrefixLen": end.prefix,
        "IPv6Gateway": end.gateway6,
        "MacAddress": end.mac,
    }


def exposed(container: Container) -> list[str]:
    """Return the ports that the image, --expose or --publish names, as PORT/PROTOCOL, in order."""
    config = container.config
    published = [f"{one.container}/{one.protocol}" for one in config.ports]
    return sorted(
        dict.fromkeys((*of_image(container.defaults.exposed), *config.expose, *published)), key=lambda text: (len(text), text)
    )


def ports_of(container: Container, network: Reservation) -> dict[str, Any]:
    """Return where each exposed port is published: a list of addresses and ports of this machine, null for nowhere."""
    found: dict[str, Any] = dict.fromkeys(exposed(container))
    for one in network.ports:
        places = [{"HostIp": address, "HostPort": str(one.host)} for address in addresses_of(one)]
        name = f"{one.container}/{one.protocol}"
        found[name] = (found.get(name) or []) + places
    return found


def addresses_of(port: Port) -> tuple[str, ...]:
    """Return the addresses of this machine that a port is published on, as Docker writes them."""
    return (port.host_ip,) if port.host_ip else _EVERY_ADDRESS


def bindings_of(ports: tuple[Port, ...]) -> dict[str, Any]:
    """Return what was wished, as HostConfig.PortBindings."""
    found: dict[str, Any] = {}
    for one in ports:
        wanted = f"{one.host}-{one.host_last}" if one.host_last else str(one.host or "")
        found.setdefault(f"{one.container}/{one.protocol}", []).append({"HostIp": one.host_ip, "HostPort": wanted})
    return found
