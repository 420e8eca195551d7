"""Whether a server on this machine speaks TLS, found out by the first word of that language (RFC 5246, 7.4.1.2).

A registry of one's own is mostly in plain HTTP. Loading TLS and the system's authorities takes longer than the rest of a small
pull; writing one ClientHello does not. Who it is that answers, the requests that follow will check.
"""

from __future__ import annotations

import os
from _socket import SOCK_STREAM, getaddrinfo, socket

from cratebox.image.origin import Origin

_TIMEOUT = 10.0  # seconds
_HANDSHAKE, _ALERT = b"\x16", b"\x15"  # kinds of records: what a server of TLS answers with
_TLS_1_0, _TLS_1_2 = b"\x03\x01", b"\x03\x03"
# Suites and extensions that servers of the last fifteen years know; one that knows none of them says so, in TLS.
_SUITES = bytes.fromhex("1301 1302 1303 c02b c02f c02c c030 cca9 cca8 c013 c014 009c 009d 002f 0035")
_GROUPS = bytes.fromhex("000a 0008 0006 001d 0017 0018")
_POINTS = bytes.fromhex("000b 0002 01 00")
_SIGNATURES = bytes.fromhex("000d 000e 000c 0403 0804 0401 0503 0805 0501")
_NO_COMPRESSION = b"\x01\x00"


def speaks_tls(origin: Origin) -> bool | None:
    """Tell whether what listens at `origin` answers a TLS greeting with TLS; nothing else is sent. None: it is not clear."""
    try:
        with _connected(origin) as sock:
            sock.sendall(_hello(origin.host))
            return sock.recv(1) in (_HANDSHAKE, _ALERT)  # what hangs up, or answers with text, does not
    except (ConnectionResetError, BrokenPipeError):
        return False
    except ConnectionRefusedError:
        return origin.port != 443  # a name without a port: it may be at port 80
    except OSError:
        return None  # no answer in time, as where many ask at once


class _connected:  # noqa: N801  used like a function
    """A connection for as long as the context lasts. Raises OSError."""

    def __init__(self, origin: Origin) -> None:
        self._socket = connect(origin, _TIMEOUT)

    def __enter__(self) -> socket:
        return self._socket

    def __exit__(self, *_error: object) -> None:
        self._socket.close()


def connect(origin: Origin, seconds: float) -> socket:
    """Return a connection to the first address of `origin` that takes one, each being given so many seconds; they hold for what
    is done with it as well. Raises OSError.
    """
    failed: OSError | None = None
    # As bytes: for a text the codec of international names would be loaded.
    for family, kind, protocol, _, address in getaddrinfo(origin.host.encode(), origin.port, 0, SOCK_STREAM):
        sock = socket(family, kind, protocol)
        try:
            sock.settimeout(seconds)
            sock.connect(address)
        except OSError as error:
            sock.close()
            failed = error
        else:
            return sock
    raise failed or OSError(f"{origin.host} has no address")


def _hello(host: str) -> bytes:
    """Return a ClientHello in its record."""
    extensions = _named(host) + _GROUPS + _POINTS + _SIGNATURES
    suites = len(_SUITES).to_bytes(2) + _SUITES
    body = _TLS_1_2 + os.urandom(32) + b"\x00" + suites + _NO_COMPRESSION + len(extensions).to_bytes(2) + extensions
    message = b"\x01" + len(body).to_bytes(3) + body
    return _HANDSHAKE + _TLS_1_0 + len(message).to_bytes(2) + message


def _named(host: str) -> bytes:
    """Return the extension that says whom we want to speak with; addresses have none (RFC 6066, 3)."""
    if host != "localhost":
        return b""
    name = host.encode()
    entry = b"\x00" + len(name).to_bytes(2) + name
    listed = len(entry).to_bytes(2) + entry
    return b"\x00\x00" + len(listed).to_bytes(2) + listed
