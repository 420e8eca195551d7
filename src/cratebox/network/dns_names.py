"""Which names stand for which addresses, as one who is on some networks sees it:
made of the leases, made anew when they change.

A namespace has its label, the beginning of its owner's word as Docker shows it, and its aliases, each also as NAME.NETWORK.
What is known on several of his networks is answered of the first of them. PTR names an address NAME.NETWORK.
"""

from __future__ import annotations

import _socket
import os

from cratebox.network import dns_message as dns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cratebox.network.model import Endpoint, Network, Reservation

TTL = 0  # seconds: a container may be gone, or another one have its address, before the next question
_SHORT = 12  # characters of an owner's word


class Zone:
    """The names of one network, in small letters: for each the addresses as records' data, by type."""

    def __init__(self) -> None:
        self.name = ""
        self._records: dict[str, dict[int, list[bytes]]] = {}
        self._pointers: dict[bytes, bytes] = {}

    def add(self, label: str, owner: str, endpoint: Endpoint) -> None:
        """Put in the names of somebody who is on the network."""
        self.name = endpoint.name.lower()
        ours = {dns.A: _address(endpoint.ip), dns.AAAA: _address(endpoint.ip6)}
        for name in {label.lower(), owner[:_SHORT].lower(), *(one.lower() for one in endpoint.aliases)} - {""}:
            kinds = self._records.setdefault(name, {dns.A: [], dns.AAAA: []})
            for kind, address in ours.items():
                if address:
                    kinds[kind].append(dns.record(kind, address, TTL))
        for address in filter(None, ours.values()):
            try:
                self._pointers[address] = dns.record(dns.PTR, dns.encoded_name(f"{label}.{endpoint.name}"), TTL)
            except dns.Malformed:
                pass  # a label that is no name: there is none to be told

    def records(self, name: str, kind: int) -> list[bytes] | None:
        """Return the records of that type (ANY: of both), none where the name has no such; None where nobody is called that."""
        kinds = self._records.get(name)
        if kinds is None and name.endswith("." + self.name):
            kinds = self._records.get(name[: -len(self.name) - 1])
        if kinds is None:
            return None
        return kinds[dns.A] + kinds[dns.AAAA] if kind == dns.ANY else kinds.get(kind, [])

    def pointer(self, address: bytes) -> bytes | None:
        """Return the PTR record of whoever has that address."""
        return self._pointers.get(address)


class View:
    """What one owner sees: the zones of his networks, in their order.
    `forwards`: whether he may ask for the names of others.
    """

    def __init__(
        self, zones: list[Zone], ranges: list[tuple[bytes, int]], upstreams: tuple[str, ...], *, forwards: bool
    ) -> None:
        self._zones, self._ranges = zones, ranges
        self.upstreams, self.forwards = upstreams, forwards

    def find(self, query: dns.Query) -> list[bytes] | None:
        """Return the records that answer `query`, none where the name has none of that type;
        None where the name is not ours.
        """
        if query.type == dns.PTR or query.name.endswith(".arpa"):
            address = dns.reversed_address(query.name)
            if address is None:
                return None
            found = next(filter(None, (zone.pointer(address) for zone in self._zones)), None)
            return None if found is None else [found] if query.type in {dns.PTR, dns.ANY} else []
        known = False
        for zone in self._zones:
            records = zone.records(query.name, query.type)
            if records:
                return records
            known = known or records is not None
        return [] if known else None

    def is_inside(self, name: str) -> bool:
        """Tell whether a PTR question is about an address of his networks, which nobody outside knows anything of."""
        address = dns.reversed_address(name) if name.endswith(".arpa") else None
        return address is not None and any(_is_in(address, network, prefix) for network, prefix in self._ranges)


class Names:
    """The views of all owners, of what `read` returns; read again when the file at `path` has been replaced.

    `load` returns a network by its ID, None where there is none (any more).
    """

    def __init__(self, path: str, read: Callable[[], Iterable[Reservation]], load: Callable[[str], Network | None]) -> None:
        self._path, self._read, self._load = path, read, load
        self._seen: tuple[int, ...] | None = None
        self._held = -1
        self._reservations: dict[str, Reservation] = {}
        self._zones: dict[str, Zone] = {}
        self._networks: dict[str, Network | None] = {}
        self._views: dict[str, View] = {}
        self.gone: set[str] = set()  # owners whose process has ended, and whose leases nobody has taken away yet

    def refresh(self) -> bool:
        """Look whether the leases have changed; tell so."""
        try:
            found = os.stat(self._path)
        except OSError:
            found = None
        if _stamp(found) == self._seen:
            return False
        self._hold()
        self.read()
        return True

    def read(self) -> None:
        """Read who is where, and forget what was made of it before. Where it cannot be read, for now, what was known stays."""
        try:
            found = {one.owner: one for one in self._read()}
        except OSError:
            self._seen = None  # no descriptor is free, perhaps: to be tried again with the next question
            return
        self._views.clear()
        self._zones.clear()
        self._networks.clear()
        self._reservations = found
        self.gone &= self._reservations.keys()
        for one in self._reservations.values():
            if one.owner not in self.gone:
                for endpoint in one.endpoints:
                    self._zones.setdefault(endpoint.network, Zone()).add(one.label, one.owner, endpoint)

    def view(self, owner: str) -> View:
        """Return what `owner` sees."""
        if owner not in self._views:
            self._views[owner] = self._made(self._reservations.get(owner))
        return self._views[owner]

    def _made(self, one: Reservation | None) -> View:
        if one is None:
            return View([], [], (), forwards=False)
        zones, ranges = [], []
        forwards = bool(one.upstreams)  # whom he named himself he asks from where he is: no way out of an internal network
        for endpoint in one.endpoints:
            network = self._network(endpoint.network)
            forwards = forwards or bool(network and not network.internal)
            if not network or not network.names:
                continue
            if endpoint.network in self._zones:
                zones.append(self._zones[endpoint.network])
            for address, prefix in ((endpoint.ip, endpoint.prefix), (endpoint.ip6, endpoint.prefix6)):
                if address and prefix:
                    ranges.append((_address(address), prefix))
        return View(zones, ranges, one.upstreams, forwards=forwards)

    def _network(self, number: str) -> Network | None:
        if number not in self._networks:
            self._networks[number] = self._load(number)
        return self._networks[number]

    def _hold(self) -> None:
        """Keep the file open: as long as it is, no other one has its number."""
        if self._held >= 0:
            os.close(self._held)
        try:
            self._held = os.open(self._path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            self._held = -1
        self._seen = _stamp(os.fstat(self._held) if self._held >= 0 else None)


def _stamp(found: os.stat_result | None) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size) if found else ()


def _address(text: str) -> bytes:
    if not text:
        return b""
    return _socket.inet_pton(_socket.AF_INET6 if ":" in text else _socket.AF_INET, text)


def _is_in(address: bytes, network: bytes, prefix: int) -> bool:
    if len(address) != len(network):
        return False
    shift = 8 * len(address) - prefix
    return int.from_bytes(address, "big") >> shift == int.from_bytes(network, "big") >> shift
