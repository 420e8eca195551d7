"""As much of gRPC as a client needs that makes one call after the other: protobuf's wire format, and a call over HTTP/2.

A message is described by a table, of the names that its fields have to the numbers and kinds that they go by on the wire:

    PERSON = {"name": (1, str), "age": (2, int), "friends": (3, [str]), "home": (4, ADDRESS), "labels": (5, TEXTS)}

Values are dicts. Fields that are not in the table are passed over when they come, and refused when they are to go.
(protobuf.dev, "Encoding"; the gRPC project's "gRPC over HTTP2".)
"""

from __future__ import annotations

import socket
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events

Message = dict[str, Any]
TEXTS: Message = {"key": (1, str), "value": (2, str)}  # map<string, string>, which is a dict here
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class CallFailed(Exception):
    """The server's answer is an error: its code (the gRPC project's "Status codes") and what it says."""

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"{method}: {message} (code {code})")
        self.code = code
        self.message = message


# --- protobuf --------------------------------------------------------------------------------------------------------


def encode(table: Message, value: Message) -> bytes:
    """Return a message as bytes. Raises KeyError for a field that the table does not have."""
    out = bytearray()
    for name, one in value.items():
        number, kind = table[name]
        if kind is TEXTS:
            for key, text in one.items():
                out += _field(number, TEXTS, {"key": key, "value": text})
        elif kind == [int]:
            out += _sized(number, b"".join(_varint(item) for item in one))
        elif isinstance(kind, list):
            out += b"".join(_field(number, kind[0], item) for item in one)
        else:
            out += _field(number, kind, one)
    return bytes(out)


def decode(table: Message, data: bytes) -> Message:
    """Return the message in `data`: what is not in there is 0, empty, or for a message None."""
    value: Message = {name: _nothing(kind) for name, (_, kind) in table.items()}
    fields = {number: (name, kind) for name, (number, kind) in table.items()}
    for number, raw in _raw_fields(data):
        if number not in fields:
            continue
        name, kind = fields[number]
        if kind is TEXTS:
            pair = decode(TEXTS, raw)  # type: ignore[arg-type]
            value[name][pair["key"]] = pair["value"]
        elif kind == [int] and isinstance(raw, bytes):
            value[name] += _varints(raw)
        elif isinstance(kind, list):
            value[name].append(_value(kind[0], raw))
        else:
            value[name] = _value(kind, raw)
    return value


def _field(number: int, kind: Any, value: Any) -> bytes:
    if kind in (int, bool):
        return _varint(number << 3 | _VARINT) + _varint(int(value))
    if isinstance(kind, dict):
        return _sized(number, encode(kind, value))
    return _sized(number, value.encode() if kind is str else value)


def _sized(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # a number below zero goes as if it had no sign
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _raw_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _read_varint(data, at)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}[wire]
        yield number, data[at : at + size]
        at += size


def _varints(data: bytes) -> list[int]:
    at, found = 0, []
    while at < len(data):
        value, at = _read_varint(data, at)
        found.append(_signed(value))
    return found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _value(kind: Any, raw: Any) -> Any:
    if isinstance(kind, dict):
        return decode(kind, raw)
    if kind is int:
        return _signed(raw)
    return raw.decode() if kind is str else kind(raw)


def _nothing(kind: Any) -> Any:
    if kind is TEXTS:
        return {}
    return [] if isinstance(kind, list) else None if isinstance(kind, dict) else kind()


# --- a call ----------------------------------------------------------------------------------------------------------


def call(place: Path, method: str, request: bytes, timeout: float = 120) -> bytes:
    """Call `/package.Service/Method` of the server that listens at the socket `place`, and return its answer.

    `timeout` is in seconds without a word from the server. Raises CallFailed.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(str(place))
        dialogue = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        dialogue.initiate_connection()
        stream = dialogue.get_next_available_stream_id()
        words = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "localhost"}
        words |= {"content-type": "application/grpc", "te": "trailers"}
        dialogue.send_headers(stream, list(words.items()))
        dialogue.send_data(stream, b"\0" + len(request).to_bytes(4, "big") + request, end_stream=True)
        connection.sendall(dialogue.data_to_send())
        return _answer(method, connection, dialogue)


def _answer(method: str, connection: socket.socket, dialogue: h2.connection.H2Connection) -> bytes:
    body, told = bytearray(), {}
    ended = False
    while not ended:
        came = connection.recv(1 << 16)
        if not came:
            raise ConnectionError(f"{method}: the server hung up")
        for event in dialogue.receive_data(came):
            if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                told |= dict(event.headers or ())
            elif isinstance(event, h2.events.DataReceived):
                body += event.data or b""
                dialogue.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                raise ConnectionError(f"{method}: {event}")
            ended = ended or isinstance(event, h2.events.StreamEnded)
        connection.sendall(dialogue.data_to_send())
    if told.get("grpc-status") != "0":
        raise CallFailed(method, int(told.get("grpc-status", 2)), urllib.parse.unquote(str(told.get("grpc-message", told))))
    return bytes(body[5:])
