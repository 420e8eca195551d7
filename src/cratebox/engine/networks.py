"""The networks of one user: make, list, inspect, remove, prune; connect and disconnect are in connecting.py.

`bridge`, the default one, is made with the first word about it; `host` and `none` are no networks,
but have always been listed as such.
"""

from __future__ import annotations

from cratebox.engine import connections, records
from cratebox.engine.config import NetworkWish
from cratebox.engine.inspect_network import identity_of
from cratebox.engine.inspect_state import rfc3339
from cratebox.engine.network_words import network_name
from cratebox.errors import Conflict, CrateError, InvalidValue, NotFound
from cratebox.network import definitions, endpoints, upkeep
from cratebox.network.model import BRIDGE, Endpoint, Network
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cratebox.engine.idmaps import Identity
    from cratebox.engine.pruning import Filters
    from cratebox.paths import Paths

_NO_NETWORKS = (
    Network("71b2a6b3f5b5c2f8bcb3a4ef0c6f6ed1f61f9d2ab4a3a3cf3a4c7b0d35f1e0a7", "host", "", (), driver="host", names=False),
    Network("a6d9c1f60b7c0d8f2be4c5d2b70ab6a1c0a9d4e3f8b1276ccfa7e5d4910b3c28", "none", "", (), driver="null", names=False),
)
BUILTIN = (BRIDGE, *(one.name for one in _NO_NETWORKS))


class Member(Record):
    """A container that is on a network now."""

    id: str
    name: str
    endpoint: Endpoint


