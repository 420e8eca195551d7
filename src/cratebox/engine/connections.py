"""What a container has of networks: reserved before it starts, attached while it sets itself up, given back when it has ended.

How that is done is the business of network/endpoints.py, to which a container is an owner (its ID), a label (its name) and a
file whose lock is held for as long as somebody makes or runs it.
"""

from __future__ import annotations

import os

from cratebox import record_file
from cratebox.engine import events, network_settings, records
from cratebox.engine.config import NETWORKS, ContainerConfig, NetworkWish
from cratebox.engine.network_words import wanted
from cratebox.errors import Conflict, CrateError, InvalidValue, StorageError
from cratebox.network import definitions, endpoints, upkeep
from cratebox.network.model import BRIDGE, Former, Network, Place, Port, Reservation, Wish
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.records import Container
    from cratebox.image.progress import Progress
    from cratebox.paths import Paths

_LAST = "network.json"


class Last(Record):
    """What a container had of networks in its last run, and on those that it has left: ROOT/containers/ID/network.json."""

    former: tuple[Former, ...] = ()
    ports: tuple[Port, ...] = ()


def place_of(paths: Paths, rootless: bool) -> Place:
    """Return where the networks of this crate are."""
    return Place(paths.root, paths.state, rootless)


def lock_of(paths: Paths, identity: str) -> str:
    """Return the file whose lock is held for as long as somebody makes or runs the container."""
    return records.directory(paths, identity) + "/lock"


def network_of(place: Place, name: str) -> Network:
    """Return a network that a container is to be on; the default one is made where it is missing.
    Raises NotFound, Unsupported.
    """
    return definitions.default(place) if name == BRIDGE else definitions.load(place, name)


def wish_of(network: Network, one: NetworkWish, container: Container, interface: str) -> Wish:
    """Return what the container wishes of one network. Names are for networks that have any:
    its own, its short ID, its host name.
    """
    names: tuple[str, ...] = ()
    if network.names:
        hostname = (container.config.hostname,) if container.config.hostname else ()
        names = tuple(dict.fromkeys((*one.aliases, container.id[:12], *hostname)))
    return Wish(network, interface, names, one.ip, one.ip6, one.mac)


def named(paths: Paths, rootless: bool, config: ContainerConfig) -> ContainerConfig:
    """Return the config with all networks that it is made for, each by its name. Raises NotFound, Conflict."""
    place = place_of(paths, rootless)
    given = config.networks or (NetworkWish(config.network),)
    for one in given:
        check_interface(one, rootless)
    networks = tuple(one.replace(name=_name(place, one.name or config.network)) for one in given)
    return config.replace(network=networks[0].name, networks=networks)


def check_interface(wish: NetworkWish, rootless: bool) -> None:
    """Raise InvalidValue where the name of an interface is that of the way outside."""
    if not (rootless and wish.interface):
        return
    from cratebox.network import usermode

    if wish.interface == usermode.INTERFACE:
        raise InvalidValue(
            f"an interface cannot be called {wish.interface} without root: the way outside is called so", "choose another name"
        )


def _name(place: Place, reference: str) -> str:
    """The default network is made when it is needed first; of words that mean something else the check tells."""
    known = reference in NETWORKS or ":" in reference
    return reference if known else definitions.load(place, reference).name


def interfaces(config: ContainerConfig) -> tuple[str, ...]:
    """Return the name of the interface for each network, in the order of `config.networks`."""
    taken = {one.interface for one in config.networks}
    free = iter([name for number in range(2 * len(config.networks)) if (name := f"eth{number}") not in taken])
    return tuple(one.interface or next(free) for one in config.networks)


def reserve(paths: Paths, rootless: bool, container: Container) -> tuple[Reservation, tuple[int, ...]]:
    """Take addresses and ports of this machine for a start; return them,
    with descriptors that keep other processes from the ports.

    What it had in its last run it gets again where nobody else has that by now.
    Raises NotFound, Conflict, InvalidValue, Unsupported, StorageError.
    """
    place, config = place_of(paths, rootless), container.config
    named = zip(config.networks, interfaces(config), strict=True)
    wishes = [(one.priority, wish_of(network_of(place, one.name), one, container, interface)) for one, interface in named]
    wishes.sort(key=lambda one: -one[0])  # the first is the way outside; of equal ones the one that was named first
    if not wishes:
        return Reservation(container.id, container.name), ()
    ports = wanted(config, container.defaults.exposed)
    before = _last(paths, container.id)

    def take(ports: tuple[Port, ...]) -> tuple[Reservation, tuple[int, ...]]:
        held: list[int] = []
        made = endpoints.reserve(
            place,
            container.id,
            container.name,
            tuple(wish for _, wish in wishes),
            ports,
            lock=lock_of(paths, container.id),
            upstreams=config.dns,
            keeps_clients=bool(ports) and network_settings.keeps_clients(paths),
            former=before.former,
            hold=held,
        )
        return made, tuple(held)

    again = tuple(_port_again(one, before) for one in ports)
    if again != ports:
        try:
            return take(again)
        except Conflict:
            pass  # somebody else has it by now
    return take(ports)


