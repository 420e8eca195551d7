"""What an owner has of networks: reserved before his namespace exists, attached to it, and given back.

    reserve   in the client: addresses and host ports, so that what is wrong is said before anything is made
    attach    in the supervisor, while the namespace's first process waits: interfaces, routes, published ports
    release   when he has ended

    join, leave, rename   what he has changes while he is there, or between two namespaces
    sweep, tidy, reload   what others have left, or taken away

An owner is a word of the caller's. His lease is garbage where nobody holds the lock that he named and the process whose namespace
was attached has ended: whoever comes next takes it away (`sweep`). A lease is on the disk before anything that it stands for is
made, and leaves it after that is gone.
"""

from __future__ import annotations

import os

from cratebox.errors import Conflict, CrateError, NotFound, RuntimeFailure
from cratebox.linux import process
from cratebox.network import allocation, bridge, firewall, leases, plugging, ports, publishing
from cratebox.network.leases import Lease, Ledger
from cratebox.network.model import Endpoint, Network, Place, Port, Reservation, Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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
        ports.check(port, place.rootless)
    if wanted and all(one.network.internal for one in wishes):
        raise Conflict(f"{label}: a port cannot be published where all networks are internal", "add a network that is not")
    networks = [one.network for one in wishes]
    if place.rootless and not all(one.internal for one in networks):
        from cratebox.network import usermode

        usermode.check(wanted)
    with Ledger(place) as ledger:
        _sweep(place, ledger, owner)
        before = ledger.get(owner)
        if before:
            _cut_off(place, before.reservation)
            ledger.drop(owner)
        endpoints = tuple(allocation.endpoint(ledger, one, before.reservation if before else None) for one in wishes)
        if not (place.rootless or any(one.gateway6 for one in endpoints)):
            wanted = tuple(ports.of_ipv4(one) for one in wanted)
        # Without root it is the way outside that listens on them.
        chosen = ports.choose(wanted, _ports_of(ledger), None if place.rootless else hold) if wanted else ()
        if chosen and place.rootless:
            chosen = usermode.listened(chosen, any(one.ip6 for one in endpoints))
        try:
            _ready(place, networks, ledger)  # last: nothing is made for who cannot have what he wishes
        except BaseException:
            while hold:
                os.close(hold.pop())
            raise
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


def attach(place: Place, reservation: Reservation, pid: int, *, namespaces: tuple[int, int] | None = None) -> None:
    """Put the network namespace of process `pid`, which is held by the caller, on its networks. Raises RuntimeFailure.

    What is in force is the lease: `reservation` tells whose, and what to make where it was lost. Where it was attached before (a
    container that is started again), this is its new namespace. `namespaces`: of user and network, opened, where there is no
    privilege and the process does not run its program yet.
    """
    with Ledger(place) as ledger:
        lease = ledger.get(reservation.owner) or Lease(reservation=reservation)
        ledger.put(lease.replace(pid=pid, started=process.start_time(pid), attached=True))
        ledger.save()
    try:
        if lease.attached:  # the last namespace, which may be there for some 50 ms more, would answer for this one
            plugging.delete(place, lease.reservation.endpoints)
        _make(place, lease.reservation, lease.reservation.endpoints, pid, namespaces)
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
        ledger.put(lease.replace(reservation=after, attached=lease.attached or bool(pid)))
        ledger.save()
    if pid:
        try:
            _make(place, after, (made,), pid)
        except (OSError, CrateError) as error:
            _undo(place, owner, made, before, pid)
            raise RuntimeFailure(f"network {wish.network.name}: {getattr(error, 'strerror', None) or error}") from None
    return made


def leave(place: Place, owner: str, network_id: str, pid: int) -> None:
    """Take the namespace of process `pid`, 0 where it does not run, off a network. Raises NotFound, RuntimeFailure.

    What left by it leaves by the next network that is not internal, and so do published ports come.
    """
    with Ledger(place) as ledger:
        lease = ledger.get(owner)
        before = lease.reservation if lease else None
        left = [one for one in before.endpoints if one.network == network_id] if before else []
        if lease is None or before is None or not left:
            raise NotFound(f"{before.label if before else owner[:12]} is not on this network")
        after = before.replace(endpoints=tuple(one for one in before.endpoints if one.network != network_id))
        try:
            if not place.rootless:
                publishing.withdraw(place, before)
            if pid:
                plugging.unplug(place, left[0], after, pid)
            ledger.put(lease.replace(reservation=after))
            ledger.save()
            if pid and not place.rootless and not publishing.publish(place, after):
                reload(place, ledger)
            if place.rootless and before.outward() and not after.outward():
                _cut_off(place, before)
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
    """Take away what is left of owners that have ended without a word; see to rules that somebody has flushed, and to names where their
    resolver was killed. Raises StorageError.
    """
    if not os.path.exists(leases.path_of(place)):
        return
    with Ledger(place) as ledger:
        if _sweep(place, ledger):
            ledger.save()
        if ledger.by_owner and not place.rootless:
            _guard_again(place, ledger)
    from cratebox.network import dns

    dns.heal(place)


def _guard_again(place: Place, ledger: Ledger) -> None:
    """Without the rules containers reach the machine's 127.0.0.1, and everybody them. It is best effort: a start says what is in the way."""
    try:
        if not firewall.is_loaded(place):
            reload(place, ledger)
    except (OSError, CrateError):
        pass


