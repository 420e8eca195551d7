"""Which address an endpoint gets: the one that was wished, the one it had before, or the next free one."""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6

from cratebox.errors import Conflict, InvalidValue
from cratebox.network.addresses import Range, given_out, mac_of, parse, parse_mac, parse_range, text
from cratebox.network.model import Endpoint, Former, Network, Subnet, Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.network.leases import Ledger


def endpoint(ledger: Ledger, wish: Wish, former: tuple[Former, ...] = ()) -> Endpoint:
    """Return what `wish` comes to. `former`: what the owner had until now, which is not in the ledger.

    Raises InvalidValue, Conflict.
    """
    network = wish.network
    had = next((one for one in former if one.network == network.id), None)
    used = _used(ledger, network)
    words: dict[str, Any] = {}
    for subnet in network.subnets:
        part = parse_range(subnet.subnet)
        six = part.family == AF_INET6
        wished, last = (wish.ip6, had.ip6 if had else "") if six else (wish.ip, had.ip if had else "")
        suffix = "6" if six else ""
        words["ip" + suffix] = _address(ledger, wish, subnet, part, used, wished, last)
        words["prefix" + suffix] = part.prefix
        words["gateway" + suffix] = "" if network.internal else subnet.gateway
    if wish.ip6 and "ip6" not in words:
        raise InvalidValue(
            f"--ip6 {wish.ip6}: network {network.name} has no IPv6", "crate network create --ipv6 makes one that has"
        )
    return Endpoint(
        network=network.id,
        name=network.name,
        interface=wish.interface,
        outside=outside_name(),
        mac=parse_mac(wish.mac).hex(":") if wish.mac else mac_of(words["ip"]),
        aliases=wish.aliases,
        bridge=network.interface,
        mtu=network.mtu,
        apart=not network.icc,
        **words,
    )


def outside_name() -> str:
    """Return a name for the end of a pair that is on the bridge: a new one each time, for the last one may still be there."""
    return "crv" + os.urandom(6).hex()


def _used(ledger: Ledger, network: Network) -> dict[str, str]:
    """Return the addresses of the network that somebody has, and his label."""
    found = {}
    for one in ledger.by_owner.values():
        reservation = one["reservation"]
        for end in reservation.get("endpoints", ()):
            if end["network"] == network.id:
                found[end.get("ip", "")] = found[end.get("ip6", "")] = reservation["label"]
    return found


def _address(ledger: Ledger, wish: Wish, subnet: Subnet, part: Range, used: dict[str, str], wished: str, last: str) -> str:
    reserved = {text(*parse(address)) for address in subnet.reserved.values()}
    if wished:
        return _wished(wish, subnet, part, used, reserved, wished)
    if last and last not in used and last not in reserved and last != subnet.gateway and parse(last)[1] in part:
        return last
    return _next(ledger, wish, subnet, part, {*used, *reserved, subnet.gateway})


def _wished(wish: Wish, subnet: Subnet, part: Range, used: dict[str, str], reserved: set[str], wished: str) -> str:
    flag, name = ("--ip6" if part.family == AF_INET6 else "--ip"), wish.network.name
    family, number = parse(wished)
    if family != part.family:
        raise InvalidValue(f"{flag} {wished} is not an address of IPv{6 if part.family == AF_INET6 else 4}")
    if number not in part:
        raise InvalidValue(f"{flag} {wished} is not in subnet {part} of network {name}", f"crate network inspect {name}")
    if number == part.first or (family == AF_INET and number == part.last):
        raise InvalidValue(f"{flag} {wished} is the address of the whole subnet {part}, not of one interface")
    found = text(family, number)
    if found == subnet.gateway:
        raise Conflict(f"{flag} {wished} is the gateway of network {name}", "choose another address")
    if found in reserved:
        raise Conflict(f"{flag} {wished} is kept free in network {name} (--aux-address)", "choose another address")
    if found in used:
        raise Conflict(f"{flag} {wished} is used by {used[found]} on network {name}", "choose another address, or none")
    return found


def _next(ledger: Ledger, wish: Wish, subnet: Subnet, part: Range, unfree: set[str]) -> str:
    """Go round: an address that was just given up is on an interface for some 50 ms more,
    until the kernel has ended its namespace.
    """
    given = parse_range(subnet.ip_range) if subnet.ip_range else part
    first, last = given_out(part, given)
    mark = f"{wish.network.id[:12]} {given}"
    start = int(ledger.marks.get(mark, "0"), 16)  # text: JSON has no numbers of 128 bits
    number = start if first <= start <= last else last
    for _ in range(min(last - first + 1, len(unfree) + 1)):
        number = number + 1 if number < last else first
        found = text(part.family, number)
        if found not in unfree:
            ledger.marks[mark] = f"{number:x}"
            return found
    raise Conflict(
        f"network {wish.network.name}: all addresses of {given} are in use", "remove containers, or use a larger network"
    )
