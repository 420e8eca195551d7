"""The door of a running container: STATE/containers/ID/control, a socket that its supervisor listens at.

Only the same user and root may enter: the directory is the user's alone, and the kernel tells who is at the other end
(SO_PEERCRED, unix(7)). What is said there is drawn in dialogue.py.
"""

from __future__ import annotations

import _socket
import os

from cratebox.linux import door, fdpass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.engine.loop import Loop

    Meet = Callable[[_socket.socket, bytes, tuple[int, ...]], object]

_NAME = "control"
_MOST_WAITING = 16


def listen(directory: str) -> _socket.socket:
    """Return the socket that listens in a container's state directory, in place of one that was left there. Raises OSError."""
    return door.listen(directory, _NAME, _MOST_WAITING)


def is_there(directory: str) -> bool:
    """Tell whether anybody can find the door in a container's state directory."""
    return os.path.exists(f"{directory}/{_NAME}")


def kept(fd: int) -> _socket.socket:
    """Return the socket of a door that was open already."""
    return _socket.socket(fileno=fd)


def connect(directory: str) -> _socket.socket:
    """Return a socket at whose other end is the supervisor. Raises OSError: FileNotFoundError, ConnectionRefusedError."""
    return door.connect(directory, _NAME)


def tell_changed(directory: str) -> None:
    """Have the supervisor, if there is one, read what the container is now, and what it has."""
    from cratebox.engine import dialogue

    try:
        sock = connect(directory)
    except OSError:
        return  # it does not run, or has just been started: then it reads it at its end
    try:
        fdpass.send(sock, dialogue.CHANGED)
    except OSError:
        pass
    finally:
        sock.close()


class Door:
    """The door in a supervisor's loop. `meet` is told what each who comes says first:
    his socket, the message, its descriptors.
    """

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
        sock = door.accept(self._listening)
        if sock:
            self._loop.watch(sock.fileno(), lambda: self._hear(sock))

    def _hear(self, sock: _socket.socket) -> None:
        self._loop.unwatch(sock.fileno())
        try:
            message, fds = fdpass.receive(sock)
        except OSError:
            message, fds = b"", ()
        self._meet(sock, message, fds)
