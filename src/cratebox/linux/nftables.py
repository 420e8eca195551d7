"""nf_tables over nfnetlink: elements of sets and maps that come and go, and what tells whose a table is.

Rules are text that nft(8) reads, once a boot; an element is some microseconds of netlink. Messages and attributes by
linux/netfilter/nfnetlink.h and nf_tables.h; their numbers are in network order. What is in one transaction is done whole or not
at all.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

from cratebox.linux import netlink
from cratebox.linux.netlink import AF_NETLINK, NETLINK_NETFILTER, attribute, attributes

NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6 = 1, 2, 10
NFNLGRP_NFTABLES = 7
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 16, 17
NFNL_SUBSYS_NFTABLES = 10
_NFTABLES = NFNL_SUBSYS_NFTABLES << 8
NFT_MSG_GETTABLE, NFT_MSG_DELTABLE, NFT_MSG_GETCHAIN, NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM = 1, 2, 4, 12, 14
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_CREATE = 0x1, 0x4, 0x300, 0x400
NLMSG_ERROR = 2
NLA_F_NESTED = 0x8000
NFTA_TABLE_NAME, NFTA_TABLE_USERDATA = 1, 6
NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY, NFTA_CHAIN_TYPE = 1, 3, 4, 5, 7
NFTA_HOOK_HOOKNUM, NF_INET_FORWARD, NF_DROP = 1, 2, 0
NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS = 1, 2, 3
NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_DATA, NFTA_DATA_VALUE = 1, 1, 2, 1
_NLMSG = "=IHHII"  # struct nlmsghdr: length, type, flags, sequence, port
_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10
_PATIENCE = 60  # seconds; the kernel answers in microseconds, and after a lock that a large ruleset holds for some of them
_SIZE = 1 << 16
_MOST = 128  # elements in a message: each may be answered by an error, and all answers must fit in the socket's buffer


def open_socket() -> _socket.socket:
    """Return a socket of the network namespace that the caller is in. It does not wait for ever, and errors come without the
    message that they are about: so the answers to a large transaction fit in. Raises OSError.
    """
    sock = _socket.socket(AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, struct.pack("=qq", _PATIENCE, 0))  # struct timeval
    sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
    sock.bind((0, 0))
    return sock


def open_monitor() -> _socket.socket:
    """Return a socket that hears of everything that is changed of nf_tables in the network namespace of the caller,
    and never blocks.

    It takes CAP_NET_ADMIN. Raises OSError.
    """
    sock = _socket.socket(AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK, NETLINK_NETFILTER)
    sock.bind((0, 1 << NFNLGRP_NFTABLES - 1))
    return sock


def hears_of_deleted_table(monitor: _socket.socket) -> bool:
    """Read what has come; tell whether a table was deleted, or may have been: when more comes than fits, some of it is lost."""
    found = False
    while True:
        try:
            data = monitor.recv(_SIZE)
        except BlockingIOError:
            return found
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            found = True
            continue
        while len(data) >= 16:
            length, kind = struct.unpack_from("=IH", data)
            found = found or kind == _NFTABLES | NFT_MSG_DELTABLE
            data = data[max(length, 16) + 3 & ~3 :]


def table_userdata(sock: _socket.socket, name: str) -> bytes | None:
    """Return what its maker attached to the inet table `name` (its comment is in it); None where there is none.
    Raises OSError.
    """
    try:
        answers = ask(
            sock, _NFTABLES | NFT_MSG_GETTABLE, NLM_F_ACK, NFPROTO_INET, text(NFTA_TABLE_NAME, name), f"look for table {name}"
        )
    except FileNotFoundError:
        return None
    return attributes(answers[0][4:]).get(NFTA_TABLE_USERDATA, b"")


def forward_chains(sock: _socket.socket) -> list[tuple[int, str, str, bool]]:
    """Return the filters of what is forwarded: family, table and chain of each, and whether its policy is to drop.
    Raises OSError.
    """
    found = []
    for body in ask(sock, _NFTABLES | NFT_MSG_GETCHAIN, NLM_F_DUMP, 0, b"", "list chains"):
        words = attributes(body[4:])
        hook = attributes(words.get(NFTA_CHAIN_HOOK, b"")).get(NFTA_HOOK_HOOKNUM)
        if hook is None or int.from_bytes(hook, "big") != NF_INET_FORWARD or words.get(NFTA_CHAIN_TYPE) != b"filter\0":
            continue
        table, chain = (os.fsdecode(words.get(kind, b"").rstrip(b"\0")) for kind in (NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME))
        drops = words.get(NFTA_CHAIN_POLICY) == struct.pack(">I", NF_DROP)
        if body[0] in {NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6}:
            found.append((body[0], table, chain, drops))
    return found


def add_elements(sock: _socket.socket, table: str, elements: list[tuple[str, bytes, bytes]]) -> None:
    """Add elements to maps of the inet `table`: map, key and value of each.

    Very many do not fit in one message to the kernel: they are added part by part, and where a part is refused those before it
    are there. One that is there already with the same value is no error. Raises OSError: EEXIST where it has another value,
    ENOENT where there is no such table or map.
    """
    for part in _parts(elements):
        made = [(NFT_MSG_NEWSETELEM, NLM_F_CREATE, NFPROTO_INET, _element(table, *one)) for one in part]
        transact(sock, made, f"add elements to table {table}")


def delete_elements(sock: _socket.socket, table: str, elements: list[tuple[str, bytes, bytes]]) -> None:
    """Delete elements from maps of the inet `table`; those that are not there are no error. Raises OSError."""
    for part in _parts(elements):
        try:
            gone = [(NFT_MSG_DELSETELEM, 0, NFPROTO_INET, _element(table, *one)) for one in part]
            transact(sock, gone, f"delete elements of table {table}")
        except FileNotFoundError:  # none of this part was deleted
            for one in part if len(part) > 1 else ():
                delete_elements(sock, table, [one])


def _parts(elements: list[tuple[str, bytes, bytes]]) -> list[list[tuple[str, bytes, bytes]]]:
    return [elements[first : first + _MOST] for first in range(0, len(elements), _MOST)]


def _element(table: str, name: str, key: bytes, value: bytes) -> bytes:
    words = nested(NFTA_SET_ELEM_KEY, attribute(NFTA_DATA_VALUE, key))
    words += nested(NFTA_SET_ELEM_DATA, attribute(NFTA_DATA_VALUE, value))
    elements = nested(NFTA_SET_ELEM_LIST_ELEMENTS, nested(NFTA_LIST_ELEM, words))
    return text(NFTA_SET_ELEM_LIST_TABLE, table) + text(NFTA_SET_ELEM_LIST_SET, name) + elements


def transact(sock: _socket.socket, messages: list[tuple[int, int, int, bytes]], attempt: str) -> None:
    """Send `messages` (kind, flags, family, attributes) as one transaction. Raises OSError for the first that the kernel
    refused; ENOBUFS and ETIMEDOUT: what became of it is not known.
    """
    begin = netlink.sequence(len(messages) + 2)
    last = begin + len(messages)
    sent = _batch_edge(NFNL_MSG_BATCH_BEGIN, begin)
    for number, (kind, flags, family, body) in enumerate(messages, begin + 1):
        flags |= NLM_F_REQUEST | (NLM_F_ACK if number == last else 0)
        sent += _message(_NFTABLES | kind, flags, number, family, body)
    sock.sendto(sent + _batch_edge(NFNL_MSG_BATCH_END, last + 1), (0, 0))
    refused = 0
    while True:
        for answer, number, body in netlink.heard(sock, attempt):
            if answer != NLMSG_ERROR or not begin <= number <= last:
                continue
            refused = refused or -struct.unpack_from("=i", body)[0]
            if number in {begin, last}:  # of the whole, or of the last one
                if refused:
                    raise OSError(refused, f"{attempt}: {os.strerror(refused)}")
                return


def ask(sock: _socket.socket, kind: int, flags: int, family: int, body: bytes, attempt: str) -> list[bytes]:
    """Send a message of nfnetlink, `kind` with its subsystem, and return the bodies of the answers. Raises OSError."""
    return netlink.ask(sock, kind, flags, _nfgenmsg(family) + body, attempt)


def _message(kind: int, flags: int, number: int, family: int, body: bytes) -> bytes:
    return struct.pack(_NLMSG, 20 + len(body), kind, flags, number, 0) + _nfgenmsg(family) + body


def _batch_edge(kind: int, number: int) -> bytes:
    return struct.pack(_NLMSG, 20, kind, NLM_F_REQUEST, number, 0) + _nfgenmsg(0, NFNL_SUBSYS_NFTABLES)


def _nfgenmsg(family: int, resource: int = 0) -> bytes:
    return struct.pack(">BBH", family, 0, resource)  # the one between them is the version


def nested(kind: int, value: bytes) -> bytes:
    """Return an attribute whose value is attributes."""
    return attribute(NLA_F_NESTED | kind, value)


def text(kind: int, value: str) -> bytes:
    return attribute(kind, os.fsencode(value) + b"\0")
