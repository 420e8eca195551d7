"""rtnetlink(7): interfaces and their addresses, a message a function.

A socket belongs to the network namespace in which it was made, wherever its owner goes. Messages and attributes by
linux/netlink.h, linux/rtnetlink.h, linux/if_link.h and linux/if_addr.h; numbers are in the machine's order.
"""

from __future__ import annotations

import _socket
import os
import struct

from cratebox.record import Record

AF_NETLINK, NETLINK_ROUTE = 16, 0
RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 18, 20, 22
NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_DUMP, NLM_F_CREATE, NLM_F_EXCL = 0x1, 0x2, 0x4, 0x300, 0x400, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
IFLA_IFNAME, IFLA_NET_NS_FD = 3, 28
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS = 1, 2, 4, 8
IFA_F_PERMANENT, IFA_F_TENTATIVE, IFA_F_DADFAILED = 0x80, 0x40, 0x08
IFF_UP = 1
RT_SCOPE_UNIVERSE = 0
_NLMSG = "=IHHII"  # struct nlmsghdr: length, type, flags, sequence, port
_IFINFO = "=BxHiII"  # struct ifinfomsg: family, type, index, flags, change
_IFADDR = "=BBBBI"  # struct ifaddrmsg: family, prefix length, flags, scope, index
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


def open_socket() -> _socket.socket:
    """Return a socket of the network namespace that the caller is in. Raises OSError."""
    sock = _socket.socket(AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, NETLINK_ROUTE)
    sock.bind((0, 0))
    return sock


def links(sock: _socket.socket) -> dict[str, int]:
    """Return the index of each interface, by name. Raises OSError."""
    found = {}
    for body in _ask(sock, RTM_GETLINK, NLM_F_DUMP, struct.pack(_IFINFO, 0, 0, 0, 0, 0), "RTM_GETLINK"):
        index = struct.unpack_from(_IFINFO, body)[2]
        found[os.fsdecode(_attributes(body[16:]).get(IFLA_IFNAME, b"").rstrip(b"\0"))] = index
    return found


def addresses(sock: _socket.socket, index: int) -> list[Address]:
    """Return the addresses of the interface `index`. Raises OSError."""
    found = []
    for body in _ask(sock, RTM_GETADDR, NLM_F_DUMP, struct.pack(_IFADDR, 0, 0, 0, 0, 0), "RTM_GETADDR"):
        family, prefix, flags, scope, of = struct.unpack_from(_IFADDR, body)
        if of != index:
            continue
        words = _attributes(body[8:])
        flags = int.from_bytes(words[IFA_FLAGS], "little") if IFA_FLAGS in words else flags
        parts = (words.get(kind, b"") for kind in (IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST))
        found.append(Address(family, prefix, flags, scope, *parts))
    return found


def move_link(sock: _socket.socket, index: int, namespace: int, name: str) -> None:
    """Move the interface `index` into the network namespace of descriptor `namespace`, and call it `name` there.

    A `name` with %d is a pattern that the kernel fills in. The interface is down then and has no addresses. Raises OSError.
    """
    words = _attribute(IFLA_NET_NS_FD, struct.pack("=I", namespace)) + _attribute(IFLA_IFNAME, os.fsencode(name) + b"\0")
    _ask(sock, RTM_NEWLINK, NLM_F_ACK, struct.pack(_IFINFO, 0, 0, index, 0, 0) + words, f"move interface {index} as {name}")


def add_address(sock: _socket.socket, index: int, one: Address) -> None:
    """Give the interface `index` an address. Raises OSError."""
    body = struct.pack(_IFADDR, one.family, one.prefix, one.flags & 0xFF, one.scope, index)
    for kind, value in ((IFA_LOCAL, one.local), (IFA_ADDRESS, one.address), (IFA_BROADCAST, one.broadcast)):
        body += _attribute(kind, value) if value else b""
    body += _attribute(IFA_FLAGS, struct.pack("=I", one.flags))
    _ask(sock, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body, f"add an address to interface {index}")


def set_up(sock: _socket.socket, index: int) -> None:
    """Bring the interface `index` up. Raises OSError."""
    _ask(sock, RTM_NEWLINK, NLM_F_ACK, struct.pack(_IFINFO, 0, 0, index, IFF_UP, IFF_UP), f"bring interface {index} up")


def _ask(sock: _socket.socket, kind: int, flags: int, body: bytes, attempt: str) -> list[bytes]:
    """Send a message and return the bodies of the answers, up to the one that ends them."""
    sock.send(struct.pack(_NLMSG, 16 + len(body), kind, NLM_F_REQUEST | flags, 1, 0) + body)
    answers: list[bytes] = []
    while True:
        data = sock.recv(_SIZE)
        while len(data) >= 16:
            length, answer, _flags, _sequence, _port = struct.unpack_from(_NLMSG, data)
            if answer in {NLMSG_ERROR, NLMSG_DONE}:
                number = -struct.unpack_from("=i", data, 16)[0] if length >= 20 else 0
                if number > 0:
                    raise OSError(number, f"{attempt}: {os.strerror(number)}")
                return answers
            answers.append(data[16:length])
            data = data[length + 3 & ~3 :]


def _attribute(kind: int, value: bytes) -> bytes:
    """Return struct rtattr with its value, padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[length + 3 & ~3 :]
    return found
