"""What an owner has of networks: reserved before his namespace exists, attached to it, and given back.

    reserve   in the client: addresses and host ports, so that what is wrong is said before anything is made
    attach    in the supervisor, while the namespace's first process waits: interfaces, routes, published ports
    release   when he has ended

    join, leave, rename   what he has changes while he is there, or between two namespaces

An owner is a word of the caller's. His lease is garbage where nobody holds the lock that he named and the process whose
namespace was attached has ended: whoever comes next takes it away (upkeep.py). A lease is on the disk before anything that it
stands for is made, and leaves it after that is gone.
"""

from __future__ import annotations

import os

from cratebox.errors import Conflict, CrateError, NotFound, RuntimeFailure
from cratebox.linux import process
from cratebox.network import allocation, leases, plugging, ports, publishing, upkeep
from cratebox.network.inside import Target
from cratebox.network.leases import Lease, Ledger
from cratebox.network.model import Endpoint, Former, Place, Port, Reservation, Wish

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
    keeps_clients: bool = False,
    former: tuple[Former, ...] = (),
    hold: list[int] | None = None,
) -> Reservation:
    """Take addresses and host ports for `owner`; what he had before is given up, but he gets the same addresses where he may.

    `lock`: a file that whoever makes or runs the owner holds (linux/lock.py); without one the caller itself lives for him until
    `attach`. `keeps_clients`: clients of his ports are seen by their own addresses. `former`: what he had before that. `hold`:
    descriptors are added to it that keep other processes from the ports, as long as they are open.
    Raises InvalidValue, Conflict, Unsupported, RuntimeFailure, StorageError.
    """
    _check(place, label, wishes, wanted, keeps_clients)
    networks = [one.network for one in wishes]
    held: list[int] = []
    try:
        with Ledger(place) as ledger:
            upkeep.take_dead(place, ledger, owner)
            before = ledger.get(owner)
            if before:
                upkeep.cut_off(place, before.reservation)
                ledger.drop(owner)
                former = before.reservation.replace(former=former).left(before.reservation.endpoints)
            endpoints = tuple(allocation.endpoint(ledger, one, former) for one in wishes)
            chosen = _ports(place, ledger, wanted, endpoints, held)
            if place.rootless and keeps_clients:
                chosen = _of_pasta(chosen, endpoints)
            upkeep.ready(place, networks, ledger)  # last: nothing is made for who cannot have what he wishes
            made = Reservation(
                owner=owner,
                label=label,
                endpoints=endpoints,
                ports=chosen,
                resolver=any(one.names for one in networks),
                upstreams=upstreams,
                keeps_clients=keeps_clients,
                former=former,
            )
            ledger.put(Lease(reservation=made, lock=lock, **_of_process(0 if lock else os.getpid())))
            ledger.save()
        if hold is not None:
            hold += held
            held = []
    finally:
        for fd in held:
            os.close(fd)
    return made


def _check(place: Place, label: str, wishes: tuple[Wish, ...], wanted: tuple[Port, ...], keeps_clients: bool) -> None:
    """Raise InvalidValue, Conflict or Unsupported for what could not be had by anybody."""
    for port in wanted:
        ports.check(port, place.rootless)
    if wanted and all(one.network.internal for one in wishes):
        raise Conflict(f"{label}: a port cannot be published where all networks are internal", "add a network that is not")
    if place.rootless and not all(one.network.internal for one in wishes):
        from cratebox.network import usermode

        usermode.check(wanted, keeps_clients)


def _ports(
    place: Place, ledger: Ledger, wanted: tuple[Port, ...], endpoints: tuple[Endpoint, ...], held: list[int]
) -> tuple[Port, ...]:
    """Return the ports, each with one of this machine, and add to `held` what keeps others from those."""
    if not wanted:
        return ()
    if not (place.rootless or any(one.gateway6 for one in endpoints)):
        wanted = tuple(ports.of_ipv4(one) for one in wanted)
    # Without root it is the relay that listens on them (network/relay.py).
    return ports.choose(wanted, _taken(ledger), None if place.rootless else held)


def _of_pasta(chosen: tuple[Port, ...], endpoints: tuple[Endpoint, ...]) -> tuple[Port, ...]:
    from cratebox.network import usermode

    return usermode.listened(chosen, any(one.ip6 for one in endpoints))


def attach(place: Place, reservation: Reservation, pid: int, *, namespaces: tuple[int, int] | None = None) -> None:
    """Put the network namespace of process `pid`, which the caller has not reaped, on its networks. Raises RuntimeFailure.

    What is in force is the lease: `reservation` tells whose, and what to make where it was lost. Where it was attached before
    (a container that is started again), this is its new namespace. `namespaces`: of user and network, opened, where there is no
    privilege and the process does not run its program yet.
    """
    with Ledger(place) as ledger:
        lease = ledger.get(reservation.owner) or Lease(reservation=reservation)
        ledger.put(lease.replace(pid=pid, started=process.start_time(pid), attached=True, holder=_holder(place)))
        ledger.save()
    try:
        if lease.attached:  # the last namespace, which may be there for some 50 ms more, would answer for this one
            plugging.delete(place, lease.reservation.endpoints)
        plugging.delete_former(place, lease.reservation)
        with Target(pid, namespaces=namespaces) as target:
            _make(place, lease.reservation, lease.reservation.endpoints, target)
    except OSError as error:
        raise RuntimeFailure(f"network of {reservation.label}: {error.strerror}") from None


