"""Host ports: which are free, and who has those that are not."""

from __future__ import annotations

import _socket
import errno

from cratebox.errors import Conflict, InvalidValue, Unsupported
from cratebox.network.addresses import packed
from cratebox.network.model import MOST_PORTS, Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Taken = dict[tuple[str, int], list[tuple[str, str]]]

_LOOPBACK6 = bytes(15) + b"\1"
_FEW, _SPARE = 64, 128  # ports that are no question of open files; open files that whoever holds more needs besides
_TRIES = 64  # for a port that the kernel says is free and another owner has
_TYPES = {
    "tcp": (_socket.SOCK_STREAM, _socket.IPPROTO_TCP),
    "udp": (_socket.SOCK_DGRAM, _socket.IPPROTO_UDP),
    "sctp": (_socket.SOCK_STREAM, 132),
}


def choose(wanted: tuple[Port, ...], taken: Taken, hold: list[int] | None = None) -> tuple[Port, ...]:
    """Return `wanted` with a host port for each, that nobody of `taken` has and no process of this machine listens on.

    `taken`: protocol and port to the addresses and labels of who has it. `hold`: the sockets that keep others from it are added
    to it, as descriptors; without, they are closed. Raises Conflict, InvalidValue.
    """
    if len(wanted) > MOST_PORTS:
        raise InvalidValue(f"{len(wanted)} ports are more than the {MOST_PORTS} that a container can publish")
    if len(wanted) > _FEW:
        _check_open_files(len(wanted))
    chosen = []
    mine: Taken = {}
    sockets = []  # all are kept until all are had: ports that are wished twice are found
    try:
        for port in wanted:
            found, sock = _one(port, taken, mine)
            mine.setdefault((found.protocol, found.host), []).append((found.host_ip, ""))
            chosen.append(found)
            sockets += [sock] if sock else []
        if hold is not None:
            hold += [sock.detach() for sock in sockets]
            sockets = []
    finally:
        for sock in sockets:
            sock.close()
    return tuple(chosen)


def _check_open_files(count: int) -> None:
    """Each port is held by a socket. Raises Conflict where there are not so many left, before the first one is opened."""
    import os
    import resource

    most, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = len(os.listdir("/proc/self/fd")) + count + _SPARE
    if most != resource.RLIM_INFINITY and needed > most:
        raise Conflict(
            f"{count} published ports take as many open files, and a process may have {most} here",
            f"ulimit -n {needed}, and the same again; or publish fewer, or use --network host",
        )


def of_ipv4(port: Port) -> Port:
    """Return what a port comes to where nobody listens that has IPv6."""
    return port if port.host_ip else port.replace(host_ip="0.0.0.0")  # noqa: S104  what was wished


def add(taken: Taken, label: str, ports: Iterable[dict[str, str | int]]) -> None:
    """Add to `taken` what `label` has, as a lease's document has it."""
    for one in ports:
        key = str(one.get("protocol", "tcp")), int(one["host"])
        taken.setdefault(key, []).append((str(one.get("hostIp", "")), label))


def _one(port: Port, taken: Taken, mine: Taken) -> tuple[Port, _socket.socket | None]:
    candidates = range(port.host, (port.host_last or port.host) + 1) if port.host else [0] * _TRIES
    problem = Conflict(f"no {port.protocol} port is free")
    for number in candidates:
        try:
            if number and (holder := _holder(port, number, taken, mine)) is not None:
                raise _published(port, number, holder)
            sock = bound(port, number)
            got = number or (sock.getsockname()[1] if sock else 0)
            if number or _holder(port, got, taken, mine) is None:
                return port.replace(host=got, host_last=0), sock
            if sock:
                sock.close()
        except OSError as error:
            problem = refused(port, number, error)
        except Conflict as error:
            problem = error
    if port.host and port.host_last > port.host:
        raise Conflict(f"no {port.protocol} port from {port.host} to {port.host_last} is free", problem.message)
    raise problem


def _holder(port: Port, number: int, taken: Taken, mine: Taken) -> str | None:
    """Return the label of who has the port at an address that is also wished;
    None where it is free, "" where it is the same owner.
    """
    for known in (mine, taken):
        for address, label in known.get((port.protocol, number), ()):
            if _clash(address, port.host_ip):
                return label
    return None


def _clash(one: str, other: str) -> bool:
    """Whether two published addresses, "" for all, have one in common."""
    if one == other or not one or not other:
        return True
    if (":" in one) != (":" in other):
        return False
    return not any(packed(one)) or not any(packed(other))


def bound(port: Port, number: int) -> _socket.socket | None:
    """Return a socket that has the port `number` (0: any that is free) at the address of `port`, which no other process can
    have then; None where this kernel does not know the protocol. Raises OSError: EADDRINUSE, EADDRNOTAVAIL, EACCES.
    """
    kind, protocol = _TYPES[port.protocol]
    six = ":" in port.host_ip or not port.host_ip
    try:
        sock = _socket.socket(_socket.AF_INET6 if six else _socket.AF_INET, kind | _socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        if six and not port.host_ip and error.errno == errno.EAFNOSUPPORT:  # no IPv6 in this kernel
            return bound(port.replace(host_ip="0.0.0.0"), number)  # noqa: S104  what was wished
        if error.errno == errno.EPROTONOSUPPORT and number:
            return None
        raise
    try:
        if six:
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, int(bool(port.host_ip)))
        try:
            sock.bind((port.host_ip or "::", number))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            # Connections that have ended keep the port for a minute; only who listens, or is bound like us, keeps us out now.
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, int(port.protocol == "tcp"))
            sock.bind((port.host_ip or "::", number))
    except BaseException:
        sock.close()
        raise
    return sock


def refused(port: Port, number: int, error: OSError) -> Conflict:
    """Return what to say where `bound` has failed: by whom the port is taken, or what is wrong with it."""
    if error.errno == errno.EADDRINUSE:
        from cratebox.network import occupants

        return _in_use(port, number, occupants.describe(port.protocol, number))
    if error.errno == errno.EADDRNOTAVAIL:
        return Conflict(f"{port.host_ip} is not an address of this machine", "ip address lists them")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return Conflict(
            f"port {number}/{port.protocol}: a user may not have ports below net.ipv4.ip_unprivileged_port_start",
            f"publish a higher one, or as root: sysctl -w net.ipv4.ip_unprivileged_port_start={number}",
        )
    return Conflict(f"port {number}/{port.protocol} cannot be had: {error.strerror}")


def _published(port: Port, number: int, holder: str) -> Conflict:
    return _in_use(port, number, f"is published by {holder}" if holder else "is wished twice")


def _in_use(port: Port, number: int, why: str) -> Conflict:
    return Conflict(f"port {number}/{port.protocol} {why}", "publish another one, or 0 for any that is free")


def check(port: Port, rootless: bool) -> None:
    """Raise InvalidValue where a port is none, Unsupported for what cannot be published."""
    if port.host_ip and not rootless and packed(port.host_ip) == _LOOPBACK6:
        raise Unsupported(
            "ports cannot be published at ::1: the kernel leads nothing from there to a bridge", "publish at 127.0.0.1"
        )
    if port.protocol not in _TYPES:
        raise Unsupported(f"ports of {port.protocol} cannot be published", "tcp, udp and sctp can")
    if not 0 < port.container < 65536 or not 0 <= port.host < 65536 or not 0 <= port.host_last < 65536:
        raise InvalidValue(f"port {port.host}:{port.container} is none", "a port is from 1 to 65535")
