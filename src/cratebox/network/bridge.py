"""The bridge of a network: an interface of the machine's namespace, or of the user's,
that all its containers are plugged into.
"""

from __future__ import annotations

import errno
import fcntl
import os
from _socket import AF_INET

from cratebox.errors import Conflict, RuntimeFailure, Unsupported
from cratebox.linux import netlink
from cratebox.network.addresses import packed, parse_range
from cratebox.network.model import BRIDGE, Network, Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from types import TracebackType

DEFAULT_INTERFACE = "crate0"


class MachineLock:
    """The lock of this network namespace, of whoever makes bridges in it: `with MachineLock(place)`. A user has his own."""

    def __init__(self, place: Place) -> None:
        self._fd = -1 if place.rootless else os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> MachineLock:
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def is_usual(place: Place) -> bool:
    """Whether it is root's crate at its usual place, whose interface and table have plain names."""
    return place.root == "/var/lib/crate" and place.state == "/run/crate"


def name_for(place: Place, name: str, identity: str) -> str:
    """Return the interface of a network; of all but one on the machine it is made of the ID."""
    if name == BRIDGE and (place.rootless or is_usual(place)):
        return DEFAULT_INTERFACE
    return "cr-" + identity[:12]


def open_outside(place: Place) -> _socket.socket:
    """Return a netlink socket of the namespace that the place's bridges are in. Raises OSError, Unsupported."""
    if not place.rootless:
        return netlink.open_socket()
    from cratebox.network import inside, usernet

    return inside.open_sockets(usernet.outside(place), True, (inside.NETLINK,))[0]


def ready(place: Place, network: Network, outside: _socket.socket) -> int:
    """Return the index of the network's bridge, made where it is missing (after a reboot).
    Raises RuntimeFailure, Unsupported.
    """
    found = netlink.link_index(outside, network.interface)
    if found:
        return found
    with MachineLock(place):
        found = netlink.link_index(outside, network.interface)
        return found or bring_up(place, network, outside)


def bring_up(place: Place, network: Network, outside: _socket.socket | None = None) -> int:
    """Make the bridge and return its index; what was made is taken away where it cannot be whole.

    Raises RuntimeFailure, Unsupported, Conflict.
    """
    sock = outside or open_outside(place)
    try:
        if not (place.rootless or network.internal):
            from cratebox.network import forwarding

            forwarding.ensure(place, network)
        try:
            netlink.perform(sock, [netlink.bridge_message(network.interface, network.mtu)])
        except FileExistsError:
            raise Conflict(f"network {network.name}: there is an interface {network.interface} already") from None
        index = netlink.link_index(sock, network.interface)
        try:
            if not place.rootless:
                _settle(network)
            whose = f"crate {place.root} {network.name}"
            netlink.perform(sock, [*_addresses(network, index), netlink.up_message(index, alias=whose)])
        except OSError:
            netlink.delete_link(sock, network.interface)
            raise
        return index  # noqa: TRY300
    except OSError as error:
        raise _failure(network, error) from None
    finally:
        if outside is None:
            sock.close()


def exists(interface: str) -> bool:
    """Whether there is an interface of that name on this machine."""
    sock = netlink.open_socket()
    try:
        return netlink.link_index(sock, interface) > 0
    finally:
        sock.close()


def take_away(place: Place, network: Network) -> None:
    """Delete the bridge where it is. Raises RuntimeFailure."""
    if place.rootless:
        from cratebox.network import usernet

        if not usernet.holder(place):
            return
    sock = open_outside(place)
    try:
        netlink.delete_link(sock, network.interface)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise RuntimeFailure(f"network {network.name}: {error.strerror}") from None
    finally:
        sock.close()


def _addresses(network: Network, index: int) -> list[netlink.Message]:
    """The gateways' addresses. Nobody is asked whether he has them already:
    an address would not be there for a second (RFC 4862).
    """
    made = []
    for subnet in network.subnets:
        part, gateway = parse_range(subnet.subnet), packed(subnet.gateway)
        made.append(netlink.address_message(index, address_of(part.family, part.prefix, gateway)))
    return made


def address_of(family: int, prefix: int, raw: bytes) -> netlink.Address:
    """Return an address for an interface, with the broadcast address of its subnet where it is of IPv4."""
    broadcast = b""
    if family == AF_INET:
        broadcast = (int.from_bytes(raw, "big") | (1 << 32 - prefix) - 1).to_bytes(4, "big")
    flags = 0 if family == AF_INET else netlink.IFA_F_NODAD
    return netlink.Address(family, prefix, flags, netlink.RT_SCOPE_UNIVERSE, raw, raw, broadcast)


def _settle(network: Network) -> None:
    """Settings of the bridge: packets from 127.0.0.1, for published ports, may pass it; what a container advertises as a router
    (CVE-2020-13401) is not believed.
    """
    write(f"net/ipv4/conf/{network.interface}/route_localnet", "1")
    if os.path.isdir("/proc/sys/net/ipv6/conf"):
        write(f"net/ipv6/conf/{network.interface}/accept_ra", "0")
        if not network.ipv6:
            write(f"net/ipv6/conf/{network.interface}/disable_ipv6", "1")


def write(name: str, value: str) -> None:
    """Change a setting below /proc/sys. Raises OSError."""
    fd = os.open("/proc/sys/" + name, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _failure(network: Network, error: OSError) -> RuntimeFailure | Unsupported:
    if error.errno in {errno.EPERM, errno.EACCES, errno.EROFS}:
        return Unsupported(
            f"network {network.name}: {error.strerror}",
            "making networks takes the right CAP_NET_ADMIN; --network host needs none",
        )
    if error.errno == errno.EOPNOTSUPP:
        return Unsupported(f"network {network.name}: this kernel makes no bridge: {error.strerror}", "modprobe bridge")
    return RuntimeFailure(f"network {network.name}: {error.strerror}")
