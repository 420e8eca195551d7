"""Connections that a registry cannot keep busy for ever, nor lead to where it must not.

A read that waits for a byte has its timeout; whoever sends one from time to time, in a handshake, in headers or as endless
"100 Continue", passes it. So there is a limit for each of these as a whole, by a thread that hangs up.
"""

from __future__ import annotations

import socket
import threading

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse

from cratebox.image.origin import is_forbidden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _R = TypeVar("_R")

ANSWER_TIMEOUT = 60.0  # seconds from a request to the end of the answer's headers; and for a handshake

TAKE_TIMEOUT = 300.0  # seconds for the answer to a blob: a registry may copy all of it before


class Forbidden(Exception):
    """A name led to an address that is_forbidden. No OSError: urllib3 would take it for a broken connection."""


class _Limit:
    """The time that one connection has for one thing."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self.passed = False

    def watch(self, sock: socket.socket) -> socket.socket:
        """Take note of what is to be hung up: a descriptor of its own, for TLS takes the socket's away."""
        self.forget()
        self._socket = sock.dup()
        return sock

    def forget(self) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None

    def keep(self, work: Callable[[], _R], seconds: float, drop: Callable[[_R], object] = bool) -> _R:
        """Return what `work` returns. Raises TimeoutError where it takes longer; `drop` ends what came of it then."""
        timer = threading.Timer(seconds, self._hang_up)
        timer.daemon = True
        self.passed = False
        timer.start()
        try:
            done = work()
        except Exception:
            if self.passed:
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()
            timer.join()  # a fork comes later, and wants no thread
        if self.passed:  # the end of the connection was taken for that of the headers
            drop(done)
            raise TimeoutError
        return done

    def _hang_up(self) -> None:
        self.passed = True
        try:
            if self._socket:
                self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was faster


class HTTP(HTTPConnection):
    """A plain connection. `named`: by the user, who may name any address; a registry may not."""

    named = True

    def _new_conn(self) -> socket.socket:
        return _checked(self, super()._new_conn())

    def connect(self) -> None:
        _limit(self).keep(super().connect, ANSWER_TIMEOUT)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        seconds = TAKE_TIMEOUT if self.timeout == TAKE_TIMEOUT else ANSWER_TIMEOUT
        return _limit(self).keep(super().getresponse, seconds, HTTPResponse.close)

    def close(self) -> None:
        super().close()
        _limit(self).forget()


class HTTPS(HTTP, HTTPSConnection):
    """The same with TLS."""


class _UnnamedHTTP(HTTP):
    named = False


class _UnnamedHTTPS(HTTPS):
    named = False


def use(pool: urllib3.HTTPConnectionPool, named: bool) -> urllib3.HTTPConnectionPool:
    """Have `pool` make such connections; return it."""
    if isinstance(pool, urllib3.HTTPSConnectionPool):
        pool.ConnectionCls = HTTPS if named else _UnnamedHTTPS
    else:
        pool.ConnectionCls = HTTP if named else _UnnamedHTTP
    return pool


def _limit(connection: HTTP) -> _Limit:
    limit: _Limit = vars(connection).setdefault("limit", _Limit())
    return limit


def _checked(connection: HTTP, sock: socket.socket) -> socket.socket:
    # The address that was really connected to, before a byte is sent: a name may resolve to anything at any time.
    peer = sock.getpeername()
    if not connection.named and isinstance(peer, tuple) and is_forbidden(str(peer[0])):
        sock.close()
        raise Forbidden(f"{peer[0]} is a link-local or metadata address")
    return _limit(connection).watch(sock)
