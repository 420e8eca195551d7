"""Questions that are not ours, asked of other resolvers: from the machine's network, or from the namespace of who asks.

One after the other is asked, each anew from a port that the kernel chooses, with a number of our own: what comes back counts
only from the one who was asked, with that number and that very question. The first answer is it, NXDOMAIN as well; a server
that fails or refuses is passed over for the next one.
"""

from __future__ import annotations

import _socket
import errno
import os
import time

from cratebox.network import dns_message as dns
from cratebox.network.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.network.loop import Loop, Moment

    Open = Callable[[int, int], _socket.socket]  # (family, type): a socket where the servers are to be asked from
    Done = Callable[[bytes | None], object]

PATIENCE = 1.5  # seconds until the next server is asked, while the one before may still answer
LONGEST = 4.5  # seconds until it is given up: who asks waits for five (resolv.conf(5), timeout)
_MOST_SERVERS = 3  # as resolv.conf(5), MAXNS
_TRIES = 3
_LIMIT = 1 << 16  # bytes of a resolv.conf
_FAILED = frozenset({dns.SERVFAIL, dns.NOTIMP, dns.REFUSED})


class Servers:
    """The servers of a resolv.conf(5), as it is now: looked at again at most every second."""

    def __init__(self, path: str = "/etc/resolv.conf") -> None:
        self._path = path
        self._looked = -2.0
        self._found: tuple[str, ...] = ()

    def addresses(self) -> tuple[str, ...]:
        now = time.monotonic()
        if now - self._looked >= 1:
            self._looked = now
            self._found = _servers_of(self._path)
        return self._found


def _servers_of(path: str) -> tuple[str, ...]:
    try:
        with open(path, "rb") as file:
            lines = file.read(_LIMIT).decode("latin-1").splitlines()
    except OSError:
        return ()
    words = [line.split() for line in lines]
    found = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
    return tuple(one for one in found if family_of(one))[:_MOST_SERVERS]


def family_of(address: str) -> int:
    """Return the family of an address, which for IPv6 may have a scope (fe80::1%eth0); 0 where it is none."""
    for family, text in ((_socket.AF_INET, address), (_socket.AF_INET6, address.partition("%")[0])):
        try:
            _socket.inet_pton(family, text)
        except OSError:
            continue
        return family
    return 0


def open_here(family: int, kind: int) -> _socket.socket:
    """Return a socket of the machine's network. Raises OSError."""
    return _socket.socket(family, kind | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)


class Errand:
    """A query that was passed on; `done` is called once, with an answer for who asked, or with None."""

    def __init__(
        self, loop: Loop, query: dns.Query, servers: tuple[str, ...], open_socket: Open, done: Done, *, stream: bool
    ) -> None:
        self._loop, self._query, self._open, self._done = loop, query, open_socket, done
        self._kind = _socket.SOCK_STREAM if stream else _socket.SOCK_DGRAM
        self._number = int.from_bytes(os.urandom(2), "big")
        self._message = self._number.to_bytes(2, "big") + query.message[2:]
        self._waiting = list(servers) if stream else (list(servers) * _TRIES)[: max(_TRIES, len(servers))]
        self._asked: dict[int, tuple[_socket.socket, str, bytearray]] = {}
        self._worst: bytes | None = None
        self._moment: Moment | None = None
        self._end = loop.after(LONGEST, self.give_up)

    def begin(self) -> None:
        """Ask the next server that can be asked."""
        if self._moment:
            self._moment.call_off()
        while self._waiting:
            server = self._waiting.pop(0)
            try:
                self._ask(server)
            except OSError:
                self._waiting = [one for one in self._waiting if one != server]
                continue
            if self._waiting:
                self._moment = self._loop.after(PATIENCE, self.begin)
            return
        if not self._asked:
            self._finish(self._worst)

    def give_up(self) -> None:
        """Wait no longer."""
        self._finish(self._worst)

    def drop(self) -> None:
        """Forget it: nobody wants to know any more."""
        self._done = _nobody
        self._finish(None)

    def _ask(self, server: str) -> None:
        sock = self._open(family_of(server), self._kind)
        try:
            sock.setblocking(False)
            error = sock.connect_ex((server, dns.PORT))
            if error not in {0, errno.EINPROGRESS}:
                raise OSError(error, os.strerror(error))
            if self._kind == _socket.SOCK_DGRAM:
                sock.send(self._message)
                self._loop.watch(sock.fileno(), lambda: self._hear(sock))
            else:
                self._loop.watch(sock.fileno(), lambda: self._say(sock), WRITE)
        except BaseException:
            sock.close()
            raise
        self._asked[sock.fileno()] = (sock, server, bytearray())

    def _say(self, sock: _socket.socket) -> None:
        """A stream is connected, or could not be."""
        try:
            sock.send(len(self._message).to_bytes(2, "big") + self._message)
        except OSError:
            self._pass_over(sock)
            return
        self._loop.watch(sock.fileno(), lambda: self._hear(sock), READ)

    def _hear(self, sock: _socket.socket) -> None:
        try:
            data = sock.recv(dns.LARGEST)
        except BlockingIOError:
            return
        except OSError:
            self._pass_over(sock)
            return
        if self._kind == _socket.SOCK_STREAM:
            heard = self._asked[sock.fileno()][2]
            heard += data
            if not data:
                self._pass_over(sock)
                return
            if len(heard) < 2 or len(heard) < 2 + int.from_bytes(heard[:2], "big"):
                return
            data = bytes(heard[2 : 2 + int.from_bytes(heard[:2], "big")])
        if dns.is_answer_to(data, self._number, self._query.question):
            data = self._query.id.to_bytes(2, "big") + data[2:]
            if data[3] & 15 not in _FAILED:
                self._finish(data)
                return
            self._worst = data
            self._pass_over(sock)
        elif self._kind == _socket.SOCK_STREAM:
            self._pass_over(sock)

    def _pass_over(self, sock: _socket.socket) -> None:
        """Whoever was asked there has no answer: the next one is asked at once."""
        server = self._close(sock)
        self._waiting = [one for one in self._waiting if one != server]
        self.begin()

    def _close(self, sock: _socket.socket) -> str:
        server = self._asked.pop(sock.fileno())[1]
        self._loop.unwatch(sock.fileno())
        sock.close()
        return server

    def _finish(self, message: bytes | None) -> None:
        for moment in (self._moment, self._end):
            if moment:
                moment.call_off()
        self._waiting = []
        for sock, _server, _heard in list(self._asked.values()):
            self._close(sock)
        done, self._done = self._done, _nobody
        done(message)


def _nobody(_message: bytes | None) -> None:
    pass
