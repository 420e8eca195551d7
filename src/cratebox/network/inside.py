"""What has to be done inside of somebody's network namespace: sockets are made there, and settings written. All in one visit.

A socket belongs to the namespace in which it was made, wherever its owner goes: with one of rtnetlink(7) interfaces there are
changed from here, and who binds one to an address hears what is said there.

With privilege this process goes there and comes back. Without, the namespace belongs to a user namespace, and from those there
is no way back: a child goes, and sends the sockets home. The messages are sent by this process all the same, which owns both
the user's namespace and the container's; a child of the one would have no rights in the other (linux/netlink.py says how the
kernel asks).
"""

from __future__ import annotations

import _socket
import fcntl
import os
import struct

from cratebox.linux import const, fdpass, process
from cratebox.linux.namespaces import clone, setns
from cratebox.linux.netlink import AF_NETLINK, NETLINK_NETFILTER, NETLINK_ROUTE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, NoReturn

    Kind = tuple[int, int, int, Any]  # family, type, protocol, and the address that it is bound to, or None

NETLINK: Kind = (AF_NETLINK, _socket.SOCK_RAW, NETLINK_ROUTE, (0, 0))
NETFILTER: Kind = (AF_NETLINK, _socket.SOCK_RAW, NETLINK_NETFILTER, (0, 0))
MOST = 64  # sockets a visit
_BACKLOG = 64
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # netdevice(7)
_SIOCGSKNS = 0x894C  # linux/sockios.h


class Target:
    """Whose network namespace it is: that of process `pid`, held by `pidfd`, for the number alone could be another's by now.

    Without `pidfd` it is opened here: the caller holds the process (he has not reaped it), or says when it has `started` (in
    clock ticks since boot). `namespaces`: of user and network, opened, for a process that does not let itself be looked into
    yet. `with Target(pid) as target`. Raises OSError, of which ProcessLookupError where it is another one by now.
    """

    def __init__(self, pid: int, pidfd: int = -1, namespaces: tuple[int, int] | None = None, started: int = 0) -> None:
        self.pid, self.pidfd, self.namespaces = pid, pidfd, namespaces
        self._opened: list[int] = []
        if pidfd < 0:
            self.pidfd = process.open_pidfd(pid, started)
            self._opened.append(self.pidfd)

    def __enter__(self) -> Target:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for fd in self._opened:
            os.close(fd)

    def check(self) -> None:
        """What was found by the number before this was found of the process itself.
        Raises ProcessLookupError where it has ended.
        """
        process.send_signal(self.pidfd, 0)

    def open_namespaces(self) -> tuple[int, int]:
        """Return `namespaces`, opened where they are not yet, and closed with the target. Raises OSError."""
        if not self.namespaces:
            for kind in ("user", "net"):
                self._opened.append(os.open(f"/proc/{self.pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC))
            self.check()
            self.namespaces = self._opened[-2], self._opened[-1]
        return self.namespaces

    def open_sockets(
        self, rootless: bool, kinds: tuple[Kind, ...], settings: tuple[tuple[str, str], ...] = ()
    ) -> list[_socket.socket]:
        """Return sockets made in the namespace, as open_sockets_of."""
        if rootless and self.namespaces:
            return open_sockets_at(self.namespaces, kinds, settings)
        return open_sockets_of(self.pidfd, rootless, kinds, settings)


def open_sockets_at(
    namespaces: tuple[int, int], kinds: tuple[Kind, ...], settings: tuple[tuple[str, str], ...] = ()
) -> list[_socket.socket]:
    """Do as open_sockets_of, in `namespaces` of this user, one of user and one of network, opened. Fewer sockets than wished
    are returned where this process may not have as many. Raises OSError.
    """
    return _by_child(namespaces, kinds, settings)


def open_sockets_of(
    pidfd: int, rootless: bool, kinds: tuple[Kind, ...], settings: tuple[tuple[str, str], ...] = ()
) -> list[_socket.socket]:
    """Return a socket of each of `kinds`, made in the network namespace of a process. Its lo is up then; those of TCP that are
    bound also listen.

    `settings` are files below /proc/sys and what is written to them before; one that is not there is no setting of this kernel.
    `rootless`: the namespace belongs to a user namespace of this user. Raises OSError.
    """
    return _by_child((pidfd,), kinds, settings) if rootless else _by_visit(pidfd, kinds, settings)


def open_sockets(
    pid: int, rootless: bool, kinds: tuple[Kind, ...], settings: tuple[tuple[str, str], ...] = ()
) -> list[_socket.socket]:
    """Do as open_sockets_of, of a process that the caller has not reaped. Raises OSError."""
    with Target(pid) as target:
        return target.open_sockets(rootless, kinds, settings)


def namespace_of(sock: _socket.socket) -> int:
    """Return a descriptor of the network namespace in which a socket was made (SIOCGSKNS). Raises OSError."""
    return fcntl.ioctl(sock.fileno(), _SIOCGSKNS)


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
            data, fds = fdpass.receive(here, most_fds=MOST)
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
