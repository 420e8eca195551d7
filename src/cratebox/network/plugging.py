"""The interfaces of endpoints: a veth(4) pair each, from a bridge into the namespace, with addresses and routes.

Two namespaces are changed by two sockets, and a pair is made in both by one message. Nothing here is ever taken back on the way
of a start: interfaces go with their namespace.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM

from cratebox.linux import netlink
from cratebox.network import bridge, inside
from cratebox.network.addresses import packed, parse_mac
from cratebox.network.model import RESOLVER, Endpoint, Place, Reservation

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from cratebox.network.inside import Target

_NAMES = (inside.NETFILTER, (AF_INET, SOCK_DGRAM, 0, (RESOLVER, 0)), (AF_INET, SOCK_STREAM, 0, (RESOLVER, 0)))


def plug(place: Place, reservation: Reservation, new: tuple[Endpoint, ...], target: Target, names: bool) -> None:
    """Make the interfaces of the endpoints `new` in the namespace of `target`; `names`: and what asks the resolver of names.

    Raises OSError, CrateError.
    """
    kinds = (inside.NETLINK, *_NAMES) if names else (inside.NETLINK,)
    outside = bridge.open_outside(place)
    try:
        sockets = target.open_sockets(place.rootless, kinds, _settings(new))
        try:
            _pair_all(place, new, outside, sockets[0], bool(reservation.ports))
            _configure(sockets[0], reservation, new, place.rootless)
            if names:
                from cratebox.network import dns

                _, netfilter, udp, tcp = sockets
                dns.attach(place, reservation, target, udp, tcp, netfilter)
            for one in new:
                _await(one, outside, sockets[0])
        finally:
            for sock in sockets:
                sock.close()
    finally:
        outside.close()


def _settings(new: tuple[Endpoint, ...]) -> tuple[tuple[str, str], ...]:
    """For interfaces that are about to come: no IPv6 where the network has none, and no belief in who says he is a router."""
    if any(one.ip6 for one in new):
        return ("net/ipv6/conf/default/disable_ipv6", "0"), ("net/ipv6/conf/default/accept_ra", "0")
    return (("net/ipv6/conf/default/disable_ipv6", "1"),)


def _pair_all(place: Place, new: tuple[Endpoint, ...], outside: _socket.socket, within: _socket.socket, hairpin: bool) -> None:
    """The namespace is the one that the socket `within` is of, whatever has become of the process by now."""
    namespace = inside.namespace_of(within)
    try:
        for one in new:
            _pair(place, one, outside, namespace, hairpin)
    finally:
        os.close(namespace)


def _pair(place: Place, one: Endpoint, outside: _socket.socket, namespace: int, hairpin: bool) -> None:
    """`hairpin`: who asks for a port of the machine that is his own gets it where bridges filter packets (br_netfilter)."""
    index = netlink.link_index(outside, one.bridge)
    if not index:
        from cratebox.network import definitions

        index = bridge.ready(place, definitions.load(place, one.name), outside)
    made = [netlink.veth_message(one.outside, index, namespace, one.interface, parse_mac(one.mac), one.mtu)]
    if one.apart or hairpin:
        made.append(netlink.port_message(one.outside, one.apart, hairpin))
    netlink.perform(outside, made)


def _configure(sock: _socket.socket, reservation: Reservation, new: tuple[Endpoint, ...], rootless: bool) -> None:
    """Give the interfaces their addresses and bring them up. Without root the way outside is another one (network/usermode.py)."""
    indices = netlink.links(sock)
    messages = []
    for one in new:
        index = indices[one.interface]
        for address, prefix in ((one.ip, one.prefix), (one.ip6, one.prefix6)):
            if address:
                family = AF_INET6 if ":" in address else AF_INET
                messages.append(netlink.address_message(index, bridge.address_of(family, prefix, packed(address))))
        messages.append(netlink.up_message(index))
    netlink.perform(sock, messages if rootless else messages + _default_routes(reservation, new, indices))


def _await(one: Endpoint, outside: _socket.socket, sock: _socket.socket) -> None:
    """Who is asked by the first packet of a program answers: else the second one would be sent a second later."""
    netlink.await_carrier(outside, one.outside)
    netlink.await_carrier(outside, one.bridge)
    netlink.await_carrier(sock, one.interface)
    if one.ip6:
        netlink.await_address(sock, packed(one.ip6))


def _default_routes(reservation: Reservation, new: tuple[Endpoint, ...], indices: dict[str, int]) -> list[netlink.Message]:
    """Lead what is for elsewhere to the gateways, where they are those of `new`."""
    four, six = reservation.outward(), reservation.outward(six=True)
    made = []
    if four in new:
        made.append(netlink.default_route_message(AF_INET, packed(four.gateway), indices[four.interface]))
    if six in new:
        made.append(netlink.default_route_message(AF_INET6, packed(six.gateway6), indices[six.interface]))
    return made


def unplug(place: Place, left: Endpoint, after: Reservation, target: Target) -> None:
    """Delete the interfaces of the endpoint `left`; what it was the way for goes by the next one. Raises OSError."""
    delete(place, (left,))
    if place.rootless or not (left.gateway or left.gateway6):
        return
    sock = target.open_sockets(False, (inside.NETLINK,))[0]
    try:
        for message in _default_routes(after, after.endpoints, netlink.links(sock)):
            try:
                netlink.perform(sock, [message])
            except FileExistsError:
                pass  # it went by another one before
    finally:
        sock.close()


def delete_former(place: Place, reservation: Reservation) -> None:
    """Delete interfaces of before that have an address which is given out again: the kernel ends a namespace some 50 ms after
    its last process, and one that is still there would answer for the new one. Raises OSError.
    """
    again = {address for one in reservation.endpoints for address in (one.ip, one.ip6) if address}
    stale = [one.outside for one in reservation.former if one.outside and (one.ip in again or one.ip6 in again)]
    if stale:
        _delete(place, stale)


def delete(place: Place, old: tuple[Endpoint, ...]) -> None:
    """Delete the interfaces of endpoints, where they still are. Raises OSError."""
    _delete(place, [one.outside for one in old])


def _delete(place: Place, names: list[str]) -> None:
    outside = bridge.open_outside(place)
    try:
        for name in names:
            try:
                netlink.delete_link(outside, name)
            except OSError as error:
                if error.errno != errno.ENODEV:
                    raise
    finally:
        outside.close()