class Networks:
    """`engine.networks`. Every `reference` is a name, a full ID or a unique beginning of one."""

    def __init__(self, paths: Paths, identity: Identity) -> None:
        self.paths, self.identity = paths, identity
        self.place = connections.place_of(paths, identity.rootless)

    def create(self, network: Network) -> Network:
        """Make a network; what of `network` is empty (ID, interface, subnets, gateways) is chosen. Return it as it is.

        Raises InvalidValue, Conflict where there is one of that name or a subnet is in use, Unsupported, StorageError.
        """
        network_name(network.name)
        self._mend()
        made = definitions.create(self.place, network)
        connections.tell(self.paths, "create", made.id, made.name)
        return made

    def list(self) -> Sequence[Network]:
        """Return all networks by name; the default one is made where it is missing. Raises StorageError."""
        try:
            definitions.default(self.place)
        except CrateError:
            pass  # this machine has none: who needs it is told why
        self._mend()
        return sorted((*definitions.all_of(self.place), *_NO_NETWORKS), key=lambda one: one.name)

    def get(self, reference: str) -> Network:
        """Return a network. Raises NotFound, Conflict for an ambiguous ID, StorageError."""
        for one in _NO_NETWORKS:
            if reference == one.name or (len(reference) >= 12 and one.id.startswith(reference)):
                return one
        return connections.network_of(self.place, reference)

    def members(self, network: Network) -> Sequence[Member]:
        """Return who is on the network now, by name. Raises StorageError."""
        if network.driver != BRIDGE:
            return []
        upkeep.sweep(self.place)
        found = [Member(owner, label, end) for label, owner, end in endpoints.on_network(self.place, network.id)]
        return sorted(found, key=lambda one: one.name)

    def inspect(self, reference: str) -> dict[str, Any]:
        """Return a network in Docker's form of `network inspect`. Raises as `get`."""
        network = self.get(reference)
        return {
            "Name": network.name,
            "Id": network.id,
            "Created": rfc3339(network.created),
            "Scope": "local",
            "Driver": network.driver,
            "EnableIPv4": True,
            "EnableIPv6": network.ipv6,
            "IPAM": {"Driver": "default", "Options": None, "Config": [_subnet(one) for one in network.subnets]},
            "Internal": network.internal,
            "Attachable": False,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": {one.id: _member(one) for one in self.members(network)},
            "Options": _options(network),
            "Labels": dict(sorted(network.labels.items())),
        }

    def remove(self, reference: str) -> Network:
        """Delete a network, its bridge and its rules; return what it was.
        Raises Conflict where a container that runs is on it, as `get`.
        """
        network = self.get(reference)
        if network.name in BUILTIN:
            raise Conflict(f"the network {network.name} cannot be removed: it is always there")
        definitions.remove(self.place, network)
        connections.tell(self.paths, "destroy", network.id, network.name)
        return network

    def prune(self, filters: Filters) -> Sequence[str]:
        """Delete the networks that no container is made for, running or not; return their names. Raises StorageError."""
        used = self._used()
        gone = []
        for one in definitions.all_of(self.place):
            if one.name in BUILTIN or one.name in used or not filters.take(one.created, one.labels):
                continue
            try:
                self.remove(one.id)
            except (Conflict, NotFound):
                continue  # somebody was faster
            gone.append(one.name)
        return gone

    def rest(self) -> None:
        """Where no container has anything of networks, take what they have left on this machine: bridges and rules. All of it
        is made again when it is needed.
        """
        try:
            upkeep.tidy(self.place)
        except (CrateError, OSError):
            pass  # what cannot be taken away stays for the next time

    def _used(self) -> set[str]:
        used = set()
        for identity in records.identities(self.paths):
            try:
                used |= {one.name for one in records.load(self.paths, identity).config.networks}
            except CrateError:
                continue  # who runs all the same keeps his network by his lease
        return used

    def connect(self, reference: str, container: str, wish: NetworkWish | None = None) -> None:
        """Put a container, running or not, on a network; `wish` says with which address and names.
        Raises Conflict, InvalidValue, NotFound.
        """
        from cratebox.engine import connecting

        self._mend()

        connecting.connect(self.paths, self.identity.rootless, self._real(reference), container, wish)

    def disconnect(self, reference: str, container: str, force: bool = False) -> None:
        """Take a container, running or not, off a network; `force`: also one that is gone. Raises Conflict, NotFound."""
        from cratebox.engine import connecting

        self._mend()

        connecting.disconnect(self.paths, self.identity.rootless, self._real(reference), container, force)

    def _mend(self) -> None:
        """Whoever says a word about networks sees to what was killed or flushed meanwhile. What is in the way, a start says."""
        try:
            upkeep.sweep(self.place)
        except (CrateError, OSError):
            pass

    def _real(self, reference: str) -> Network:
        network = self.get(reference)
        if network.driver != BRIDGE:
            raise InvalidValue(
                f"{network.name} is no network that a container could be put on or taken off",
                f"make a new container with --network {network.name}",
            )
        return network


def _subnet(one: Any) -> dict[str, Any]:
    found = {"Subnet": one.subnet, "IPRange": one.ip_range, "Gateway": one.gateway, "AuxiliaryAddresses": dict(one.reserved)}
    return {name: value for name, value in found.items() if value or name == "Subnet"}


def _member(one: Member) -> dict[str, str]:
    end = one.endpoint
    return {
        "Name": one.name,
        "EndpointID": identity_of(one.id, end.network),
        "MacAddress": end.mac,
        "IPv4Address": f"{end.ip}/{end.prefix}" if end.ip else "",
        "IPv6Address": f"{end.ip6}/{end.prefix6}" if end.ip6 else "",
    }


def _options(network: Network) -> dict[str, str]:
    """What the default one is like, Docker tells by options."""
    if network.name == BRIDGE:
        return {
            "com.docker.network.bridge.default_bridge": "true",
            "com.docker.network.bridge.enable_icc": "true",
            "com.docker.network.bridge.enable_ip_masquerade": "true",
            "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",  # noqa: S104  its word for all
            "com.docker.network.bridge.name": network.interface,
            "com.docker.network.driver.mtu": str(network.mtu or 1500),
        }
    return dict(sorted(network.options.items()))
