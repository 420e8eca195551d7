"""rtnetlink(7): interfaces, their addresses and routes, a message a function.

A socket belongs to the network namespace in which it was made, wherever its owner goes. Messages and attributes by
linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h and linux/veth.h; numbers are in the machine's order.

Each message is addressed to the kernel: then the kernel asks for the rights of who sends it. Of a message without an address it
asks as well for those of who opened the socket (netlink_ns_capable), who may have had other ones, in another user namespace.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct
import sys
import time

from cratebox.record import Record

AF_NETLINK, NETLINK_ROUTE, NETLINK_NETFILTER = 16, 0, 12
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR, RTM_NEWROUTE, RTM_GETROUTE = 16, 17, 18, 20, 22, 24, 26
NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_DUMP, NLM_F_CREATE, NLM_F_EXCL = 0x1, 0x2, 0x4, 0x300, 0x400, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD = 1, 3, 4, 10, 18, 28
IFLA_OPERSTATE, IF_OPER_UP = 16, 6
IFLA_IFALIAS, IFALIASZ = 20, 256  # bytes, with a zero at the end
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED, VETH_INFO_PEER = 4, 33, 1
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY = 1, 4, 5, 6
RT_TABLE_MAIN, RT_TABLE_LOCAL, RTPROT_BOOT, RTN_UNICAST, RTN_LOCAL = 254, 255, 3, 1, 2
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS = 1, 2, 4, 8
IFA_F_PERMANENT, IFA_F_TENTATIVE, IFA_F_DADFAILED, IFA_F_NODAD = 0x80, 0x40, 0x08, 0x02
IFF_UP = 1
RT_SCOPE_UNIVERSE = 0
_NLMSG = "=IHHII"  # struct nlmsghdr: length, type, flags, sequence, port
_IFINFO = "=BxHiII"  # struct ifinfomsg: family, type, index, flags, change
_IFADDR = "=BBBBI"  # struct ifaddrmsg: family, prefix length, flags, scope, index
_RTMSG = "=8BI"  # struct rtmsg: family, prefixes of destination and source, tos, table, protocol, scope, type, flags
_SIZE = 1 << 16


class Address(Record):
    """An address of an interface: struct ifaddrmsg without the interface, and its attributes."""

    family: int
    prefix: int  # bits
    flags: int
    scope: int
    local: bytes
    address: bytes
    broadcast: bytes


class Route(Record):
    """A route: its destination as bytes and bits, and the interface that it leads to. No destination: b"", 0."""

    family: int
    destination: bytes
    prefix: int
    table: int
    index: int


class Message(Record):
    """A message that changes something, for `perform`. `attempt` says in an error what was tried."""

    attempt: str
    kind: int
    flags: int
    body: bytes


def open_socket() -> _socket.socket:
    """Return a socket of the network namespace that the caller is in. Raises OSError."""
    sock = _socket.socket(AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, NETLINK_ROUTE)
    sock.bind((0, 0))
    return sock


def links(sock: _socket.socket) -> dict[str, int]:
    """Return the index of each interface, by name. Raises OSError."""
    found = {}
    for body in ask(sock, RTM_GETLINK, NLM_F_DUMP, struct.pack(_IFINFO, 0, 0, 0, 0, 0), "RTM_GETLINK"):
        index = struct.unpack_from(_IFINFO, body)[2]
        found[os.fsdecode(attributes(body[16:]).get(IFLA_IFNAME, b"").rstrip(b"\0"))] = index
    return found


def addresses(sock: _socket.socket, index: int = 0) -> list[Address]:
    """Return the addresses of the interface `index`, or of all. Raises OSError."""
    found = []
    for body in ask(sock, RTM_GETADDR, NLM_F_DUMP, struct.pack(_IFADDR, 0, 0, 0, 0, 0), "RTM_GETADDR"):
        family, prefix, flags, scope, of = struct.unpack_from(_IFADDR, body)
        if index and of != index:
            continue
        words = attributes(body[8:])
        flags = int.from_bytes(words[IFA_FLAGS], "little") if IFA_FLAGS in words else flags
        parts = (words.get(kind, b"") for kind in (IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST))
        found.append(Address(family, prefix, flags, scope, *parts))
    return found


def move_link(sock: _socket.socket, index: int, namespace: int, name: str) -> None:
    """Move the interface `index` into the network namespace of descriptor `namespace`, and call it `name` there.

    A `name` with %d is a pattern that the kernel fills in. The interface is down then and has no addresses. Raises OSError.
    """
    words = attribute(IFLA_NET_NS_FD, struct.pack("=I", namespace)) + attribute(IFLA_IFNAME, os.fsencode(name) + b"\0")
    ask(sock, RTM_NEWLINK, NLM_F_ACK, struct.pack(_IFINFO, 0, 0, index, 0, 0) + words, f"move interface {index} as {name}")


def add_address(sock: _socket.socket, index: int, one: Address) -> None:
    """Give the interface `index` an address. Raises OSError."""
    perform(sock, [address_message(index, one)])


def address_message(index: int, one: Address) -> Message:
    """Return the message that gives the interface `index` an address."""
    body = struct.pack(_IFADDR, one.family, one.prefix, one.flags & 0xFF, one.scope, index)
    for kind, value in ((IFA_LOCAL, one.local), (IFA_ADDRESS, one.address), (IFA_BROADCAST, one.broadcast)):
        body += attribute(kind, value) if value else b""
    body += attribute(IFA_FLAGS, struct.pack("=I", one.flags))
    return Message(f"add an address to interface {index}", RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body)


def set_up(sock: _socket.socket, index: int) -> None:
    """Bring the interface `index` up. Raises OSError."""
    perform(sock, [up_message(index)])


def up_message(index: int, mtu: int = 0, alias: str = "") -> Message:
    """Return the message that brings the interface `index` up; `mtu` in bytes, 0 for what it has. `alias` is what `ip link`
    shows beside its name; the kernel keeps 255 bytes.
    """
    words = attribute(IFLA_MTU, struct.pack("=I", mtu)) if mtu else b""
    words += attribute(IFLA_IFALIAS, os.fsencode(alias)[: IFALIASZ - 1]) if alias else b""
    body = struct.pack(_IFINFO, 0, 0, index, IFF_UP, IFF_UP) + words
    return Message(f"bring interface {index} up", RTM_NEWLINK, 0, body)


def link_index(sock: _socket.socket, name: str) -> int:
    """Return the index of the interface `name`, 0 where there is none. Raises OSError."""
    try:
        return int(struct.unpack_from(_IFINFO, _link(sock, name))[2])
    except OSError as error:
        if error.errno == errno.ENODEV:
            return 0
        raise


def await_carrier(sock: _socket.socket, name: str) -> None:
    """Wait until the interface `name` transmits, 0.1 s at most. Raises OSError.

    That its other end was brought up comes to the interface's ears, and to those of the bridge it is a port of, by a work of
    the kernel that is done later; what is sent before is lost, and asked again after a second. To be asked for an interface
    does that work at once (rtnl_getlink since Linux 6.8), and waits for it before.
    """
    for _ in range(100):
        if attributes(_link(sock, name)[16:]).get(IFLA_OPERSTATE) == bytes((IF_OPER_UP,)):
            return
        time.sleep(0.001)


def await_address(sock: _socket.socket, address: bytes) -> None:
    """Wait until packets for an address of IPv6 are taken in, 0.1 s at most. Raises OSError.

    Without duplicate address detection as well a work of the kernel makes the route to the address,
    some time after it was added.
    """
    body = struct.pack(_RTMSG, _socket.AF_INET6, 128, 0, 0, 0, 0, 0, 0, 0) + attribute(RTA_DST, address)
    for _ in range(100):
        try:
            if ask(sock, RTM_GETROUTE, NLM_F_ACK, body, "RTM_GETROUTE")[0][7] == RTN_LOCAL:
                return
        except OSError as error:
            if error.errno != errno.ENETUNREACH:
                raise
        time.sleep(0.001)


def _link(sock: _socket.socket, name: str) -> bytes:
    body = struct.pack(_IFINFO, 0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, os.fsencode(name) + b"\0")
    return ask(sock, RTM_GETLINK, NLM_F_ACK, body, f"look for interface {name}")[0]


def bridge_message(name: str, mtu: int = 0) -> Message:
    """Return the message that makes a bridge, which is down."""
    words = attribute(IFLA_IFNAME, os.fsencode(name) + b"\0")
    words += attribute(IFLA_MTU, struct.pack("=I", mtu)) if mtu else b""
    words += attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"bridge\0"))
    body = struct.pack(_IFINFO, 0, 0, 0, 0, 0) + words
    return Message(f"make the bridge {name}", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


def veth_message(name: str, master: int, namespace: int, peer: str, mac: bytes, mtu: int = 0) -> Message:
    """Return the message that makes a veth(4) pair.

    `name` is up and a port of the bridge `master`; `peer`, with the hardware address `mac`, is down in the network namespace of
    descriptor `namespace`.
    """
    size = attribute(IFLA_MTU, struct.pack("=I", mtu)) if mtu else b""
    inside = attribute(IFLA_IFNAME, os.fsencode(peer) + b"\0") + attribute(IFLA_ADDRESS, mac) + size
    inside += attribute(IFLA_NET_NS_FD, struct.pack("=I", namespace))
    data = attribute(VETH_INFO_PEER, struct.pack(_IFINFO, 0, 0, 0, 0, 0) + inside)
    info = attribute(IFLA_INFO_KIND, b"veth\0") + attribute(IFLA_INFO_DATA, data)
    words = attribute(IFLA_IFNAME, os.fsencode(name) + b"\0") + size
    words += attribute(IFLA_MASTER, struct.pack("=I", master)) + attribute(IFLA_LINKINFO, info)
    body = struct.pack(_IFINFO, 0, 0, 0, IFF_UP, IFF_UP) + words
    return Message(f"make the interfaces {name} and {peer}", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)


def port_message(name: str, isolated: bool, hairpin: bool) -> Message:
    """Return the message that says of the port `name` of a bridge whether it is kept from other isolated ones, and whether
    packets go out by it that came in by it.
    """
    data = attribute(IFLA_BRPORT_ISOLATED, bytes((isolated,))) + attribute(IFLA_BRPORT_MODE, bytes((hairpin,)))
    info = attribute(IFLA_INFO_SLAVE_KIND, b"bridge\0") + attribute(IFLA_INFO_SLAVE_DATA, data)
    words = attribute(IFLA_IFNAME, os.fsencode(name) + b"\0") + attribute(IFLA_LINKINFO, info)
    return Message(f"set up the port {name}", RTM_NEWLINK, 0, struct.pack(_IFINFO, 0, 0, 0, 0, 0) + words)


def delete_link(sock: _socket.socket, name: str) -> None:
    """Delete the interface `name`, which may take some 20 ms. Raises OSError: ENODEV where there is none."""
    body = struct.pack(_IFINFO, 0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, os.fsencode(name) + b"\0")
    perform(sock, [Message(f"delete the interface {name}", RTM_DELLINK, 0, body)])


def default_route_message(family: int, gateway: bytes, index: int) -> Message:
    """Return the message that adds the route for all that has no other: by `gateway`, at the interface `index`."""
    body = struct.pack(_RTMSG, family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0)
    body += attribute(RTA_GATEWAY, gateway) + attribute(RTA_OIF, struct.pack("=I", index))
    return Message("add the default route", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body)


def routes(sock: _socket.socket, family: int) -> list[Route]:
    """Return the unicast routes of the address `family`, of all tables but the local one. Raises OSError."""
    found = []
    for body in ask(sock, RTM_GETROUTE, NLM_F_DUMP, struct.pack(_RTMSG, family, 0, 0, 0, 0, 0, 0, 0, 0), "RTM_GETROUTE"):
        _family, prefix, _source, _tos, table, _protocol, _scope, kind, _flags = struct.unpack_from(_RTMSG, body)
        if table == RT_TABLE_LOCAL or kind != RTN_UNICAST:
            continue
        words = attributes(body[12:])
        index = int.from_bytes(words.get(RTA_OIF, b""), sys.byteorder)
        found.append(Route(family, words.get(RTA_DST, b""), prefix, table, index))
    return found


def perform(sock: _socket.socket, messages: list[Message]) -> None:
    """Send all messages at once, which the kernel does one after the other, and wait for its word on each.

    Raises OSError, of the first that failed; those behind it were tried all the same.
    """
    sent, first = b"", sequence(len(messages))
    for number, one in enumerate(messages, first):
        flags = NLM_F_REQUEST | NLM_F_ACK | one.flags
        sent += struct.pack(_NLMSG, 16 + len(one.body), one.kind, flags, number, 0) + one.body + bytes(-len(one.body) % 4)
    sock.sendto(sent, (0, 0))
    failed: OSError | None = None
    missing = len(messages)
    while missing:
        for answer, number, body in heard(sock, messages[0].attempt):
            if answer != NLMSG_ERROR or not 0 <= number - first < len(messages):
                continue
            missing -= 1
            code = -struct.unpack_from("=i", body)[0]
            if code and failed is None:
                failed = OSError(code, f"{messages[number - first].attempt}: {os.strerror(code)}")
    if failed:
        raise failed


def ask(sock: _socket.socket, kind: int, flags: int, body: bytes, attempt: str) -> list[bytes]:
    """Send a message and return the bodies of the answers, up to the one that ends them.
    Raises OSError with the kernel's number.
    """
    ours = sequence()
    sock.sendto(struct.pack(_NLMSG, 16 + len(body), kind, NLM_F_REQUEST | flags, ours, 0) + body, (0, 0))
    answers: list[bytes] = []
    while True:
        for answer, number, found in heard(sock, attempt):
            if number != ours:
                continue
            if answer in {NLMSG_ERROR, NLMSG_DONE}:
                code = -struct.unpack_from("=i", found)[0] if len(found) >= 4 else 0
                if code > 0:
                    raise OSError(code, f"{attempt}: {os.strerror(code)}")
                return answers
            answers.append(found)


_numbers = [0]  # the last one that a message of this process had


def sequence(count: int = 1) -> int:
    """Return the first of `count` numbers that no message of this process had:
    who gave up waiting takes no late answer for his next.
    """
    first = _numbers[0] + 1
    _numbers[0] = (first + count) & 0x7FFFFFFF
    return first


def heard(sock: _socket.socket, attempt: str) -> list[tuple[int, int, bytes]]:
    """Wait for what the kernel says next: kind, number and body of each message. Raises OSError: ENOBUFS where some of it was
    lost, ETIMEDOUT where the socket's patience has ended (SO_RCVTIMEO).
    """
    try:
        data = sock.recv(_SIZE)
    except BlockingIOError:
        raise OSError(errno.ETIMEDOUT, f"{attempt}: the kernel does not answer") from None
    except OSError as error:
        raise OSError(error.errno, f"{attempt}: {error.strerror}") from None
    found = []
    while len(data) >= 16:
        length, kind, _flags, number, _port = struct.unpack_from(_NLMSG, data)
        length = max(length, 16)
        found.append((kind, number, data[16:length]))
        data = data[length + 3 & ~3 :]
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute (struct nlattr, struct rtattr) with its value, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the values of attributes that follow each other, by their kinds."""
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[length + 3 & ~3 :]
    return found
