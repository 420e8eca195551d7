"""What an owner has of networks: reserved before his namespace exists, attached to it, and given back.

    reserve   in the client: addresses and host ports, so that what is wrong is said before anything is made
    attach    in the supervisor, while the namespace's first process waits: interfaces, routes, published ports
    release   when he has ended

An owner is a word of the caller's. His lease is garbage where nobody holds the lock that he named and the process whose namespace
was attached has ended: whoever comes next takes it away (`sweep`). A lease is on the disk before anything that it stands for is
made, and leaves it after that is gone.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_INET, AF_INET6

from cratebox.errors import Conflict, CrateError, NotFound, RuntimeFailure
from cratebox.linux import netlink, process
from cratebox.network import allocation, bridge, firewall, inside, leases, ports
from cratebox.network.addresses import packed, parse_mac
from cratebox.network.leases import Lease, Ledger
from cratebox.network.model import Endpoint, Network, Place, Port, Reservation, Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket


def reserve(
    place: Place,
    owner: str,
    label: str,
    wishes: tuple[Wish, ...],
    wanted: tuple[Port, ...] = (),
    *,
    lock: str = "",
    upstreams: tuple[str, ...] = (),
    hold: list[int] | None = None,
) -> Reservation:
    """Take addresses and host ports for `owner`; what he had before is given up, but he gets the same addresses where he may.

    `lock`: a file that whoever makes or runs the owner holds (linux/lock.py); without one the caller itself lives for him until
    `attach`. `hold`: descriptors are added to it that keep other processes from the ports, as long as they are open.
    Raises InvalidValue, Conflict, Unsupported, RuntimeFailure, StorageError.
    """
    for port in wanted:
        ports.check(port)
    if wanted and all(one.network.internal for one in wishes):
        raise Conflict(f"{label}: a port cannot be published where all networks are internal", "add a network that is not")
    networks = [one.network for one in wishes]
    with Ledger(place) as ledger:
        _sweep(place, ledger, owner)
        _ready(place, networks, ledger)
        before = ledger.get(owner)
        if before:
            _withdraw(place, before.reservation)
            ledger.drop(owner)
        endpoints = tuple(allocation.endpoint(ledger, one, before.reservation if before else None) for one in wishes)
        chosen = ports.choose(wanted, _ports_of(ledger), hold) if wanted else ()
        made = Reservation(
            owner=owner,
            label=label,
            endpoints=endpoints,
            ports=chosen,
            resolver=any(one.names for one in networks),
            upstreams=upstreams,
        )
        ledger.put(Lease(reservation=made, lock=lock, **_of_process(0 if lock else os.getpid())))
        ledger.save()
    return made


def attach(place: Place, reservation: Reservation, pid: int) -> None:
    """Put the network namespace of process `pid`, which is held by the caller, on its networks. Raises RuntimeFailure.

    What is in force is the lease: `reservation` tells whose, and what to make where it was lost. Where it was attached before (a
    container that is started again), this is its new namespace.
    """
    with Ledger(place) as ledger:
        lease = ledger.get(reservation.owner) or Lease(reservation=reservation)
        if lease.pid:  # perhaps not by an earlier run, but then a new name does no harm
            lease = lease.replace(reservation=_renamed(lease.reservation))
        ledger.put(lease.replace(pid=pid, started=process.start_time(pid)))
        ledger.save()
    try:
        _plug(place, lease.reservation, lease.reservation.endpoints, pid)
        _publish(place, lease.reservation)
    except OSError as error:
        raise RuntimeFailure(f"network of {reservation.label}: {error.strerror}") from None


def join(
    place: Place, owner: str, label: str, wish: Wish, pid: int, *, lock: str = "", upstreams: tuple[str, ...] = ()
) -> Endpoint:
    """Put the namespace of process `pid` on one network more; 0 where it does not run. Raises InvalidValue, Conflict.

    His interface has the wished name, or where that is taken the next one of eth0, eth1 and so on.
    """
    with Ledger(place) as ledger:
        _sweep(place, ledger, owner)
        _ready(place, [wish.network], ledger)
        lease = ledger.get(owner) or Lease(
            reservation=Reservation(owner=owner, label=label, upstreams=upstreams), lock=lock, **_of_process(pid)
        )
        before = lease.reservation
        if any(one.network == wish.network.id for one in before.endpoints):
            raise Conflict(f"{before.label} is on network {wish.network.name} already")
        made = allocation.endpoint(ledger, wish.replace(interface=_free_name(before, wish.interface)))
        after = before.replace(endpoints=(*before.endpoints, made), resolver=before.resolver or wish.network.names)
        ledger.put(lease.replace(reservation=after))
        ledger.save()
    if pid:
        try:
            _plug(place, after, (made,), pid)
            _publish(place, after)
        except (OSError, CrateError) as error:
            _replace(place, before)
            raise RuntimeFailure(f"network {wish.network.name}: {getattr(error, 'strerror', None) or error}") from None
    return made


def leave(place: Place, owner: str, network_id: str, pid: int) -> None:
    """Take the namespace of process `pid`, 0 where it does not run, off a network. Raises NotFound, RuntimeFailure."""
    before = of_owner(place, owner)
    left = [one for one in before.endpoints if one.network == network_id] if before else []
    if before is None or not left:
        raise NotFound(f"{before.label if before else owner[:12]} is not on this network")
    after = before.replace(endpoints=tuple(one for one in before.endpoints if one.network != network_id))
    try:
        _withdraw(place, before)
        if pid:
            _unplug(place, left[0], after, pid)
            _publish(place, after)
        _replace(place, after)
    except OSError as error:
        raise RuntimeFailure(f"network {left[0].name}: {error.strerror}") from None


def release(place: Place, owner: str) -> None:
    """Give up everything that `owner` has. Where he has nothing, nothing happens. Raises StorageError."""
    with Ledger(place) as ledger:
        lease = ledger.get(owner)
        if lease is None:
            return
        _give_up(place, ledger, [lease])
        ledger.save()


def rename(place: Place, owner: str, label: str) -> None:
    """People call `owner` by `label` from now on."""
    with Ledger(place) as ledger:
        lease = ledger.get(owner)
        if lease:
            ledger.put(lease.replace(reservation=lease.reservation.replace(label=label)))
            ledger.save()


def of_owner(place: Place, owner: str) -> Reservation | None:
    """Return what `owner` has now. Raises StorageError."""
    found = leases.read(place).get(owner)
    return leases.lease_of(found).reservation if found else None


def all_of(place: Place) -> tuple[Reservation, ...]:
    """Return what everybody has now. Raises StorageError."""
    return tuple(leases.lease_of(one).reservation for one in leases.read(place).values())


def on_network(place: Place, network_id: str) -> tuple[tuple[str, str, Endpoint], ...]:
    """Return who is on a network: label, owner and endpoint of each. Raises StorageError."""
    return tuple(
        (one.label, one.owner, endpoint)
        for one in all_of(place)
        for endpoint in one.endpoints
        if endpoint.network == network_id
    )


def sweep(place: Place) -> None:
    """Take away what is left of owners that have ended without a word. Raises StorageError."""
    if not os.path.exists(leases_file(place)):
        return
    with Ledger(place) as ledger:
        if _sweep(place, ledger):
            ledger.save()


def leases_directory(place: Place) -> str:
    """Return the directory in which a file is replaced (renamed to) whenever any lease changes; made where it is missing."""
    return leases.directory(place)


def leases_file(place: Place) -> str:
    """Return that file, which is replaced by another one whenever any lease changes."""
    return place.state + "/networks/leases"


def obstacle(place: Place, network: Network) -> tuple[str, str] | None:
    """Return what keeps packets of the network from being forwarded, and what would allow them; None where nothing is known to."""
    return None if network.internal or place.rootless else firewall.obstacle(network.interface)


def reload(place: Place, ledger: Ledger | None = None) -> None:
    """Load the rules of all networks and published ports anew; `ledger` is held already where it is given."""
    if place.rootless:
        return
    if ledger is None:
        with Ledger(place) as taken:
            reload(place, taken)
        return
    from cratebox.network import definitions

    networks = definitions.all_of(place)
    if networks:
        found = [leases.lease_of(one).reservation for one in ledger.by_owner.values()]
        firewall.load(place, networks, [one for reservation in found for one in _elements(reservation)])
    else:
        firewall.unload(place)


def shut_down(place: Place) -> None:
    """Take away everything that networks have left on this machine: leases, bridges, rules. Definitions stay. Raises RuntimeFailure."""
    from cratebox.network import definitions

    with Ledger(place) as ledger:
        _give_up(place, ledger, [leases.lease_of(one) for one in ledger.by_owner.values()])
        ledger.save()
        for network in definitions.all_of(place):
            bridge.take_away(place, network)
        if not place.rootless:
            firewall.unload(place)


def _of_process(pid: int) -> dict[str, int]:
    return {"pid": pid, "started": process.start_time(pid)} if pid else {}


def _renamed(reservation: Reservation) -> Reservation:
    """The same with other outer ends: those of the last namespace may still be there."""
    fresh = tuple(one.replace(outside=allocation.outside_name()) for one in reservation.endpoints)
    return reservation.replace(endpoints=fresh)


def _replace(place: Place, reservation: Reservation) -> None:
    with Ledger(place) as ledger:
        lease = ledger.get(reservation.owner)
        if lease:
            ledger.put(lease.replace(reservation=reservation))
            ledger.save()


def _free_name(reservation: Reservation, wished: str) -> str:
    taken = {one.interface for one in reservation.endpoints}
    return wished if wished not in taken else next(f"eth{n}" for n in range(len(taken) + 1) if f"eth{n}" not in taken)


def _ports_of(ledger: Ledger) -> ports.Taken:
    taken: ports.Taken = {}
    for one in ledger.by_owner.values():
        reservation = one["reservation"]
        if "ports" in reservation:
            ports.add(taken, reservation["label"], reservation["ports"])
    return taken


def _sweep(place: Place, ledger: Ledger, spare: str = "") -> bool:
    found = ledger.dead(spare)
    if found:
        _give_up(place, ledger, found)
    return bool(found)


def _give_up(place: Place, ledger: Ledger, found: list[Lease]) -> None:
    """Rules first: a lease is the only thing that tells of them. The interfaces go with their namespace."""
    for one in found:
        _withdraw(place, one.reservation)
        ledger.drop(one.reservation.owner)


def _ready(place: Place, networks: list[Network], ledger: Ledger) -> None:
    """See to it that bridges and rules are there: a reboot, or somebody with `nft flush ruleset`, has taken them away."""
    sock = bridge.open_outside(place)
    try:
        for one in networks:
            bridge.ready(place, one, sock)
    finally:
        sock.close()
    if not (place.rootless or firewall.is_loaded(place)):
        reload(place, ledger)


def _plug(place: Place, reservation: Reservation, new: tuple[Endpoint, ...], pid: int) -> None:
    """Make the interfaces of the endpoints `new`. Raises OSError, RuntimeFailure."""
    outside = bridge.open_outside(place)
    try:
        sockets = inside.open_sockets(pid, place.rootless, (inside.NETLINK,), _settings(new))
        try:
            for one in new:
                _pair(place, one, outside, pid)
            _configure(sockets[0], reservation, new)
        finally:
            for sock in sockets:
                sock.close()
    finally:
        outside.close()


def _settings(new: tuple[Endpoint, ...]) -> tuple[tuple[str, str], ...]:
    """For interfaces that are about to come: no IPv6 where the network has none, and no belief in who says he is a router."""
    if any(one.ip6 for one in new):
        return ("net/ipv6/conf/default/disable_ipv6", "0"), ("net/ipv6/conf/default/accept_ra", "0")
    return (("net/ipv6/conf/default/disable_ipv6", "1"),)


def _pair(place: Place, one: Endpoint, outside: _socket.socket, pid: int) -> None:
    index = netlink.link_index(outside, one.bridge)
    if not index:
        from cratebox.network import definitions

        index = bridge.ready(place, definitions.load(place, one.name), outside)
    made = [netlink.veth_message(one.outside, index, pid, one.interface, parse_mac(one.mac), one.mtu)]
    if one.apart:
        made.append(netlink.isolation_message(one.outside))
    netlink.perform(outside, made)


def _configure(sock: _socket.socket, reservation: Reservation, new: tuple[Endpoint, ...]) -> None:
    """Give the interfaces their addresses, bring them up, and lead all that is elsewhere to the first gateway."""
    indices = netlink.links(sock)
    messages = []
    for one in new:
        index = indices[one.interface]
        for address, prefix in ((one.ip, one.prefix), (one.ip6, one.prefix6)):
            if address:
                family = AF_INET6 if ":" in address else AF_INET
                messages.append(netlink.address_message(index, bridge.address_of(family, prefix, packed(address))))
        messages.append(netlink.up_message(index))
    netlink.perform(sock, messages + _default_routes(reservation, new, indices))


def _default_routes(reservation: Reservation, new: tuple[Endpoint, ...], indices: dict[str, int]) -> list[netlink.Message]:
    """Without root the way outside is another one: network/usermode.py makes it, and its route."""
    made = []
    for family, field in ((AF_INET, "gateway"), (AF_INET6, "gateway6")):
        first = _outward(reservation, field)
        if first in new:
            made.append(netlink.default_route_message(family, packed(getattr(first, field)), indices[first.interface]))
    return made


def _outward(reservation: Reservation, field: str = "gateway") -> Endpoint | None:
    """Return the endpoint by which everything leaves that is for elsewhere, and published ports come."""
    return next((one for one in reservation.endpoints if getattr(one, field)), None)


def _unplug(place: Place, left: Endpoint, after: Reservation, pid: int) -> None:
    """Delete the interfaces of the endpoint `left`; what it was the way for goes by the next one. Raises OSError."""
    outside = bridge.open_outside(place)
    try:
        netlink.delete_link(outside, left.outside)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
    finally:
        outside.close()
    moved = tuple(one for one in after.endpoints if one in {_outward(after), _outward(after, "gateway6")})
    if moved:
        sock = inside.open_sockets(pid, place.rootless, (inside.NETLINK,))[0]
        try:
            netlink.perform(sock, _default_routes(after, moved, netlink.links(sock)))
        except FileExistsError:
            pass  # it went by another one before
        finally:
            sock.close()


def _elements(reservation: Reservation) -> list[firewall.Element]:
    """What leads who asks for his published ports to him."""
    found = []
    for field in ("gateway", "gateway6"):
        end = _outward(reservation, field)
        if end:
            four, six = (end.ip, "") if field == "gateway" else ("", end.ip6)
            for port in reservation.ports:
                found += firewall.elements(port, four, six)
    return found


def _publish(place: Place, reservation: Reservation) -> None:
    found = _elements(reservation) if reservation.ports and not place.rootless else []
    if found and not firewall.publish(place, found):
        reload(place)


def _withdraw(place: Place, reservation: Reservation) -> None:
    found = _elements(reservation) if reservation.ports and not place.rootless else []
    if found:
        firewall.withdraw(place, found)
