"""A DNS client for tests: messages are made and read here as the specification has them, by no code of the resolver's."""

from __future__ import annotations

import os
import random
import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

RESOLVER = ("127.0.0.11", 53)
A, PTR, AAAA, OPT = 1, 12, 28, 41


def encoded(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("latin-1") for label in name.split(".") if label) + b"\0"


def question(name: str, kind: int = A, *, number: int = 7, flags: int = 0x100, edns: int = 0, klass: int = 1) -> bytes:
    """Return a query; with `edns` one that says it takes that many bytes."""
    extra = b"\0" + struct.pack(">HHIH", OPT, edns, 0, 0) if edns else b""
    head = struct.pack(">HHHHHH", number, flags, 1, 0, 0, int(bool(edns)))
    return head + encoded(name) + struct.pack(">HH", kind, klass) + extra


@dataclass
class Answer:
    """An answer as it was read: its code, flags, and the values of its records, addresses as text."""

    message: bytes
    number: int = 0
    code: int = 0
    flags: int = 0
    values: list[str] = field(default_factory=list)

    @property
    def is_cut(self) -> bool:
        return bool(self.flags & 0x200)


def read(message: bytes) -> Answer:
    number, flags, questions, answers, _authorities, _additions = struct.unpack_from(">HHHHHH", message)
    assert flags & 0x8000, "not an answer"
    found = Answer(message, number, flags & 15, flags)
    at = 12
    for _ in range(questions):
        at = _name(message, at)[1] + 4
    for _ in range(answers):
        _owner, at = _name(message, at)
        kind, _klass, _ttl, length = struct.unpack_from(">HHIH", message, at)
        at += 10
        data = message[at : at + length]
        if kind == A:
            found.values.append(socket.inet_ntop(socket.AF_INET, data))
        elif kind == AAAA:
            found.values.append(socket.inet_ntop(socket.AF_INET6, data))
        elif kind == PTR:
            found.values.append(_name(message, at)[0])
        else:
            found.values.append(data.hex())
        at += length
    return found


def _name(message: bytes, at: int) -> tuple[str, int]:
    labels, end = [], 0
    while message[at]:
        if message[at] >= 0xC0:
            end = end or at + 2
            at = struct.unpack_from(">H", message, at)[0] & 0x3FFF
            continue
        labels.append(message[at + 1 : at + 1 + message[at]].decode("latin-1"))
        at += 1 + message[at]
    return ".".join(labels), end or at + 1


def exchange(message: bytes, server: tuple[str, int] = RESOLVER, timeout: float = 10.0) -> bytes:
    """Send `message` from here as a datagram, and return what comes back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        sock.connect(server)
        sock.send(message)
        return sock.recv(65535)


def exchange_by_stream(message: bytes, server: tuple[str, int] = RESOLVER, timeout: float = 10.0) -> bytes:
    with socket.create_connection(server, timeout) as sock:
        sock.sendall(struct.pack(">H", len(message)) + message)
        return received(sock)


def received(sock: socket.socket) -> bytes:
    """Return the next message of a stream; fewer bytes where it has ended before."""
    return _exactly(sock, int.from_bytes(_exactly(sock, 2), "big"))


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data


def ask(name: str, kind: int = A, **more: int) -> Answer:
    return read(exchange(question(name, kind, **more)))


def ask_by_stream(name: str, kind: int = A) -> Answer:
    return read(exchange_by_stream(question(name, kind)))


def own_address() -> str:
    """Return an address below 127 that no other test has."""
    return f"127.{random.randrange(64, 253)}.{random.randrange(256)}.{random.randrange(1, 255)}"


class Upstream:
    """A server of the host's on an address of its own below 127, by datagrams and streams.

    `reply` makes of a query what is sent back: any number of messages; called with the query, and whether it came by a stream.
    """

    def __init__(self, reply: Callable[[bytes, bool], list[bytes]], address: str = "") -> None:
        self._reply = reply
        self.heard: list[bytes] = []
        self.senders: list[tuple[str, int]] = []
        self._udp, self._tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        self.address = address or own_address()
        self._udp.bind((self.address, 53))
        self._tcp.bind((self.address, 53))
        self._tcp.listen(64)
        self._end, self._told = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> Upstream:
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._told, b"E")
        self._thread.join()
        for one in (self._udp, self._tcp):
            one.close()
        os.close(self._end)
        os.close(self._told)

    def _serve(self) -> None:
        while True:
            ready = select.select([self._end, self._udp, self._tcp], [], [])[0]
            if self._end in ready:
                return
            if self._udp in ready:
                message, sender = self._udp.recvfrom(65535)
                self.heard.append(message)
                self.senders.append(sender)
                for one in self._reply(message, False):
                    self._udp.sendto(one, sender)
            if self._tcp in ready:
                with self._tcp.accept()[0] as sock:
                    message = received(sock)
                    self.heard.append(message)
                    for one in self._reply(message, True):
                        sock.sendall(struct.pack(">H", len(one)) + one)


def answering(message: bytes, *addresses: str, code: int = 0, cut: bool = False) -> bytes:
    """Return an answer to a query, as a server for anybody would give it."""
    number, flags = struct.unpack_from(">HH", message)
    end = _name(message, 12)[1] + 4
    head = struct.pack(">HHHHHH", number, 0x8080 | flags & 0x100 | code | 0x200 * cut, 1, len(addresses), 0, 0)
    records = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", A, 1, 300, 4) + socket.inet_aton(one) for one in addresses)
    return head + message[12:end] + records
