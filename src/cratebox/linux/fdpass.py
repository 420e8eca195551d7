"""Descriptors sent over a unix socket (SCM_RIGHTS, unix(7)). `_socket` is used directly: `socket` costs enum and selectors."""

from __future__ import annotations

import _socket
import struct

_SO_PEEK_OFF = 42  # socket(7); the same number on x86-64 and arm64


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Return two connected sockets that keep the borders of messages (SOCK_SEQPACKET), closed by execve(2)."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)


def send(sock: _socket.socket, data: bytes, fds: tuple[int, ...] = ()) -> None:
    """Send `data` (at least a byte) and `fds` as one message. Raises OSError."""
    rights = struct.pack(f"{len(fds)}i", *fds)
    sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else [])


def look_on(sock: _socket.socket, on: bool) -> None:
    """Have each MSG_PEEK go on behind the one before, the first at the beginning; or not any more. Raises OSError."""
    sock.setsockopt(_socket.SOL_SOCKET, _SO_PEEK_OFF, 0 if on else -1)


def receive(sock: _socket.socket, size: int = 65536, most_fds: int = 4, flags: int = 0) -> tuple[bytes, tuple[int, ...]]:
    """Receive one message: its bytes (none at the end of the stream) and the descriptors it carried. Raises OSError.

    `flags` are those of recv(2). With MSG_PEEK the message stays, and the descriptors are others for the same files.
    """
    room, flags = _socket.CMSG_SPACE(4 * most_fds), flags | _socket.MSG_CMSG_CLOEXEC
    try:
        data, ancillary, _flags, _address = sock.recvmsg(size, room, flags)
    except ConnectionResetError:  # the peer closed without having read all; what it said before still waits behind the error
        data, ancillary, _flags, _address = sock.recvmsg(size, room, flags)
    fds: tuple[int, ...] = ()
    for level, kind, payload in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += struct.unpack(f"{len(payload) // 4}i", payload[: len(payload) // 4 * 4])
    return data, fds