def obstacle(place: Place, network: Network) -> tuple[str, str] | None:
    """Return what keeps packets of the network from being forwarded, and what would allow them, as firewall.py says it."""
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
        firewall.load(place, networks, [one for reservation in found for one in publishing.written(reservation)])
    else:
        firewall.unload(place)


def shut_down(place: Place) -> None:
    """Take away everything that networks have left on this machine: leases, bridges, rules. Definitions stay. Raises RuntimeFailure."""
    from cratebox.network import definitions

    with Ledger(place) as ledger:
        found = [leases.lease_of(one) for one in ledger.by_owner.values()]
        for one in found:
            plugging.delete(place, one.reservation.endpoints)
        _give_up(place, ledger, found)
        ledger.save()
        for network in definitions.all_of(place):
            bridge.take_away(place, network)
        if not place.rootless:
            firewall.unload(place)


def tidy(place: Place) -> tuple[str, ...]:
    """Where nobody has a lease (any more): delete the bridges and the rules, which the next start makes again.

    Return the interfaces that were deleted. Raises RuntimeFailure, StorageError.
    """
    from cratebox.network import definitions

    if place.rootless or not os.path.exists(leases.path_of(place)):
        return ()  # a user's went with the last lease
    with Ledger(place) as ledger:
        if _sweep(place, ledger):
            ledger.save()
        if ledger.by_owner:
            return ()
        networks = [one for one in definitions.all_of(place) if bridge.exists(one.interface)]
        for network in networks:
            bridge.take_away(place, network)
        if firewall.is_there(place):
            firewall.unload(place)
    return tuple(one.interface for one in networks)


def _of_process(pid: int) -> dict[str, Any]:
    return {"pid": pid, "started": process.start_time(pid)} if pid else {}


def _undo(place: Place, owner: str, endpoint: Endpoint, before: Reservation, pid: int) -> None:
    """Take away an endpoint that could not be plugged in."""
    try:
        plugging.unplug(place, endpoint, before, pid)
    except (OSError, CrateError):
        pass  # what kept it from being made
    with Ledger(place) as ledger:
        lease = ledger.get(owner)
        if lease:
            kept = tuple(one for one in lease.reservation.endpoints if one.network != endpoint.network)
            ledger.put(lease.replace(reservation=lease.reservation.replace(endpoints=kept)))
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
    elif place.rootless:
        _end_unleased(place, ledger)
    return bool(found)


def _give_up(place: Place, ledger: Ledger, found: list[Lease]) -> None:
    """Rules first: a lease is the only thing that tells of them. The interfaces go with their namespace."""
    for one in found:
        _cut_off(place, one.reservation)
        ledger.drop(one.reservation.owner)
    _end_unleased(place, ledger)


def _end_unleased(place: Place, ledger: Ledger) -> None:
    """End ways outside of whom the leases do not know (their start was killed), and the user's namespace where nobody is in it."""
    if not place.rootless:
        return
    from cratebox.network import usermode, usernet

    for owner in usermode.owners(place):
        if owner not in ledger.by_owner:
            usermode.end(place, owner)
    if not ledger.by_owner:
        usernet.end(place)


def _ready(place: Place, networks: list[Network], ledger: Ledger) -> None:
    """See to it that bridges and rules are there: a reboot, or somebody with `nft flush ruleset`, has taken them away."""
    sock = bridge.open_outside(place)
    try:
        for one in networks:
            bridge.ready(place, one, sock)
    except BaseException:
        _end_unleased(place, ledger)
        raise
    finally:
        sock.close()
    if not (place.rootless or firewall.is_loaded(place)):
        reload(place, ledger)


def _make(
    place: Place, reservation: Reservation, new: tuple[Endpoint, ...], pid: int, namespaces: tuple[int, int] | None = None
) -> None:
    """Put the namespace of process `pid` on the networks of the endpoints `new`. Raises OSError, CrateError."""
    first = new == reservation.endpoints
    names = reservation.resolver and (first or not _has_names(place, reservation, pid))
    if not place.rootless:
        plugging.plug(place, reservation, new, pid, names)
        if first and not publishing.publish(place, reservation):
            reload(place)
        return
    from cratebox.network import usermode

    # The way outside is a program, which takes its time to begin.
    if not _opens(reservation, new):
        plugging.plug(place, reservation, new, pid, names, namespaces)
        return
    ipv6 = any(one.ip6 for one in reservation.endpoints)
    way = usermode.begin(place, reservation.owner, reservation.ports, pid, ipv6=ipv6, namespaces=namespaces)
    try:
        plugging.plug(place, reservation, new, pid, names, namespaces)
    except BaseException:
        usermode.give_up(way)
        raise
    usermode.await_ready(way)


def _has_names(place: Place, reservation: Reservation, pid: int) -> bool:
    from cratebox.network import dns

    return dns.is_attached(place, reservation.owner, pid)


def _opens(reservation: Reservation, new: tuple[Endpoint, ...]) -> bool:
    """Whether what is for elsewhere leaves since the endpoints `new` are there."""
    return reservation.outward() in new


def _cut_off(place: Place, reservation: Reservation) -> None:
    """End all that is his and does not end with his namespace."""
    if not place.rootless:
        publishing.withdraw(place, reservation)
    elif reservation.outward():
        from cratebox.network import usermode

        usermode.end(place, reservation.owner)
