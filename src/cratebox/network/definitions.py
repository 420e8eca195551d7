"""Networks on the disk: ROOT/networks/NAME.json, written once, under the lock of ROOT/networks/.lock.

Whoever makes a network on a machine also has the lock of the machine's network namespace until its bridge is there: a subnet is
free where no route of the machine leads to it, and two crates with roots of their own must not find the same one.
"""

from __future__ import annotations

import os
import time

from cratebox import record_file
from cratebox.errors import Conflict, InvalidValue, NotFound, StorageError
from cratebox.linux import lock as locks
from cratebox.network.model import BRIDGE, Network, Place
from cratebox.paths import private_directory

NO_NETWORKS = frozenset(("host", "none", "default", "container"))  # words that --network understands otherwise
_HINT = "delete the file, then make the network again with crate network create"


def create(place: Place, network: Network) -> Network:
    """Make a network: `id`, `interface`, `created`, and subnets and gateways where they are not given, are filled in.

    Raises InvalidValue, Conflict, Unsupported, StorageError.
    """
    check_name(network.name)
    if network.name == BRIDGE:
        raise Conflict("there is a network bridge: it is the default one")
    if network.interface:
        _check_interface(network.interface)
    return _made(place, network)


def check_name(name: str) -> None:
    """Raise InvalidValue where a network cannot have that name."""
    plain = name.isascii() and name.replace("_", "").replace(".", "").replace("-", "").isalnum() and name[0].isalnum()
    if not plain or len(name) > 128:
        raise InvalidValue(f"network name {name!r}: it has letters, digits, and _ . - behind the first", "at most 128")
    if name in NO_NETWORKS:
        raise InvalidValue(f"a network cannot be called {name}: --network {name} means something else")


def _check_interface(name: str) -> None:
    """Also because the rules are text, in which it stands."""
    plain = name.isascii() and name.replace("_", "").replace(".", "").replace("-", "").isalnum()
    if not plain or len(name) > 15:
        raise InvalidValue(f"interface name {name!r}: it has letters, digits, and _ . - , at most 15")


def load(place: Place, reference: str) -> Network:
    """Return the network of that name, ID or unique beginning of one. Raises NotFound, Conflict, StorageError."""
    if reference == BRIDGE:
        return default(place)
    if reference and "/" not in reference and "\0" not in reference and reference[0] != "." and len(reference) <= 128:
        found = _read(place, reference)
        if found:
            return found
        matching = [one for one in all_of(place) if one.id.startswith(reference.lower())]
        if len(matching) == 1:
            return matching[0]
        if matching:
            raise Conflict(f"network {reference}: {len(matching)} networks have an ID that begins with it", "write more of it")
    raise NotFound(
        f"no network {reference}", f"crate network create {reference} makes it; crate network ls lists what is there"
    )


def all_of(place: Place) -> list[Network]:
    """Return all networks, the default one first where it was made, then by name. Raises StorageError."""
    try:
        names = os.listdir(place.root + "/networks")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"cannot read {place.root}/networks: {error.strerror}") from None
    found = [_read(place, name[:-5]) for name in sorted(names) if name.endswith(".json")]
    return sorted((one for one in found if one), key=lambda one: one.name != BRIDGE)


def remove(place: Place, network: Network) -> None:
    """Delete a network and its bridge. Raises Conflict where somebody is on it, and for the default one."""
    from cratebox.network import bridge, endpoints, upkeep
    from cratebox.network.leases import Ledger

    if network.name == BRIDGE:
        raise Conflict("network bridge is the default one: it stays")
    upkeep.sweep(place)
    with Ledger(place) as ledger:
        busy = endpoints.on_network(place, network.id)
        if busy:
            who = ", ".join(sorted(label for label, _owner, _endpoint in busy))
            raise Conflict(f"network {network.name} is in use by {who}", f"crate network disconnect {network.name} NAME")
        try:
            os.unlink(_path(place, network.name))
        except FileNotFoundError:
            raise NotFound(f"no network {network.name}: it was removed") from None
        bridge.take_away(place, network)
        upkeep.reload(place, ledger)


def default(place: Place) -> Network:
    """Return the network `bridge`, made where it is missing. Raises Unsupported where this machine has none."""
    return _read(place, BRIDGE) or _made(place, Network("", BRIDGE, "", (), names=False))


def _made(place: Place, network: Network) -> Network:
    from cratebox.network import bridge, pools, upkeep

    where = private_directory(private_directory(place.root) + "/networks")
    lock = locks.hold(where + "/.lock")
    try:
        there = _read(place, network.name)
        if there and network.name == BRIDGE:  # another command was first
            return there
        if there:
            raise Conflict(f"there is a network {network.name}", f"crate network rm {network.name}")
        with bridge.MachineLock(place):
            identity = network.id or os.urandom(32).hex()
            interface = network.interface or bridge.name_for(place, network.name, identity)
            network = network.replace(id=identity, interface=interface, created=time.time())
            if interface == bridge.DEFAULT_INTERFACE and network.name == BRIDGE:  # what an earlier crate has left
                bridge.take_away(place, network)
            network = network.replace(subnets=pools.choose(place, network))
            record_file.write(_path(place, network.name), network, durable=True)
            try:
                if not place.rootless:
                    bridge.bring_up(place, network)
            except BaseException:
                os.unlink(_path(place, network.name))
                raise
        try:
            upkeep.reload(place)
        except BaseException:
            os.unlink(_path(place, network.name))
            bridge.take_away(place, network)
            raise
        return network  # noqa: TRY300
    except OSError as error:
        raise StorageError(f"cannot write {where}: {error.strerror}") from None
    finally:
        locks.release(lock)


def _path(place: Place, name: str) -> str:
    return f"{place.root}/networks/{name}.json"


def _read(place: Place, name: str) -> Network | None:
    return record_file.read(_path(place, name), Network, _HINT)
