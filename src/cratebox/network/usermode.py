"""What an ordinary user's container has of the world outside: a way to it, and the ports that are published there.

    usermode_program.py  what makes the way outside: pasta(1), or where that is missing slirp4netns(1)
    usermode_pasta.py, usermode_slirp.py
    relay.py             who asks for a published port is led to the container

Both programs make an interface in the container's network namespace and pass on what comes from it by sockets of their own, as
the user. One for each container that wants the outside, beside its interfaces on bridges; it is told its addresses here, so
that containers look alike whichever of the two it is:

    tap0 10.0.2.100/24, default route by 10.0.2.2, and at 10.0.2.3 the machine's first resolver (UDP)

The machine's loopback addresses are closed to containers, as with Docker; its others lead to it.

Ports are the relay's, whichever program it is, unless the owner is to see his clients' addresses: then pasta listens on them.
"""

from __future__ import annotations

import os

from cratebox.errors import CrateError, RuntimeFailure, Unsupported
from cratebox.linux.procfs import read_text
from cratebox.network import relay, usermode_pasta, usermode_slirp
from cratebox.network.ports import of_ipv4
from cratebox.network.usermode_program import DNS, INTERFACE, SUBNET, Way, directory, has_route, path_of, pid_of
from cratebox.network.usermode_program import end as _end_program
from cratebox.network.usermode_program import owners as _owners_of_programs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.network.inside import Target
    from cratebox.network.model import Place, Port, Reservation

__all__ = (
    "DNS", "INTERFACE", "SUBNET", "await_ready", "begin", "check", "end", "give_up", "heal", "host_address", "listened", "open_again", "owners", "publish",
)  # fmt: skip

_TUN = "/dev/net/tun"
_INSTALL_PASTA = "install pasta (Debian and Ubuntu: apt-get install passt, Fedora: dnf install passt)"
_INSTALL = f"{_INSTALL_PASTA}, or do without: --network host, none"


# Before anything is made


def check(ports: tuple[Port, ...], keeps_clients: bool = False) -> None:
    """Find what keeps a container of this user from the outside, or from publishing `ports`, so that it sees the addresses of
    its clients where it `keeps_clients`. Raises Unsupported.
    """
    kind, _path = _program()
    _check_tun(kind)
    for port in ports:
        what = f"cannot publish port {port.host or port.container}/{port.protocol} without root"
        if port.protocol not in {"tcp", "udp"}:
            raise Unsupported(f"{what}: tcp and udp alone can")
        if keeps_clients:
            _check_pasta(kind, port, what)
        if 0 < port.host < _first_free_port():
            raise Unsupported(
                f"{what}: ports below {_first_free_port()} are root's on this machine",
                f"choose one above, or as root: sysctl -w net.ipv4.ip_unprivileged_port_start={port.host}",
            )


def _check_pasta(kind: str, port: Port, what: str) -> None:
    if kind != "pasta":
        hint = "pasta needs a default route, which this machine has not" if path_of("pasta") else _INSTALL_PASTA
        raise Unsupported(f"{what} so that clients' addresses are kept: {kind} does not do it", hint)
    if ":" in port.host_ip and not usermode_pasta.has_ipv6():
        raise Unsupported(
            f"{what} on {port.host_ip} so that clients' addresses are kept: pasta does it only with an IPv6 route to the outside",
            "without keep_client_addresses it can be had",
        )


def listened(ports: tuple[Port, ...], ipv6: bool) -> tuple[Port, ...]:
    """Return `ports` with the addresses that pasta listens on where none is given: IPv4's alone, unless the container has IPv6
    (`ipv6`) and the machine an IPv6 route to the outside.
    """
    return ports if ipv6 and usermode_pasta.has_ipv6() else tuple(map(of_ipv4, ports))


def host_address() -> str:
    """Return the machine's own address on its way out, by which containers reach it; "" where it has none."""
    import _socket

    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(("192.0.2.1", 9))  # documentation's (RFC 5737): nothing is sent
        return str(sock.getsockname()[0])
    except OSError:
        return ""
    finally:
        sock.close()


