"""Published ports: elements of the maps of firewall.py, which lead who asks for a port of this machine to a container's.

any4, any6   protocol and port, at every address of the machine
at4, at6     protocol, address and port
"""

from __future__ import annotations

import errno
from _socket import AF_INET, AF_INET6

from cratebox.linux import netlink, nftables
from cratebox.network import firewall
from cratebox.network.addresses import from_packed, packed
from cratebox.network.model import Place, Port, Reservation

TYPE_CHECKING = False
if TYPE_CHECKING:
    Element = tuple[str, bytes, bytes]  # map, key, value

_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}


def publish(place: Place, reservation: Reservation) -> bool:
    """Lead who asks for the ports of `reservation` to it; False where the rules are not loaded (any more). Raises OSError."""
    found = elements(reservation)
    if not found:
        return True
    sock, table = firewall.kept_socket(), firewall.table(place)
    try:
        nftables.add_elements(sock, table, found)
    except FileExistsError:  # of somebody who has ended, and was not swept
        nftables.delete_elements(sock, table, found)
        nftables.add_elements(sock, table, found)
    except FileNotFoundError:
        return False
    _forget(found, gone=False)
    return True


def withdraw(place: Place, reservation: Reservation) -> None:
    """Lead nobody to it any more. Raises OSError."""
    found = elements(reservation)
    if found:
        nftables.delete_elements(firewall.kept_socket(), firewall.table(place), found)
        _forget(found, gone=True)


def _forget(found: list[Element], gone: bool) -> None:
    """Have the kernel forget flows of UDP that do not go where they should:
    a client that goes on sending would never get there.

    Where the container is there now, those that began when nobody was, or another one; where it is `gone`, its own.
    """
    wanted = [one for one in found if one[1][0] == _PROTOCOLS["udp"]]
    if not wanted:
        return
    from cratebox.linux import conntrack

    own = _own_addresses()
    for _map, key, value in wanted:
        family = AF_INET if len(value) == 8 else AF_INET6
        port, inner = int.from_bytes(key[-4:-2], "big"), value[:-4]
        try:
            for flow in conntrack.flows(firewall.kept_socket(), family, _PROTOCOLS["udp"], port):
                if flow.destination in own and (flow.answers == inner) == gone:
                    conntrack.forget(firewall.kept_socket(), family, flow)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:  # a kernel that does not tell of them
                raise


def _own_addresses() -> set[bytes]:
    sock = netlink.open_socket()
    try:
        return {one.local or one.address for one in netlink.addresses(sock)}
    finally:
        sock.close()


def elements(reservation: Reservation) -> list[Element]:
    """Return the elements of all ports of `reservation`, by IPv4 and by IPv6, to where it is reached from outside."""
    if not reservation.ports:
        return []
    four, six = reservation.outward(), reservation.outward(six=True)
    found = []
    for port in reservation.ports:
        if four:
            found += _element(port, "4", four.ip)
        if six:
            found += _element(port, "6", six.ip6)
    return found


def _element(port: Port, family: str, inner: str) -> list[Element]:
    at = packed(port.host_ip) if port.host_ip else b""
    if at and (len(at) == 4) != (family == "4"):
        return []
    service = port.host.to_bytes(2, "big") + b"\0\0"  # each part of a key has four bytes, or a multiple
    protocol = bytes((_PROTOCOLS[port.protocol], 0, 0, 0))
    wide = not any(at)  # 0.0.0.0 and :: are all addresses of a family, and "" those of both
    key = protocol + service if wide else protocol + at + service
    return [(("any" if wide else "at") + family, key, packed(inner) + port.container.to_bytes(2, "big") + b"\0\0")]


def written(reservation: Reservation) -> list[tuple[str, str]]:
    """Return the same as nft reads it."""
    names = {number: name for name, number in _PROTOCOLS.items()}
    found = []
    for which, key, value in elements(reservation):
        at = f" . {from_packed(key[4:-4])}" if which.startswith("at") else ""
        port, inner = (int.from_bytes(part[-4:-2], "big") for part in (key, value))
        found.append((which, f"{names[key[0]]}{at} . {port} : {from_packed(value[:-4])} . {inner}"))
    return found
