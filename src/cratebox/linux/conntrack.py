"""Connections that the kernel keeps track of, over nfnetlink: found by protocol and port, and forgotten.

A flow of UDP that was seen once goes the same way as long as packets come, whatever the rules of today say. Messages and
attributes by linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import struct

from cratebox.linux.netlink import attribute, attributes
from cratebox.linux.nftables import NLM_F_ACK, NLM_F_DUMP, ask, nested
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

_SUBSYSTEM, _GET, _DELETE = 1, 1, 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE
_TUPLE_ORIG, _TUPLE_REPLY, _ZONE, _FILTER = 1, 2, 18, 25  # CTA_*
_TUPLE_IP, _TUPLE_PROTO, _PROTO_NUM, _PROTO_DST_PORT = 1, 2, 1, 3
_FILTER_ORIG_FLAGS, _BY_PROTOCOL, _BY_DESTINATION_PORT = 1, 1 << 3, 1 << 5
_SOURCE, _DESTINATION = {2: 1, 10: 3}, {2: 2, 10: 4}  # CTA_IP_V4_SRC and so on, by family


class Flow(Record):
    """Who asked whom, and who answers: another one where the destination was translated. `words` name it to the kernel."""

    destination: bytes
    answers: bytes
    words: bytes


def flows(sock: _socket.socket, family: int, protocol: int, port: int) -> list[Flow]:
    """Return the flows of the address `family` to `port`, as it was asked for. `sock` is one of nftables.py's.
    Raises OSError.
    """
    numbers = attribute(_PROTO_NUM, bytes((protocol,))) + attribute(_PROTO_DST_PORT, port.to_bytes(2, "big"))
    body = nested(_TUPLE_ORIG, nested(_TUPLE_PROTO, numbers))
    body += nested(_FILTER, attribute(_FILTER_ORIG_FLAGS, struct.pack("=I", _BY_PROTOCOL | _BY_DESTINATION_PORT)))
    found = []
    for answer in ask(sock, _SUBSYSTEM << 8 | _GET, NLM_F_DUMP, family, body, "list the flows that are tracked"):
        words = attributes(answer[4:])
        asked, answered = (attributes(attributes(words[kind])[_TUPLE_IP]) for kind in (_TUPLE_ORIG, _TUPLE_REPLY))
        name = nested(_TUPLE_ORIG, words[_TUPLE_ORIG])
        name += attribute(_ZONE, words[_ZONE]) if _ZONE in words else b""
        found.append(Flow(asked[_DESTINATION[family]], answered[_SOURCE[family]], name))
    return found


def forget(sock: _socket.socket, family: int, flow: Flow) -> None:
    """Have the kernel forget a flow: its next packet is a first one. One that has ended by itself is no error.
    Raises OSError.
    """
    try:
        ask(sock, _SUBSYSTEM << 8 | _DELETE, NLM_F_ACK, family, flow.words, "forget a flow")
    except FileNotFoundError:
        pass
