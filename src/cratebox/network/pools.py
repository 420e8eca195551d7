"""Which subnets a network gets: those that were wished, checked, or ones of our own pools that nothing on the machine uses.

Loaded when a network is made, never when a container is started.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6

from cratebox.errors import Conflict, InvalidValue, Unsupported
from cratebox.linux import netlink
from cratebox.network import definitions
from cratebox.network.addresses import Range, given_out, parse, parse_range, text
from cratebox.network.model import BRIDGE, Network, Place, Subnet

# Where subnets are looked for, in this order; the later ones for machines whose routes cover the first.
_DEFAULT_POOLS, _DEFAULT_PREFIX = ("10.90.0.0/16", "10.91.0.0/16", "172.30.0.0/16", "192.168.128.0/17"), 20
_POOLS, _PREFIX = ("10.91.0.0/16", "10.92.0.0/14", "172.31.0.0/16", "192.168.0.0/17"), 24
_UNUSABLE = tuple(
    parse_range(words)
    for words in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/8", "fe80::/10", "ff00::/8")
)
_NARROWEST = {AF_INET: 30, AF_INET6: 126}  # a gateway and somebody who uses it


class _Taken:
    """Ranges of addresses and who has them."""

    def __init__(self, place: Place) -> None:
        self.networks = [(parse_range(subnet.subnet), one.name) for one in definitions.all_of(place) for subnet in one.subnets]
        sock = netlink.open_socket()
        try:
            names = {index: name for name, index in netlink.links(sock).items()}
            found = [route for family in (AF_INET, AF_INET6) for route in netlink.routes(sock, family)]
        finally:
            sock.close()
        # A route for half of all addresses is a default route in two parts, as some VPNs make it.
        self.routes = [
            (Range(one.family, int.from_bytes(one.destination, "big"), one.prefix), names.get(one.index, "an interface"))
            for one in found
            if one.prefix > 1
        ]
        if place.rootless:
            from cratebox.network import usermode

            self.routes.append((parse_range(usermode.SUBNET), "the way outside of your containers"))

    def has(self, wanted: Range) -> bool:
        return any(wanted.overlaps(one) for one, _ in self.networks) or any(wanted.overlaps(one) for one, _ in self.routes)

    def check(self, wanted: Range) -> None:
        """Raise Conflict where a subnet that the user wishes is in use; a wider route is none, for ours comes before it."""
        for one, name in self.networks:
            if wanted.overlaps(one):
                raise Conflict(f"subnet {wanted} overlaps with {one} of network {name}", "choose another --subnet, or none")
        for one, name in self.routes:
            if wanted.overlaps(one) and one.prefix >= wanted.prefix:
                raise Conflict(f"subnet {wanted} overlaps with {one}, which {name} leads to", "choose another --subnet")


def choose(place: Place, network: Network) -> tuple[Subnet, ...]:
    """Return the network's subnets, IPv4 first, each with its gateway. Raises InvalidValue, Conflict, Unsupported."""
    taken = _Taken(place)
    given = {_family(one): _checked(one, taken) for one in network.subnets}
    if len(given) != len(network.subnets):
        raise InvalidValue(f"network {network.name}: two subnets of one kind", "one of IPv4 and, with --ipv6, one of IPv6")
    if AF_INET6 in given and not network.ipv6:
        raise InvalidValue(f"network {network.name}: subnet {given[AF_INET6].subnet} is of IPv6", "add --ipv6")
    if AF_INET not in given:
        given[AF_INET] = _with_gateway(_free(taken, network.name == BRIDGE))
    if network.ipv6 and AF_INET6 not in given:
        given[AF_INET6] = _with_gateway(_local_unique(taken, network.id))
    return tuple(given[family] for family in (AF_INET, AF_INET6) if family in given)


def _family(subnet: Subnet) -> int:
    return parse_range(subnet.subnet).family


def _free(taken: _Taken, default: bool) -> Range:
    pools, prefix = (_DEFAULT_POOLS, _DEFAULT_PREFIX) if default else (_POOLS, _PREFIX)
    for pool in map(parse_range, pools):
        for first in range(pool.first, pool.last, 1 << 32 - prefix):
            if not taken.has(found := Range(AF_INET, first, prefix)):
                return found
    raise Unsupported(
        "no subnet is free", "choose one with crate network create --subnet; crate network prune frees those not used"
    )


def _local_unique(taken: _Taken, identity: str) -> Range:
    """RFC 4193: fd, 40 random bits, and a subnet of 64 bits; the bits are those of the network's ID, which is random."""
    for start in range(len(identity) - 14):
        number = 0xFD << 120 | int(identity[start : start + 14], 16) << 64
        if not taken.has(found := Range(AF_INET6, number, 64)):
            return found
    raise Unsupported("no IPv6 subnet is free", "choose one with --subnet")


def _with_gateway(found: Range) -> Subnet:
    return Subnet(str(found), text(found.family, found.first + 1))


def _checked(wish: Subnet, taken: _Taken) -> Subnet:
    found = parse_range(wish.subnet)
    if found.prefix > _NARROWEST[found.family]:
        raise InvalidValue(f"subnet {found} has no room for a gateway and a container", f"at most /{_NARROWEST[found.family]}")
    for unusable in _UNUSABLE:
        if found.overlaps(unusable):
            raise InvalidValue(f"subnet {found} overlaps with {unusable}, which is not for networks", "choose another --subnet")
    taken.check(found)
    if wish.ip_range:
        part = parse_range(wish.ip_range)
        if part.family != found.family or part.first not in found or part.last not in found:
            raise InvalidValue(f"--ip-range {part} is not inside of subnet {found}")
    gateway = wish.gateway or text(found.family, found.first + 1)
    for what, address in (("--gateway", gateway), *((f"--aux-address {name}", one) for name, one in wish.reserved.items())):
        check_inside(what, address, found)
    _check_room(wish, found, {parse(one)[1] for one in (gateway, *wish.reserved.values())})
    return wish.replace(subnet=str(found), gateway=text(*parse(gateway)))


def _check_room(wish: Subnet, subnet: Range, had: set[int]) -> None:
    """Raise InvalidValue where all addresses are had already that would be given out,
    by the gateway and by those that are kept.
    """
    part = parse_range(wish.ip_range) if wish.ip_range else subnet
    first, last = given_out(subnet, part)
    if last - first + 1 <= sum(first <= one <= last for one in had):
        what = f"--ip-range {part}" if wish.ip_range else f"subnet {subnet}"
        raise InvalidValue(
            f"{what} has no address for a container: the gateway or --aux-address has all of it", "choose a larger one"
        )


def check_inside(what: str, address: str, subnet: Range) -> int:
    """Return the number of an address that an interface on `subnet` can have. Raises InvalidValue."""
    family, number = parse(address)
    if family != subnet.family or number not in subnet:
        raise InvalidValue(f"{what} {address} is not in subnet {subnet}")
    if number == subnet.first or (family == AF_INET and number == subnet.last):
        raise InvalidValue(f"{what} {address} is the address of the whole subnet {subnet}, not of one interface")
    return number
