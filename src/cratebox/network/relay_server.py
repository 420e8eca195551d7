"""The relay of a container, awake: it takes connections, and leads each to the container; see relay.py."""

from __future__ import annotations

import _signal
import _socket
import errno
import gc
import os
import resource
import time

from cratebox.linux import process
from cratebox.network import inside, relay
from cratebox.network.loop import Loop
from cratebox.network.relay_datagrams import Datagrams
from cratebox.network.relay_stream import Connection, Pipes, hang_up
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE = 15.0  # seconds without anybody before it sleeps: waking takes an interpreter's start
_PAUSE = 0.1  # seconds, where this machine has no room for one connection more
_MOST = 8192  # connections of a container, some kB each; those who come later wait until others have gone
_FDS_OF_ONE = 4  # two sockets, and often a pipe
_FDS_OF_OURS = 2 * inside.MOST + 64
_MOST_AT_ONCE = 64  # connections, before those that are there have their turn
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_IP_BIND_ADDRESS_NO_PORT = 24  # ip(7): the port is chosen with the connection
_MAPPED = "::ffff:"  # how an IPv6 socket tells of a client by IPv4


def most_connections(files: int) -> int:
    """Return how many connections are led at once, where so many files may be open."""
    return max(1, min(_MOST, (files - _FDS_OF_OURS) // _FDS_OF_ONE))


class Inside:
    """Sockets in the container's network namespace, made in advance: a visit there takes a child (network/inside.py)."""

    def __init__(self, namespaces: tuple[int, int]) -> None:
        self._namespaces = namespaces
        self._made: dict[tuple[int, int], list[_socket.socket]] = {}
        self._visit = 2

    def take(self, family: int, kind: int) -> _socket.socket:
        """Return a new socket, which does not block. Raises OSError."""
        made = self._made.setdefault((family, kind), [])
        if not made:
            self._visit = min(2 * self._visit, inside.MOST)  # the more are wanted, the more at once
            made += inside.open_sockets_at(self._namespaces, ((family, kind, 0, None),) * self._visit)
        if not made:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))  # what was sent did not fit
        sock = made.pop()
        sock.setblocking(False)
        return sock


class Target(Record):
    """Where a container is reached: its addresses, "" where it has none of that family."""

    ip: str
    ip6: str

    def of(self, client: str) -> tuple[int, str]:
        """Return the family and the address for a client at this address: his own family's where it can be."""
        is_six = bool(self.ip6) and ((":" in client and not client.startswith(_MAPPED)) or not self.ip)
        return (_socket.AF_INET6, self.ip6) if is_six else (_socket.AF_INET, self.ip)


class Relay:
    """`words` are those of relay.begin."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._target = Target(words[0], words[1])
        self._inside = Inside((int(words[2]), int(words[3])))
        self._loop, self._pipes = Loop(), Pipes()
        self._listening: dict[int, tuple[_socket.socket, int]] = {}
        self._connections: set[Connection] = set()
        self._most = most_connections(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - len(words))
        self._is_full = False
        self._datagrams: list[Datagrams] = []
        self._last = time.monotonic()
        for word in words[4:]:
            protocol, fd, port = word.split(":")
            sock = _socket.socket(fileno=int(fd))
            sock.setblocking(False)
            if protocol == "tcp":
                self._listening[sock.fileno()] = sock, int(port)
            else:
                self._datagrams.append(Datagrams(self._loop, sock, int(port), self._open))
        self._listen()

    def run(self) -> None:
        """Lead whoever comes, and sleep when nobody does."""
        self._loop.after(_PATIENCE, self._look)
        while True:
            self._loop.turn()

    def _listen(self) -> None:
        for fd, (sock, port) in self._listening.items():
            self._loop.watch(fd, self._letting_in(sock, port))

    def _letting_in(self, sock: _socket.socket, port: int) -> Callable[[], None]:
        return lambda: self._let_in(sock, port)

    def _pause(self) -> None:
        """Let nobody in for a moment."""
        self._shut()
        self._loop.after(_PAUSE, self._listen)

    def _shut(self) -> None:
        """Whoever comes waits in front of the door, where a thousand find room."""
        for fd in self._listening:
            self._loop.unwatch(fd)

    def _let_in(self, listening: _socket.socket, port: int) -> None:
        for _ in range(_MOST_AT_ONCE):
            if len(self._connections) >= self._most:
                self._is_full = True  # until one ends
                self._shut()
                return
            try:
                fd, address = listening._accept()  # type: ignore[attr-defined]  # noqa: SLF001  the module socket would be dear
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._pause()
                if error.errno != errno.ECONNABORTED:
                    return
                continue
            self._connect(_socket.socket(fileno=fd), address[0], port)

    def _connect(self, client: _socket.socket, address: str, port: int) -> None:
        self._last = time.monotonic()
        try:
            server, where = self._open(address, port, _socket.SOCK_STREAM)
            self._connections.add(Connection(self._loop, self._pipes, (client, server), where, self._end))
        except OSError as error:
            hang_up(client)
            if error.errno in _NO_ROOM:
                self._pause()

    def _open(self, client: str, port: int, kind: int) -> tuple[_socket.socket, tuple[str, int]]:
        """Return a socket inside for who comes from `client`, and the address to which it is to connect. Raises OSError."""
        family, address = self._target.of(client)
        sock = self._inside.take(family, kind)
        try:
            sock.setsockopt(_socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind(
                (address, 0)
            )  # where it is not the container's (any more), the way outside would lead there, to somebody else
        except OSError:
            sock.close()
            raise
        return sock, (address, port)

    def _end(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._last = time.monotonic()
        if self._is_full:
            self._is_full = False
            self._listen()

    def _look(self) -> None:
        is_busy = self._connections or any(one.is_busy for one in self._datagrams)
        if not is_busy and time.monotonic() - self._last >= _PATIENCE:
            self._sleep()
        self._loop.after(_PATIENCE, self._look)

    def _sleep(self) -> None:
        try:
            relay.sleep(self._words)
        except OSError:
            return  # it stays awake


def main(args: list[str]) -> int:
    """Be the relay, or its guardian: args[0] says which; the others are the words of relay.begin."""
    what, *words = args
    if what == relay.GUARD:  # the relay was killed, and this is its guardian's process
        relay.divide(words)
    process.close_from(3, relay.descriptors(words))  # what it has slept on
    gc.enable()
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())  # who slept has blocked them all
    process.set_name(relay.NAME)
    process.set_no_new_privileges()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Relay(words).run()
    return 0
