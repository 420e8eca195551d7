"""nf_tables: tables, chains and rules by messages of our own, where `nft` would cost the start of a program.

A message is what `nftables.transact` takes. Expressions work on one register, as `nft --debug=netlink` shows them: load,
compare, store. Numbers by linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct

from cratebox.linux.netlink import attribute
from cratebox.linux.nftables import NFT_MSG_DELTABLE, NLM_F_CREATE, nested, text

Message = tuple[int, int, int, bytes]  # kind, flags, family, attributes

NF_INET_LOCAL_OUT = 3
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2  # NFT_PAYLOAD_*
_NLM_F_APPEND = 0x800
_NFT_MSG_NEWTABLE, _NFT_MSG_NEWCHAIN, _NFT_MSG_NEWRULE = 0, 3, 6
_REGISTER = struct.pack(">I", 1)  # NFT_REG_1, 16 bytes
_NFT_META_L4PROTO, _NFT_CMP_EQ, _NFT_PAYLOAD_CSUM_INET = 16, 0, 1


def add_table(family: int, name: str) -> Message:
    """Return the message that makes a table where it is not there yet."""
    return _NFT_MSG_NEWTABLE, NLM_F_CREATE, family, text(1, name)


def delete_table(family: int, name: str) -> Message:
    """Return the message that takes a table away, with all that is in it; there must be one."""
    return NFT_MSG_DELTABLE, 0, family, text(1, name)


def add_filter_chain(family: int, table: str, name: str, hook: int, priority: int) -> Message:
    """Return the message that makes a chain of type filter which the packets of a hook go through."""
    place = _number(1, hook) + attribute(2, struct.pack(">i", priority))
    return _NFT_MSG_NEWCHAIN, NLM_F_CREATE, family, text(1, table) + text(3, name) + nested(4, place) + text(7, "filter")


def add_rule(family: int, table: str, chain: str, *expressions: bytes) -> Message:
    """Return the message that appends a rule to a chain."""
    listed = b"".join(nested(1, one) for one in expressions)
    return _NFT_MSG_NEWRULE, NLM_F_CREATE | _NLM_F_APPEND, family, text(1, table) + text(2, chain) + nested(4, listed)


def load(header: int, offset: int, length: int) -> bytes:
    """Load `length` bytes of a packet's header into the register."""
    return _expression("payload", attribute(1, _REGISTER), _where(header, offset, length))


def load_protocol() -> bytes:
    """Load the transport's protocol (a byte) into the register."""
    return _expression("meta", attribute(1, _REGISTER), _number(2, _NFT_META_L4PROTO))


def equals(value: bytes) -> bytes:
    """Go on where the register is `value`."""
    return _expression("cmp", attribute(1, _REGISTER), _number(2, _NFT_CMP_EQ), nested(3, attribute(1, value)))


def store(value: bytes, header: int, offset: int, checksum: int) -> tuple[bytes, bytes]:
    """Write `value` into a packet's header, and what it changes in the sum at `checksum` of the same header."""
    sums = _number(6, _NFT_PAYLOAD_CSUM_INET) + _number(7, checksum)
    return (
        _expression("immediate", attribute(1, _REGISTER), nested(2, attribute(1, value))),
        _expression("payload", attribute(5, _REGISTER), _where(header, offset, len(value)), sums),
    )


def _where(header: int, offset: int, length: int) -> bytes:
    return _number(2, header) + _number(3, offset) + _number(4, length)


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value))


def _expression(name: str, *words: bytes) -> bytes:
    return text(1, name) + nested(2, b"".join(words))
