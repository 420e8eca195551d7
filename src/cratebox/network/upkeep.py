"""What is kept in order around leases: nothing stays of owners who have ended, and bridges,
rules and names are there for those who live.

Commands that look at networks do it (`sweep`), and so does every start, before it takes anything (`take_dead`, `ready`). Who
has died is known by his lease alone (leases.py), so what a lease stands for goes before it does.
"""

from __future__ import annotations

import os

from cratebox.errors import CrateError
from cratebox.linux import process
from cratebox.network import bridge, firewall, leases, plugging, publishing
from cratebox.network.inside import Target
from cratebox.network.leases import Ledger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.network.leases import Lease
    from cratebox.network.model import Network, Place, Reservation


def sweep(place: Place) -> None:
    """Take away what is left of owners that have ended without a word; see to rules that somebody has flushed, and to names and
    ports where their resolver, or relay, was killed with its guardian. Raises StorageError.
    """
    if not os.path.exists(leases.path_of(place)):
        return
    with Ledger(place) as ledger:
        if take_dead(place, ledger):
            ledger.save()
        if place.rootless:
            _publish_again(place, ledger)
        else:
            _guard_again(place, ledger)
    from cratebox.network import dns

    dns.heal(place)


def guard(place: Place) -> bool:
    """See to it that the rules are there where somebody has a lease; return whether they had to be loaded.
    Raises CrateError, OSError.
    """
    if place.rootless or not os.path.exists(leases.path_of(place)):
        return False
    with Ledger(place) as ledger:
        return _guard(place, ledger)


def is_unguarded(place: Place) -> bool:
    """Tell whether somebody lives on networks whose rules are gone. Raises CrateError, OSError."""
    if place.rootless or not os.path.exists(leases.path_of(place)):
        return False
    with Ledger(place) as ledger:
        return len(ledger.dead()) < len(ledger.by_owner) and not firewall.is_loaded(place)


def tidy(place: Place) -> tuple[str, ...]:
    """Where nobody has a lease (any more): delete the bridges and the rules, which the next start makes again.

    Return the interfaces that were deleted. Raises RuntimeFailure, StorageError.
    """
    from cratebox.network import definitions

    if place.rootless or not os.path.exists(leases.path_of(place)):
        return ()  # a user's went with the last lease
    with Ledger(place) as ledger:
        if take_dead(place, ledger):
            ledger.save()
        if ledger.by_owner:
            return ()
        networks = [one for one in definitions.all_of(place) if bridge.exists(one.interface)]
        for network in networks:
            bridge.take_away(place, network)
        if firewall.is_there(place):
            firewall.unload(place)
    return tuple(one.interface for one in networks)


def shut_down(place: Place) -> None:
    """Take away everything that networks have left on this machine: leases, bridges, rules. Definitions stay.
    Raises RuntimeFailure.
    """
    from cratebox.network import definitions

    with Ledger(place) as ledger:
        found = [leases.lease_of(one) for one in ledger.by_owner.values()]
        for one in found:
            plugging.delete(place, one.reservation.endpoints)
        give_up(place, ledger, found)
        ledger.save()
        for network in definitions.all_of(place):
            bridge.take_away(place, network)
        if not place.rootless:
            firewall.unload(place)


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


def obstacle(place: Place, network: Network) -> tuple[str, str] | None:
    """Return what keeps packets of the network from being forwarded, and what would allow them, as firewall.py says it."""
    return None if network.internal or place.rootless else firewall.obstacle(network.interface)


def _guard_again(place: Place, ledger: Ledger) -> None:
    """It is best effort: a start says what is in the way."""
    try:
        _guard(place, ledger)
    except (OSError, CrateError):
        pass


def _guard(place: Place, ledger: Ledger) -> bool:
    """Without the rules containers reach the machine's 127.0.0.1, and everybody them."""
    from cratebox.network import definitions

    if not ledger.by_owner or firewall.is_loaded(place) or not definitions.all_of(place):
        return False
    reload(place, ledger)
    return True


def _publish_again(place: Place, ledger: Ledger) -> None:
    """It is best effort, as for rules."""
    from cratebox.network import usermode

    for lease in map(leases.lease_of, ledger.by_owner.values()):
        if lease.reservation.ports and lease.pid and process.start_time(lease.pid) == lease.started:
            try:
                with Target(lease.pid, started=lease.started) as target:
                    usermode.heal(place, lease.reservation, target)
            except (OSError, CrateError):
                continue


def ready(place: Place, networks: list[Network], ledger: Ledger) -> None:
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


def take_dead(place: Place, ledger: Ledger, spare: str = "") -> bool:
    """Take away what is left of those who have died, save `spare`; return whether there were any.
    The caller saves the ledger.
    """
    found = ledger.dead(spare)
    if found:
        give_up(place, ledger, found)
    elif place.rootless:
        _end_unleased(place, ledger)
    return bool(found)


def give_up(place: Place, ledger: Ledger, found: list[Lease]) -> None:
    """Rules first: a lease is the only thing that tells of them. The interfaces go with their namespace."""
    for one in found:
        cut_off(place, one.reservation)
        ledger.drop(one.reservation.owner)
    _end_unleased(place, ledger)


def cut_off(place: Place, reservation: Reservation) -> None:
    """End all that is his and does not end with his namespace."""
    if not place.rootless:
        publishing.withdraw(place, reservation)
    elif reservation.outward():
        from cratebox.network import usermode

        usermode.end(place, reservation.owner)


def _end_unleased(place: Place, ledger: Ledger) -> None:
    """End ways outside of whom the leases do not know (their start was killed),
    and the user's namespace where nobody is in it.
    """
    if not place.rootless:
        return
    from cratebox.network import usermode, usernet

    for owner in usermode.owners(place):
        if owner not in ledger.by_owner:
            usermode.end(place, owner)
    if not ledger.by_owner:
        usernet.end(place)