def join(
    place: Place, owner: str, label: str, wish: Wish, target: Target | None, *, lock: str = "", upstreams: tuple[str, ...] = ()
) -> Endpoint:
    """Put the namespace of `target`, None where it does not run, on one network more. Raises InvalidValue, Conflict.

    His interface has the wished name, or where that is taken the next one of eth0, eth1 and so on.
    """
    with Ledger(place) as ledger:
        upkeep.take_dead(place, ledger, owner)
        upkeep.ready(place, [wish.network], ledger)
        lease = ledger.get(owner) or Lease(
            reservation=Reservation(owner=owner, label=label, upstreams=upstreams),
            lock=lock,
            **_of_process(target.pid if target else 0),
        )
        before = lease.reservation
        if any(one.network == wish.network.id for one in before.endpoints):
            raise Conflict(f"{before.label} is on network {wish.network.name} already")
        made = allocation.endpoint(ledger, wish.replace(interface=_free_name(before, wish.interface)), before.former)
        after = before.replace(endpoints=(*before.endpoints, made), resolver=before.resolver or wish.network.names)
        ledger.put(lease.replace(reservation=after, attached=lease.attached or target is not None))
        ledger.save()
    if target:
        try:
            _make(place, after, (made,), target)
        except (OSError, CrateError) as error:
            _undo(place, owner, made, before, target)
            raise RuntimeFailure(f"network {wish.network.name}: {getattr(error, 'strerror', None) or error}") from None
    return made


def leave(place: Place, owner: str, network_id: str, target: Target | None) -> None:
    """Take the namespace of `target`, None where it does not run, off a network. Raises NotFound, RuntimeFailure.

    What left by it leaves by the next network that is not internal, and so do published ports come.
    """
    with Ledger(place) as ledger:
        lease = ledger.get(owner)
        before = lease.reservation if lease else None
        left = [one for one in before.endpoints if one.network == network_id] if before else []
        if lease is None or before is None or not left:
            raise NotFound(f"{before.label if before else owner[:12]} is not on this network")
        kept = tuple(one for one in before.endpoints if one.network != network_id)
        after = before.replace(endpoints=kept, former=before.left(tuple(left)))
        try:
            if not place.rootless:
                publishing.withdraw(place, before)
            if target:
                plugging.unplug(place, left[0], after, target)
            ledger.put(lease.replace(reservation=after))
            ledger.save()
            if target and not place.rootless and not publishing.publish(place, after):
                upkeep.reload(place, ledger)
            if place.rootless:
                _turn(place, before, after, target)
        except OSError as error:
            raise RuntimeFailure(f"network {left[0].name}: {error.strerror}") from None


def release(place: Place, owner: str) -> None:
    """Give up everything that `owner` has. Where he has nothing, nothing happens. Raises StorageError."""
    with Ledger(place) as ledger:
        lease = ledger.get(owner)
        if lease is None:
            return
        upkeep.give_up(place, ledger, [lease])
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


def _holder(place: Place) -> str:
    if not place.rootless:
        return ""
    from cratebox.network import usernet

    return usernet.identity(place)


def _of_process(pid: int) -> dict[str, Any]:
    return {"pid": pid, "started": process.start_time(pid)} if pid else {}


def _undo(place: Place, owner: str, endpoint: Endpoint, before: Reservation, target: Target) -> None:
    """Take away an endpoint that could not be plugged in."""
    try:
        plugging.unplug(place, endpoint, before, target)
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


def _taken(ledger: Ledger) -> ports.Taken:
    taken: ports.Taken = {}
    for one in ledger.by_owner.values():
        reservation = one["reservation"]
        if "ports" in reservation:
            ports.add(taken, reservation["label"], reservation["ports"])
    return taken


def _make(place: Place, reservation: Reservation, new: tuple[Endpoint, ...], target: Target) -> None:
    """Put the namespace of `target` on the networks of the endpoints `new`. Raises OSError, CrateError."""
    first = new == reservation.endpoints
    names = reservation.resolver and (first or not _has_names(place, reservation, target.pid))
    if not place.rootless:
        plugging.plug(place, reservation, new, target, names)
        if first and not publishing.publish(place, reservation):
            upkeep.reload(place)
        return
    if reservation.outward() not in new:
        plugging.plug(place, reservation, new, target, names)
        return
    from cratebox.network import usermode

    # The way outside is a program, which takes its time to begin.
    way = usermode.begin(place, reservation, target.open_namespaces())
    try:
        plugging.plug(place, reservation, new, target, names)
        usermode.publish(place, reservation, target.open_namespaces())
    except BaseException:
        usermode.give_up(way)
        raise
    usermode.await_ready(way)


def _has_names(place: Place, reservation: Reservation, pid: int) -> bool:
    from cratebox.network import dns

    return dns.is_attached(place, reservation.owner, pid)


def _turn(place: Place, before: Reservation, after: Reservation, target: Target | None) -> None:
    """Without root: what came to the namespace of `target` by a network that it has left comes by another one,
    or not any more.
    """
    if not after.outward():
        upkeep.cut_off(place, before)
    elif target and (before.outward(), before.outward(six=True)) != (after.outward(), after.outward(six=True)):
        from cratebox.network import usermode

        usermode.publish(place, after, target.open_namespaces())