def _last(paths: Paths, identity: str) -> Last:
    """Return what the container had of networks in its last run. A file that is damaged tells of nothing."""
    path = f"{records.directory(paths, identity)}/{_LAST}"
    try:
        return (record_file.read(path, Last) if os.path.exists(path) else None) or Last()
    except StorageError:
        return Last()


def _remember(paths: Paths, before: Reservation) -> None:
    """Write down what the container had, whose run is over; where that cannot be, it gets something else the next time."""
    last = Last(before.left(before.endpoints), before.ports)
    try:
        record_file.write(f"{records.directory(paths, before.owner)}/{_LAST}", last)
    except OSError:
        pass


def _port_again(port: Port, before: Last) -> Port:
    """Return the port at the place that he had, where that is one of those which are wished."""
    same = [one for one in before.ports if (one.container, one.protocol) == (port.container, port.protocol)]
    had = [one for one in same if not port.host_ip or one.host_ip == port.host_ip]  # which is narrower where there is no IPv6
    if len(had) != 1 or (port.host and not port.host <= had[0].host <= max(port.host, port.host_last)):
        return port
    return port.replace(host=had[0].host, host_last=0)


def tell_obstacles(paths: Paths, rootless: bool, progress: Progress, reservation: Reservation) -> None:
    """Say once a boot what on this machine keeps packets of a network from being forwarded:
    no rule of crate's overrides another's.
    """
    for one in () if rootless else reservation.endpoints:
        if not one.gateway or os.path.exists(f"{paths.state}/said/looked-{one.network[:12]}"):
            continue
        from cratebox.engine import notices

        place = place_of(paths, rootless)
        found = upkeep.obstacle(place, definitions.load(place, one.name))
        if found and found[0]:
            notices.once(
                paths, progress, f"forward-{one.network[:12]}", f"network {one.name}: {found[0]}; to mend it: {found[1]}"
            )
        notices.remember(paths, f"looked-{one.network[:12]}")


def attach(paths: Paths, rootless: bool, reservation: Reservation, pid: int, namespaces: tuple[int, int] | None = None) -> None:
    """Put the container's process, which waits at the gate, on its networks. `namespaces`: descriptors of its user and its
    network namespace, where they cannot be opened by its number. Raises RuntimeFailure.
    """
    if reservation.endpoints:
        endpoints.attach(place_of(paths, rootless), reservation, pid, namespaces=namespaces)
        for one in reservation.endpoints:
            tell(paths, "connect", one.network, one.name, reservation.owner)


def release(paths: Paths, rootless: bool, identity: str, remember: bool = True) -> None:
    """Give back all that the container has, and `remember` it for its next start. It raises nothing: what stays is taken away
    by the next command on that network.
    """
    place = place_of(paths, rootless)
    try:
        before = endpoints.of_owner(place, identity)
        if before is None:
            return
        endpoints.release(place, identity)
        if remember and before.endpoints:
            _remember(paths, before)
        for one in before.endpoints:
            tell(paths, "disconnect", one.network, one.name, identity)
    except (CrateError, OSError):
        pass


def rename(paths: Paths, container: Container) -> None:
    """Have the container be found by its new name. It raises nothing: the next start has it right."""
    try:
        endpoints.rename(place_of(paths, os.geteuid() != 0), container.id, container.name)
    except (CrateError, OSError):
        pass


def known(paths: Paths, rootless: bool, container: Container) -> Reservation:
    """Return what a container has that runs already; nothing of it needs to be attached."""
    try:
        found = endpoints.of_owner(place_of(paths, rootless), container.id)
    except (CrateError, OSError):
        found = None
    return found or Reservation(container.id, container.name)


def tell(paths: Paths, action: str, identity: str, name: str, container: str = "") -> None:
    """Write down an event of a network, as Docker has it."""
    about = {"name": name, "type": BRIDGE, **({"container": container} if container else {})}
    events.emit(paths, "network", action, identity, about)