def _program() -> tuple[str, str]:
    """Return which program is the way outside, and its path. pasta may refuse to work on a machine that has none itself."""
    found = {name: path for name in ("pasta", "slirp4netns") if (path := path_of(name))}
    if not found:
        raise Unsupported("there is no way outside for containers: neither pasta nor slirp4netns is installed", _INSTALL)
    if len(found) == 2 and not has_route():
        del found["pasta"]
    return next(iter(found.items()))


def _check_tun(kind: str) -> None:
    try:
        os.close(os.open(_TUN, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        raise Unsupported(f"{kind} needs {_TUN}, which is not there", "as root: modprobe tun") from None
    except OSError as error:
        raise Unsupported(
            f"{kind} needs {_TUN}, which is closed to you: {error.strerror}",
            f"as root: chmod 0666 {_TUN} (udev does it on most machines); or do without: --network host, none",
        ) from None


def _first_free_port() -> int:
    try:
        return int(read_text("/proc/sys/net/ipv4/ip_unprivileged_port_start"))
    except (OSError, ValueError):
        return 1024


# Its life


def begin(place: Place, reservation: Reservation, namespaces: tuple[int, int]) -> Way:
    """Start the way outside of `namespaces`, the owner's of user and network, opened; `await_ready` waits for it.

    One that the owner has from before is ended. Raises Unsupported, RuntimeFailure.
    """
    end(place, reservation.owner)
    return _begin(place, reservation, namespaces)


def _begin(place: Place, reservation: Reservation, namespaces: tuple[int, int]) -> Way:
    kind, path = _program()
    ipv6 = any(one.ip6 for one in reservation.endpoints)
    ports = reservation.ports if reservation.keeps_clients else ()
    try:
        os.makedirs(directory(place), 0o700, exist_ok=True)
        way = Way(place, kind, reservation.owner, 0, os.memfd_create("said", os.MFD_CLOEXEC), ports=ports, ipv6=ipv6)
        if kind == "pasta":
            return usermode_pasta.begin(path, way, namespaces)
        return usermode_slirp.begin(path, way, namespaces)
    except OSError as error:
        raise RuntimeFailure(f"cannot start {path}: {error.strerror}") from None


def await_ready(way: Way) -> None:
    """Wait until the way outside is open. Raises RuntimeFailure with what the program said; nothing of it is left then."""
    try:
        _await_ready(way)
    except BaseException:
        end(way.place, way.owner)
        raise


def _await_ready(way: Way) -> None:
    try:
        if way.kind == "pasta":
            usermode_pasta.await_ready(way)
        else:
            usermode_slirp.await_ready(way)
    finally:
        os.close(way.said)


def open_again(place: Place, reservation: Reservation, namespaces: tuple[int, int]) -> None:
    """Have a way outside where the program was killed; ports are published meanwhile as they were.
    Raises Unsupported, RuntimeFailure.
    """
    if pid_of(place, reservation.owner):
        return
    _end_program(place, reservation.owner)
    way = _begin(place, reservation, namespaces)
    try:
        _await_ready(way)
    except BaseException:
        _end_program(place, reservation.owner)
        raise


def publish(place: Place, reservation: Reservation, namespaces: tuple[int, int]) -> None:
    """Lead who asks for the ports of `reservation` to `namespaces`, where `begin` does not; as there.
    Raises Conflict, RuntimeFailure.
    """
    if reservation.ports and not reservation.keeps_clients:
        relay.begin(place, reservation, namespaces)


def heal(place: Place, reservation: Reservation, target: Target) -> None:
    """Publish the ports of `target`, the owner's, again, where the relay was killed with its guardian.
    Raises OSError, as `publish`.
    """
    if reservation.outward() and not reservation.keeps_clients and relay.has_died(place, reservation.owner):
        publish(place, reservation, target.open_namespaces())


def give_up(way: Way) -> None:
    """End one that was begun and is not waited for."""
    try:
        await_ready(way)
    except CrateError:
        return
    end(way.place, way.owner)


def end(place: Place, owner: str) -> None:
    """End the way outside of `owner`, and the ports that are listened on for him. Where there is none, nothing happens."""
    relay.end(place, owner)
    _end_program(place, owner)


def owners(place: Place) -> list[str]:
    """Return who has a way outside, or ports: those that have no lease (any more) are to be ended."""
    return [*_owners_of_programs(place), *relay.owners(place)]
