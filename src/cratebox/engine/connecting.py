"""`network connect` and `disconnect`: the networks of a container that is there, running or not, come and go.

    under edit.lock:  container.json        says that it is on the network, or not any more
    where it runs:    the lease, interface  see network/endpoints.py
                      hosts, resolv.conf    of the container

What cannot be done is undone in the record. One that is just being started waits for it: it may have read its record already.
"""

from __future__ import annotations

from cratebox.engine import connections, control, hostfiles, preparation, records, stopping
from cratebox.engine.config import NetworkWish, is_on_networks
from cratebox.engine.edit import edit
from cratebox.engine.network_words import check
from cratebox.errors import Conflict, CrateError, NotFound
from cratebox.network import endpoints
from cratebox.network.inside import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.engine.records import Container
    from cratebox.network.model import Network, Reservation
    from cratebox.paths import Paths


def connect(paths: Paths, rootless: bool, network: Network, reference: str, wish: NetworkWish | None) -> None:
    """Put the container on the network. Raises Conflict, InvalidValue, NotFound, RuntimeFailure."""
    wanted = (wish or NetworkWish(network.name)).replace(name=network.name)
    connections.check_interface(wanted, rootless)
    before = records.load(paths, records.find(paths, reference))

    def change(now: Container) -> Container:
        _check_mode(now)
        if any(one.name == network.name for one in now.config.networks):
            raise Conflict(f"{now.name} is on the network {network.name} already")
        config = now.config.replace(networks=(*now.config.networks, wanted))
        check(config)
        return now.replace(config=config)

    after = edit(paths, before.id, change)
    place = connections.place_of(paths, rootless)
    names = dict(zip((one.name for one in after.config.networks), connections.interfaces(after.config), strict=True))
    asked = connections.wish_of(network, wanted, after, names[network.name])

    def join(target: Target) -> None:
        if not _is_on(endpoints.of_owner(place, after.id), network):  # or it has read its new record
            endpoints.join(
                place,
                after.id,
                after.name,
                asked,
                target,
                lock=connections.lock_of(paths, after.id),
                upstreams=after.config.dns,
            )

    try:
        told = _done_to(paths, rootless, after, join)
    except BaseException:
        edit(paths, after.id, lambda now: _without(now, network))
        raise
    if told:
        connections.tell(paths, "connect", network.id, network.name, after.id)


def disconnect(paths: Paths, rootless: bool, network: Network, reference: str, force: bool) -> None:
    """Take the container off the network. Raises Conflict, NotFound, RuntimeFailure."""
    place = connections.place_of(paths, rootless)
    try:
        before = records.load(paths, records.find(paths, reference))
    except (NotFound, Conflict):
        if not force:
            raise
        for label, owner, _end in endpoints.on_network(place, network.id):
            if label == reference or owner.startswith(reference):
                endpoints.leave(place, owner, network.id, None)
                connections.tell(paths, "disconnect", network.id, network.name, owner)
                return
        raise

    def change(now: Container) -> Container:
        _check_mode(now)
        if not any(one.name == network.name for one in now.config.networks):
            raise Conflict(f"{now.name} is not on the network {network.name}", f"crate network inspect {network.name}")
        return _without(now, network)

    after = edit(paths, before.id, change)

    def leave(target: Target) -> None:
        if _is_on(endpoints.of_owner(place, after.id), network):
            endpoints.leave(place, after.id, network.id, target)

    try:
        told = _done_to(paths, rootless, after, leave)
    except BaseException:
        edit(paths, after.id, lambda now: now.replace(config=now.config.replace(networks=_again(now, before, network))))
        raise
    if told:
        connections.tell(paths, "disconnect", network.id, network.name, after.id)


def _without(now: Container, network: Network) -> Container:
    networks = tuple(one for one in now.config.networks if one.name != network.name)
    return now.replace(config=now.config.replace(networks=networks))


def _again(now: Container, before: Container, network: Network) -> tuple[NetworkWish, ...]:
    """Return the networks of `now` with the one that could not be left, in the order of `before`;
    what others have changed stays.
    """
    left = {one.name: one for one in now.config.networks}
    old = [one for one in before.config.networks if one.name == network.name or one.name in left]
    return (*(left.pop(one.name, one) for one in old), *left.values())


def _check_mode(container: Container) -> None:
    if not is_on_networks(container.config):
        raise Conflict(
            f"{container.name} was made with --network {container.config.network}: it cannot be on other networks",
            "make a new container with the network that it is to be on",
        )


def _is_on(now: Reservation | None, network: Network) -> bool:
    return now is not None and any(one.network == network.id for one in now.endpoints)


def _done_to(paths: Paths, rootless: bool, container: Container, act: Callable[[Target], None]) -> bool:
    """Call `act` with the first process of the container, and bring its files of names up to date; return whether it runs."""
    found = stopping.process_of(paths, container)
    if found is None:
        return False
    try:
        before = connections.known(paths, rootless, container)
        try:
            with Target(found.state.pid, found.pidfd) as target:
                act(target)
        except CrateError:
            if stopping.ended(found.pidfd, 0):
                return False  # meanwhile: its networks are gone with it
            raise
        _rewrite(paths, rootless, container, before, connections.known(paths, rootless, container))
        if rootless:
            control.tell_changed(f"{paths.running}/{container.id}")  # it looks after other processes now
    finally:
        found.close()
    return True


def _rewrite(paths: Paths, rootless: bool, container: Container, before: Reservation, after: Reservation) -> None:
    """Tell the container of its new addresses. What cannot be written does not undo what was done."""
    hostname = container.config.hostname or container.id[:12]
    try:
        old, new = (preparation.names_of(container.config, hostname, rootless, one) for one in (before, after))
        hostfiles.change(records.directory(paths, container.id), old, new)
    except (OSError, CrateError):
        pass
