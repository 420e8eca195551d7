"""What of a container's names depends on its networks: the addresses of its own name, of this machine,
and of whoever resolves others.
"""

from __future__ import annotations

from cratebox.engine.hostfiles import Names
from cratebox.engine.network_words import GATEWAY
from cratebox.errors import InvalidValue
from cratebox.network.model import RESOLVER, Reservation


def connected(names: Names, network: Reservation | None, rootless: bool) -> Names:
    """Return the names with what `network` gives; None where the container has no network of its own. Raises InvalidValue."""
    if any(one.endswith(":" + GATEWAY) for one in names.added):
        gateway = _gateway(names, network, rootless)
        names = names.replace(added=tuple(one.replace(":" + GATEWAY, ":" + gateway) for one in names.added))
    if network is None:
        return names
    addresses = [address for one in network.endpoints for address in (one.ip, one.ip6) if address]
    names = names.replace(addresses=tuple(addresses), resolver=RESOLVER if network.resolver else "")
    if rootless:
        from cratebox.network import usermode

        names = names.replace(substitute=(usermode.DNS,))
    return names


def _gateway(names: Names, network: Reservation | None, rootless: bool) -> str:
    """Return the address of this machine for the container."""
    if names.network == "host":
        return "127.0.0.1"
    found = ""
    if network is not None and rootless:
        from cratebox.network import usermode

        found = usermode.host_address()
    elif network is not None:
        found = next((one.gateway or one.gateway6 for one in network.endpoints if one.gateway or one.gateway6), "")
    if not found:
        raise InvalidValue(f"--add-host ...:{GATEWAY}: the container has no way to this machine")
    return found
