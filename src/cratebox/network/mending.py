"""What an ordinary user's networks are made of beyond the kernel, processes of his, each of which somebody may kill:

    holder            of the namespace that his bridges are in (usernet.py): all of his containers are off their networks
    way outside       pasta or slirp4netns (usermode.py): one reaches nothing outside
    relay's guardian  (relay.py): nobody reaches the ports of one, where the relay was not killed alone

Whoever runs an owner holds them (`hold`), so that he hears of their end at once, and has them again (`mend`): with the same
addresses, names and ports, which are the lease's. Connections between containers outlive it, as over a cable that was pulled.
"""

from __future__ import annotations

import errno
import os

from cratebox.errors import RuntimeFailure
from cratebox.linux import netlink, process
from cratebox.network import bridge, inside, leases, plugging, relay, usermode, usermode_program, usernet
from cratebox.network.inside import Target
from cratebox.network.leases import Ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.network.leases import Lease
    from cratebox.network.model import Endpoint, Place


def hold(place: Place, owner: str) -> tuple[list[int], bool]:
    """Return pidfds, which are the caller's to close, of the processes that the networks of `owner` take, and whether all is as
    it is to be. Raises OSError, StorageError.
    """
    lease = _lease(place, owner)
    if lease is None:
        return [], True
    reservation = lease.reservation
    finders: list[Callable[[], int]] = [lambda: usernet.holder(place)]
    if reservation.outward():
        finders.append(lambda: usermode_program.pid_of(place, owner))
        if _is_led(lease):
            finders.append(lambda: relay.guardian_of(place, owner))
    found = [fd for fd in map(_held, finders) if fd >= 0]
    return found, len(found) == len(finders) and lease.holder == usernet.identity(place)


def mend(place: Place, owner: str) -> None:
    """Have again what of the networks of `owner` is gone. Where he has ended, nothing happens. Raises OSError, CrateError."""
    with Ledger(place) as ledger:
        lease = ledger.get(owner)
        if lease is None or not _runs(lease):
            return
        with Target(lease.pid, started=lease.started) as target:
            if lease.holder != usernet.identity(place):
                _plug_again(place, lease, target)
                ledger.put(lease.replace(holder=usernet.identity(place)))
                ledger.save()
            if _is_led(lease) and not relay.guardian_of(place, owner):
                usermode.publish(place, lease.reservation, target.open_namespaces())
    if lease.reservation.outward():
        with Target(lease.pid, started=lease.started) as target:  # without the lock: it is a program, which takes its time
            usermode.open_again(place, lease.reservation, target.open_namespaces())
        _close_what_nobody_has(place, owner)


def _close_what_nobody_has(place: Place, owner: str) -> None:
    """He may have left the network meanwhile, or have ended."""
    with Ledger(place) as ledger:
        lease = ledger.get(owner)
        if lease is None or not lease.reservation.outward():
            usermode.end(place, owner)


def _lease(place: Place, owner: str) -> Lease | None:
    """Return the lease of one who runs and is on networks."""
    found = leases.read(place).get(owner)
    lease = leases.lease_of(found) if found else None
    return lease if lease and lease.reservation.endpoints and _runs(lease) else None


def _is_led(lease: Lease) -> bool:
    """Whether there is to be a relay."""
    reservation = lease.reservation
    return bool(reservation.outward() and reservation.ports and not reservation.keeps_clients)


def _runs(lease: Lease) -> bool:
    return lease.attached and lease.pid > 0 and process.start_time(lease.pid) == lease.started


def _held(find: Callable[[], int]) -> int:
    """Return a pidfd of the process that is found, -1 where there is none."""
    pid = find()
    try:
        fd = os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        return -1
    if fd >= 0 and find() != pid:  # another one with its number
        os.close(fd)
        return -1
    return fd


def _plug_again(place: Place, lease: Lease, target: Target) -> None:
    """Plug in what is not on a bridge. What is left of it inside goes when the kernel has ended the bridges' namespace."""
    lost = _lost(place, lease.reservation.endpoints)
    if not lost:
        return
    within = target.open_sockets(True, (inside.NETLINK,))[0]
    try:
        for one in lost:
            try:
                netlink.delete_link(within, one.interface)
            except OSError as error:
                if error.errno != errno.ENODEV:
                    raise
    finally:
        within.close()
    target.check()
    try:
        plugging.plug(place, lease.reservation, lost, target, names=False)
    except OSError as error:
        raise RuntimeFailure(f"network of {lease.reservation.label}: {error.strerror}") from None


def _lost(place: Place, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    outside = bridge.open_outside(place)
    try:
        return tuple(one for one in endpoints if not netlink.link_index(outside, one.outside))
    finally:
        outside.close()
