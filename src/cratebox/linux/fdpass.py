"""Descriptors sent over a unix socket (SCM_RIGHTS, unix(7)). `_socket` is used directly: `socket` costs enum and selectors."""

from __future__ import annotations

import _socket
import struct


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Return two connected sockets that keep the borders of messages (SOCK_SEQPACKET), closed by execve(2)."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)


def send(sock: _socket.socket, data: bytes, fds: tuple[int, ...] = ()) -> None:
    """Send `data` (at least a byte) and `fds` as one message. Raises OSError."""
    rights = struct.pack(f"{len(fds)}i", *fds)
    sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else [])


def receive(sock: _socket.socket, size: int = 65536, most_fds: int = 4) -> tuple[bytes, tuple[int, ...]]:
    """Receive one message: its bytes (none at the end of the stream) and the descriptors it carried. Raises OSError."""
    room = _socket.CMSG_SPACE(4 * most_fds)
    try:
        data, ancillary, _flags, _address = sock.recvmsg(size, room, _socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:  # the peer closed without having read all; what it said before still waits behind the error
        data, ancillary, _flags, _address = sock.recvmsg(size, room, _socket.MSG_CMSG_CLOEXEC)
    fds: tuple[int, ...] = ()
    for level, kind, payload in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += struct.unpack(f"{len(payload) // 4}i", payload[: len(payload) // 4 * 4])
    return data, fds
