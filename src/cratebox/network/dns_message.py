"""DNS messages as a resolver for containers reads and writes them: RFC 1035 (section 4), RFC 6891 (EDNS).

What is read comes from containers and from anybody who sends: every length is looked at before it is believed, names in
questions have no pointers, and what is written is never longer than who asked can take.
"""

from __future__ import annotations

import struct

A, PTR, AAAA, OPT, IXFR, AXFR, ANY = 1, 12, 28, 41, 251, 252, 255  # types
IN = 1  # the class
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
RESPONSE, AUTHORITATIVE, TRUNCATED, RECURSION_DESIRED, RECURSION_AVAILABLE = 0x8000, 0x400, 0x200, 0x100, 0x80
PORT = 53
LARGEST = 65535  # bytes of a message over TCP
PLAIN = 512  # bytes that everybody takes over UDP
OURS = 1232  # bytes that we take over UDP: what no network on the way divides
_HEADER = struct.Struct(">HHHHHH")  # ID, flags, and the numbers of questions, answers, authorities, additions
_OPCODE = 0x7800
_MOST_ADDITIONS = 8


class Malformed(ValueError):
    """Not a message, or not one that can be answered."""


class Query:
    """A question as it came. `name` is in small letters, "" where it is one that no container has;
    `end` is where it ends in the message.

    `size` is how many bytes whoever asks takes over UDP; `edns` whether he said so; `version` his EDNS version, 0 as a rule.
    """

    __slots__ = ("edns", "end", "flags", "id", "klass", "message", "name", "size", "type", "version")

    def __init__(self, message: bytes) -> None:
        self.message = message
        self.id, self.flags, questions, answers, authorities, additions = _HEADER.unpack_from(message)
        self.name, self.type, self.klass, self.end = "", 0, 0, 12
        self.edns, self.size, self.version = False, PLAIN, 0
        if self.flags & _OPCODE:
            return
        if questions != 1 or answers or authorities or additions > _MOST_ADDITIONS:
            raise Malformed("not one question")
        self.name, at = _name(message)
        if at + 4 > len(message):
            raise Malformed("the question is cut")
        self.type, self.klass = struct.unpack_from(">HH", message, at)
        self.end = at + 4
        if additions:
            self._read_additions(additions)

    def _read_additions(self, count: int) -> None:
        message, at = self.message, self.end
        for _ in range(count):
            before, at = at, _after_name(message, at)
            start = at
            if at + 10 > len(message):
                raise Malformed("an additional record is cut")
            kind, size, extended, length = struct.unpack_from(">HHIH", message, at)
            at += 10 + length
            if at > len(message):
                raise Malformed("an additional record is cut")
            if kind == OPT:
                if self.edns or start != before + 1:
                    raise Malformed("not one OPT record of the root")
                self.edns, self.size, self.version = True, max(PLAIN, size), extended >> 16 & 0xFF

    @property
    def is_plain(self) -> bool:
        """Whether it is a question and nothing else (no update, no notification)."""
        return not self.flags & _OPCODE

    @property
    def question(self) -> bytes:
        """The question as it stands in the message."""
        return self.message[12 : self.end]


def read(message: bytes) -> Query | None:
    """Return the query that `message` is; None where it is none that may be answered at all: too short, or itself an answer.

    Raises Malformed where FORMERR is the answer.
    """
    if len(message) < 12 or message[2] & 0x80:
        return None
    return Query(message)


def answer(query: Query, code: int, records: list[bytes], *, most: int, authoritative: bool = True) -> bytes:
    """Return the answer to `query`, of at most `most` bytes: records that do not fit are left out, and that is said (TC)."""
    extra = b""
    if query.edns:
        extra = b"\0" + struct.pack(">HHIH", OPT, OURS, code >> 4 << 24, 0)
    room = most - query.end - len(extra)
    flags = RESPONSE | RECURSION_AVAILABLE | query.flags & (_OPCODE | RECURSION_DESIRED) | code & 15
    if authoritative:
        flags |= AUTHORITATIVE
    fitting = 0
    for record in records:
        room -= len(record)
        if room < 0:
            flags |= TRUNCATED
            break
        fitting += 1
    head = _HEADER.pack(query.id, flags, int(query.end > 12), fitting, 0, int(bool(extra)))
    return b"".join((head, query.question, *records[:fitting], extra))


def bare(message: bytes, code: int) -> bytes:
    """Return the answer to a message whose question cannot be read: its ID and the code."""
    number, flags = struct.unpack_from(">HH", message)
    return _HEADER.pack(number, RESPONSE | RECURSION_AVAILABLE | flags & (_OPCODE | RECURSION_DESIRED) | code, 0, 0, 0, 0)


def record(kind: int, data: bytes, ttl: int) -> bytes:
    """Return a record of the name that was asked for (a pointer to it); `ttl` in seconds."""
    return struct.pack(">HHHIH", 0xC00C, kind, IN, ttl, len(data)) + data


def encoded_name(name: str) -> bytes:
    """Return a name as a message has it. Raises Malformed where it cannot be one."""
    out = b""
    for label in name.split("."):
        raw = label.encode("latin-1", "replace")
        if not 0 < len(raw) < 64:
            raise Malformed(f"not a name: {name!r}")
        out += bytes([len(raw)]) + raw
    if len(out) > 254:
        raise Malformed(f"not a name: {name!r}")
    return out + b"\0"


def is_answer_to(message: bytes, number: int, question: bytes) -> bool:
    """Tell whether `message` answers the query with that ID and question, in whatever letters;
    if not, it is somebody's forgery.
    """
    return (
        len(message) >= 12 + len(question)
        and message[:2] == number.to_bytes(2, "big")
        and bool(message[2] & 0x80)
        and message[12 : 12 + len(question)].lower() == question.lower()
    )


def reversed_address(name: str) -> bytes | None:
    """Return the address that the name of a PTR question is about, 4 or 16 bytes; None where it is none."""
    labels = name.split(".")
    try:
        if name.endswith(".in-addr.arpa") and len(labels) == 6 and all(one.isascii() and one.isdigit() for one in labels[:4]):
            return bytes(int(one) for one in reversed(labels[:4]))
        if name.endswith(".ip6.arpa") and len(labels) == 34 and all(len(one) == 1 for one in labels[:32]):
            return bytes.fromhex("".join(reversed(labels[:32])))
    except ValueError:
        pass
    return None


def _name(message: bytes) -> tuple[str, int]:
    """Return the name at the question's place and where it ends. A label with a dot in it makes it nobody's name."""
    labels, at, ours = [], 12, True
    while True:
        if at >= len(message):
            raise Malformed("the name is cut")
        length = message[at]
        at += 1
        if not length:
            break
        if length > 63 or at + length > len(message):
            raise Malformed("not a label")
        label = message[at : at + length]
        at += length
        if at - 12 > 254:
            raise Malformed("the name is too long")
        ours = ours and b"." not in label
        labels.append(label)
    return b".".join(labels).decode("latin-1").lower() if ours else "", at


def _after_name(message: bytes, at: int) -> int:
    """Return where the name at `at` ends, which may be a pointer."""
    while True:
        if at >= len(message):
            raise Malformed("a name is cut")
        length = message[at]
        if length >= 0xC0:
            return at + 2
        if length > 63:
            raise Malformed("not a label")
        at += 1 + length
        if not length:
            return at
