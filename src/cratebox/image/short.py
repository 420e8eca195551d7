"""The short way to ask a registry what a name stands for: one HEAD, for an image that is most likely there already.

urllib3 and what it needs take longer to import than such a question to be answered. Here is as much of HTTP as an ordinary
answer needs (RFC 9112), spoken with the rules of asking.py, tls.py and token.py; the dialogue is that of registry.py. Whatever
is not ordinary (a proxy, a mirror, a redirect, a fault, headers that are odd or many, no answer in time) is left to fetch.py,
which asks again.
"""

from __future__ import annotations

import time

from cratebox.errors import CrateError, RegistryError
from cratebox.image import asking, endpoints
from cratebox.image.asking import Reply
from cratebox.image.greeting import connect
from cratebox.image.origin import Origin, is_forbidden, parse_url, target
from cratebox.image.proxies import proxy_for
from cratebox.image.registry import Registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from _socket import socket
    from collections.abc import Callable, Mapping

    from cratebox.image.asking import Body
    from cratebox.image.reference import Reference
    from cratebox.image.settings import Settings

_MAX_HEADERS = 64 << 10  # bytes
_ANSWER_TIMEOUT = 30.0  # seconds for all of an answer, and for a handshake
_TOKEN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~")


class Unusual(Exception):
    """The question cannot be asked in the short way, or the answer not be understood."""


def head(reference: Reference, settings: Settings) -> str | None:
    """Return the digest that `reference` stands for in its registry, None where that must be asked in the long way.

    Raises NotAllowed where the name is blocked, RegistryError where a password was refused: it is not sent again, since some
    lock accounts after a few.
    """
    ways = endpoints.to_read(reference, settings)
    if len(ways) != 1:
        return None
    asker = _Asker(reference=ways[0].reference, settings=ways[0].settings)
    try:
        return Registry(asker.reference, asker.settings, asker=asker).head()
    except (Unusual, CrateError, OSError, ValueError) as error:
        if isinstance(error, RegistryError) and asker.refused:
            raise
        return None  # fetch.py finds the same, and the words for it
    finally:
        asker.close()


class _Asker:
    """What fetch.Fetcher is, for GET and HEAD, without a second try."""

    def __init__(self, reference: Reference, settings: Settings) -> None:
        self.reference, self.settings = reference, settings
        self.own: tuple[Origin, ...] = ()
        self.refused = False  # a password was sent, and did not do
        self._free: dict[Origin, _Connection] = {}  # where a HEAD was answered: the next request goes there

    def reopen(self, _say: Callable[[str], None]) -> None:
        self.close()

    def close(self) -> None:
        for connection in self._free.values():
            connection.close()
        self._free = {}

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        authorization: str | None = None,
        body: Body | None = None,
        tries: int | None = None,
        foreign: bool = False,
    ) -> Reply:
        """As Fetcher.request, but that it raises Unusual or OSError where there is no ordinary answer."""
        origin = parse_url(url)
        # One try is for a registry that may not speak TLS: what that looks like, fetch.py knows.
        if method not in ("GET", "HEAD") or body is not None or tries == 1 or proxy_for(origin) is not None:
            raise Unusual
        words = {"Host": origin.authority, **asking.HEADERS, **headers}
        if authorization:
            words["Authorization"] = authorization
        connection = self._free.pop(origin, None) or self._open(origin)
        try:
            response = connection.ask(method, target(url), words)
        except BaseException:
            connection.close()
            raise
        if response.status in asking.RETRIED or response.status in asking.REDIRECTS:
            connection.close()
            raise Unusual
        if response.status in (401, 403) and (authorization or "").startswith("Basic "):
            self.refused = True
        response.released = lambda: self._release(origin, connection)
        return Reply(response, method, url, foreign)

    def _open(self, origin: Origin) -> _Connection:
        sock = connect(origin, asking.CONNECT_TIMEOUT)
        try:
            # Before a byte is sent: what the user typed may be any address, what a registry names may not.
            if origin not in self.own and is_forbidden(str(sock.getpeername()[0])):
                raise Unusual
            return _Connection(self._secured(sock, origin) if origin.scheme == "https" else sock)
        except BaseException:
            sock.close()
            raise

    def _secured(self, sock: socket, origin: Origin) -> ssl.SSLSocket:
        """Return the connection with TLS, verified as far as the settings want it.
        Raises RegistryError, OSError (ssl.SSLError).
        """
        import socket as sockets

        from cratebox.image import tls

        context = tls.context(origin, origin in self.own, self.reference.registry, self.own, self.settings)
        context.set_alpn_protocols(["http/1.1"])
        whole = sockets.socket(fileno=sock.detach())
        try:
            whole.settimeout(_ANSWER_TIMEOUT)  # for the handshake as a whole
            return context.wrap_socket(whole, server_hostname=origin.host)
        except BaseException:
            whole.close()
            raise

    def _release(self, origin: Origin, connection: _Connection) -> None:
        if origin in self._free:
            connection.close()
        else:
            self._free[origin] = connection


