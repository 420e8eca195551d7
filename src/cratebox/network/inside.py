"""What has to be done inside of somebody's network namespace: sockets are made there, and settings written. All in one visit.

A socket belongs to the namespace in which it was made, wherever its owner goes: with one of rtnetlink(7) interfaces there are changed
from here, and who binds one to an address hears what is said there.

With privilege this process goes there and comes back. Without, the namespace belongs to a user namespace, and from those there is no
way back: a child goes, and sends the sockets home. The messages are sent by this process all the same, which owns both the user's
namespace and the container's; a child of the one would have no rights in the other (linux/netlink.py says how the kernel asks).
"""

from __future__ import annotations

import _socket
import fcntl
import os
import struct

from cratebox.linux import const, fdpass, process
from cratebox.linux.namespaces import clone, setns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Kind = tuple[int, int, int, Any]  # family, type, protocol, and the address that it is bound to, or None

NETLINK: Kind = (16, _socket.SOCK_RAW, 0, (0, 0))
NETFILTER: Kind = (16, _socket.SOCK_RAW, 12, (0, 0))
_MOST = 16  # sockets a visit
_BACKLOG = 64
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # netdevice(7)


def open_sockets(
    pid: int,
    rootless: bool,
    kinds: tuple[Kind, ...],
    settings: tuple[tuple[str, str], ...] = (),
    namespaces: tuple[int, int] | None = None,
) -> list[_socket.socket]:
    """Return a socket of each of `kinds`, made in the network namespace of process `pid`, which its caller holds (not reaped).

    Its lo is up then. Those of TCP that are bound also listen. `settings` are files below /proc/sys and what is written to them
    before; one that is not there is no setting of this kernel. `rootless`: the namespace belongs to a user namespace of this user.
    `namespaces`: both, opened, for a process that does not let itself be looked into yet. Raises OSError.
    """
    if rootless and namespaces:
        return _by_child(namespaces, kinds, settings)
    pidfd = os.pidfd_open(pid)
    try:
        return _by_child((pidfd,), kinds, settings) if rootless else _by_visit(pidfd, kinds, settings)
    finally:
        os.close(pidfd)


def _by_visit(pidfd: int, kinds: tuple[Kind, ...], settings: tuple[tuple[str, str], ...]) -> list[_socket.socket]:
    """Only this thread goes there (setns(2)): others of a program that uses the library stay where they are."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(pidfd, const.CLONE_NEWNET)
        try:
            return _make(kinds, settings)
        finally:
            setns(own, const.CLONE_NEWNET)
    finally:
        os.close(own)


def _by_child(into: tuple[int, ...], kinds: tuple[Kind, ...], settings: tuple[tuple[str, str], ...]) -> list[_socket.socket]:
    here, there = fdpass.pair()
    try:
        child, child_pidfd = clone(0)
        if child == 0:
            _visit(into, there, kinds, settings)
        os.close(child_pidfd)
        there.close()  # so that a child that dies is heard
        try:
            data, fds = fdpass.receive(here, most_fds=_MOST)
        finally:
            os.waitpid(child, 0)
    finally:
        here.close()
        there.close()
    sockets = [_socket.socket(fileno=fd) for fd in fds]
    if data != b"ok":
        raise _error(data)
    return sockets


def _visit(
    into: tuple[int, ...], there: _socket.socket, kinds: tuple[Kind, ...], settings: tuple[tuple[str, str], ...]
) -> NoReturn:
    """The child's whole life."""
    try:
        process.set_dumpable(False)  # before setns: who is root there must not look into a copy of this process
        kinds_of = (const.CLONE_NEWUSER, const.CLONE_NEWNET) if len(into) == 2 else (const.CLONE_NEWUSER | const.CLONE_NEWNET,)
        for fd, kind in zip(into, kinds_of, strict=True):
            setns(fd, kind)
        sockets = _make(kinds, settings)
        fdpass.send(there, b"ok", tuple(one.fileno() for one in sockets))
    except OSError as error:
        there.send(f"{error.errno or 0} {error.strerror}".encode())
    finally:
        os._exit(0)


def _error(data: bytes) -> OSError:
    number, _, text = data.decode(errors="replace").partition(" ")
    return OSError(int(number or 3), text or "who was to make sockets in a network namespace has ended")


def _make(kinds: tuple[Kind, ...], settings: tuple[tuple[str, str], ...]) -> list[_socket.socket]:
    for name, value in settings:
        _set(name, value)
    bring_up_lo()
    return [_one(*kind) for kind in kinds]


def _set(name: str, value: str) -> None:
    """What /proc/sys/net shows is of the namespace that the process which opens it is in."""
    try:
        fd = os.open(f"/proc/sys/{name}", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def bring_up_lo() -> None:
    """Bring up the loopback interface of the namespace that the caller is in. Raises OSError."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        fcntl.ioctl(sock.fileno(), _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))  # struct ifreq
    finally:
        sock.close()


def _one(family: int, kind: int, protocol: int, address: Any) -> _socket.socket:
    made = _socket.socket(family, kind | _socket.SOCK_CLOEXEC, protocol)
    if address is not None:
        made.bind(address)
        if kind == _socket.SOCK_STREAM:
            made.listen(_BACKLOG)
    return made
