"""A socket in a directory, at which a process listens for others of the same user: unix(7), SOCK_SEQPACKET."""

from __future__ import annotations

import _socket
import os
import struct

_KIND = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC


def listen(directory: str, name: str, most_waiting: int) -> _socket.socket:
    """Return the socket that listens as DIRECTORY/NAME, in place of one that was left there; it does not block.
    Raises OSError.
    """
    door = _socket.socket(_socket.AF_UNIX, _KIND | _socket.SOCK_NONBLOCK)
    try:
        try:
            os.unlink(f"{directory}/{name}")
        except FileNotFoundError:
            pass
        _at(directory, name, door.bind)
        door.listen(most_waiting)
    except BaseException:
        door.close()
        raise
    return door


def connect(directory: str, name: str) -> _socket.socket:
    """Return a socket at whose other end is whoever listens there.
    Raises OSError: FileNotFoundError, ConnectionRefusedError.
    """
    sock = _socket.socket(_socket.AF_UNIX, _KIND)
    try:
        _at(directory, name, sock.connect)
    except BaseException:
        sock.close()
        raise
    return sock


def accept(door: _socket.socket) -> _socket.socket | None:
    """Return a socket to whoever has come; None for nobody, or somebody who has no business here (neither this user nor root)."""
    sock = accept_anybody(door)
    if sock:
        _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
        if uid not in {0, os.geteuid()}:
            sock.close()
            return None
    return sock


def accept_anybody(listening: _socket.socket) -> _socket.socket | None:
    """Return a socket, of any family, to whoever has come; None for nobody."""
    try:
        fd, _address = listening._accept()  # type: ignore[attr-defined]  # noqa: SLF001  the module socket would be dear
    except OSError:
        return None
    return _socket.socket(fileno=fd)


def _at(directory: str, name: str, call) -> None:  # type: ignore[no-untyped-def]
    """Call bind or connect with the socket's path: by a descriptor, since a path of a socket has no more than 107 bytes."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        call(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.close(fd)