class _Connection:
    """One connection, on which one question is asked at a time."""

    def __init__(self, sock: socket | ssl.SSLSocket) -> None:
        self._socket = sock
        self._deadline = 0.0

    def close(self) -> None:
        self._socket.close()

    def ask(self, method: str, path: str, headers: Mapping[str, str]) -> _Response:
        """Send a request and return the answer to it. Raises Unusual, OSError.

        By HTTP/1.0 where the answer has a body: it is not sent in chunks then, and ends with the connection.
        """
        self._deadline = time.monotonic() + _ANSWER_TIMEOUT
        version = "1.1" if method == "HEAD" else "1.0"
        lines = [f"{method} {path} HTTP/{version}", *(f"{name}: {value}" for name, value in headers.items())]
        if not all(line.isascii() and line.isprintable() for line in lines):
            raise Unusual
        self._socket.settimeout(asking.READ_TIMEOUT)
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        received, end = b"", -1
        while end < 0:
            if len(received) > _MAX_HEADERS or not (part := self.receive(16 << 10)):
                raise Unusual
            received += part
            end = received.find(b"\r\n\r\n")
        return _Response(self, method, received[:end], received[end + 4 :])

    def receive(self, most: int) -> bytes:
        """Return at most so many bytes, none at the end. Raises OSError,
        TimeoutError where the answer as a whole takes too long.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(min(left, asking.READ_TIMEOUT))
        return self._socket.recv(most)


class _Response:
    """An answer, as asking.Response says. Raises Unusual for a head that is not wholly ordinary."""

    def __init__(self, connection: _Connection, method: str, head_: bytes, rest: bytes) -> None:
        self._connection, self._rest = connection, rest
        version, self.status, self.headers = _parsed(head_)
        length = self.headers.get("content-length")
        if "transfer-encoding" in self.headers and method != "HEAD":
            raise Unusual
        if length is not None and not (length.isascii() and length.isdigit() and len(length) < 16):
            raise Unusual
        self.length_remaining: int | None = 0 if method == "HEAD" else None if length is None else int(length)
        lasting = version == b"HTTP/1.1" and (self.headers.get("connection") or "keep-alive").lower() == "keep-alive"
        self._kept = lasting and method == "HEAD" and not rest
        self.released: Callable[[], None] = connection.close

    def read1(self, amount: int) -> bytes:
        """Return at most so many bytes of the body, none at its end. Raises Unusual where the connection ends before."""
        left = self.length_remaining
        most = amount if left is None else min(amount, left)
        if not most:
            return b""
        if self._rest:
            part, self._rest = self._rest[:most], self._rest[most:]
        elif not (part := self._connection.receive(most)) and left:
            raise Unusual
        if left is not None:
            self.length_remaining = left - len(part)
        return part

    read = read1

    def close(self) -> None:
        self._connection.close()

    def release_conn(self) -> None:
        """Keep the connection for the next request, where it can take one."""
        if self._kept:
            self.released()
        else:
            self.close()


class _Headers(dict[str, str]):
    """Values by names in lower case."""

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return super().get(name.lower(), default)


def _parsed(head_: bytes) -> tuple[bytes, int, _Headers]:
    """Return version, status and headers of an answer. Raises Unusual for what is not exactly in order (RFC 9112, 4 and 5)."""
    line, *fields = head_.split(b"\r\n")
    version, status = line[:8], line[9:12]
    if version not in (b"HTTP/1.0", b"HTTP/1.1") or line[8:9] != b" " or line[12:13] not in (b"", b" ") or not status.isdigit():
        raise Unusual
    if int(status) < 200 or _has_controls(line):  # below 200: more of them may come, or another protocol
        raise Unusual
    headers = _Headers()
    for field in fields:
        name, colon, value = field.partition(b":")
        if not colon or not name or not _TOKEN.issuperset(name) or _has_controls(value):
            raise Unusual
        key, text = name.decode().lower(), value.decode("latin-1").strip(" \t")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return version, int(status), headers


def _has_controls(text: bytes) -> bool:
    return any(byte < 32 and byte != 9 for byte in text)
