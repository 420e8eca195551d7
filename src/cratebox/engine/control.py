"""The door of a running container: STATE/containers/ID/control, a socket that its supervisor listens at.

Only the same user and root may enter: the directory is the user's alone, and the kernel tells who is at the other end
(SO_PEERCRED, unix(7)). What is said there is drawn in dialogue.py.
"""

from __future__ import annotations

import _socket
import os
import struct

from cratebox.linux import fdpass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.engine.loop import Loop

    Meet = Callable[[_socket.socket, bytes, tuple[int, ...]], object]

_NAME = "/control"
_MOST_WAITING = 16
_KIND = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC


def listen(directory: str) -> _socket.socket:
    """Return the socket that listens in a container's state directory, in place of one that was left there. Raises OSError."""
    door = _socket.socket(_socket.AF_UNIX, _KIND | _socket.SOCK_NONBLOCK)
    try:
        try:
            os.unlink(directory + _NAME)
        except FileNotFoundError:
            pass
        _at(directory, door.bind)
        door.listen(_MOST_WAITING)
    except BaseException:
        door.close()
        raise
    return door


def kept(fd: int) -> _socket.socket:
    """Return the socket of a door that was open already."""
    return _socket.socket(fileno=fd)


def connect(directory: str) -> _socket.socket:
    """Return a socket at whose other end is the supervisor. Raises OSError: FileNotFoundError, ConnectionRefusedError."""
    sock = _socket.socket(_socket.AF_UNIX, _KIND)
    try:
        _at(directory, sock.connect)
    except BaseException:
        sock.close()
        raise
    return sock


def accept(door: _socket.socket) -> _socket.socket | None:
    """Return a socket to whoever has come; None for nobody, or somebody who has no business here."""
    try:
        fd, _address = door._accept()  # type: ignore[attr-defined]  # noqa: SLF001  the module socket would be dear
    except OSError:
        return None
    sock = _socket.socket(fileno=fd)
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
    if uid not in {0, os.geteuid()}:
        sock.close()
        return None
    return sock


class Door:
    """The door in a supervisor's loop. `meet` is told what each who comes says first: his socket, the message, its descriptors."""

    def __init__(self, loop: Loop, listening: _socket.socket) -> None:
        self._loop, self._listening = loop, listening
        self._meet: Meet

    @property
    def fd(self) -> int:
        """The descriptor that is ready when somebody is at the door."""
        return self._listening.fileno()

    def open(self, meet: Meet) -> None:
        """Let in whoever comes, until `close`."""
        self._meet = meet
        self._loop.watch(self.fd, self._let_in)

    def close(self) -> None:
        """Let in nobody any more."""
        self._loop.unwatch(self.fd)
        self._listening.close()

    def _let_in(self) -> None:
        sock = accept(self._listening)
        if sock:
            self._loop.watch(sock.fileno(), lambda: self._hear(sock))

    def _hear(self, sock: _socket.socket) -> None:
        self._loop.unwatch(sock.fileno())
        try:
            message, fds = fdpass.receive(sock)
        except OSError:
            message, fds = b"", ()
        self._meet(sock, message, fds)


def _at(directory: str, call) -> None:  # type: ignore[no-untyped-def]
    """Call bind or connect with the socket's path: by a descriptor, since a path of a socket has no more than 107 bytes."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        call(f"/proc/self/fd/{fd}{_NAME}")
    finally:
        os.close(fd)
