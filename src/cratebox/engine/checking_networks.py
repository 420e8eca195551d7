"""`crate system check`, of networks: their records, and the file of who has which addresses."""

from __future__ import annotations

import os
import stat
from functools import partial

from cratebox import record_file
from cratebox.engine import connections
from cratebox.errors import StorageError
from cratebox.image.verifying import Damage, mode_of
from cratebox.network import endpoints, upkeep
from cratebox.network.model import Network, Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cratebox.paths import Paths


def damages(paths: Paths, rootless: bool) -> Iterator[Damage]:
    """Yield what is damaged. Raises OSError for what cannot be read."""
    where = paths.root + "/networks"
    if not os.path.lexists(where):
        return
    if not stat.S_ISDIR(mode_of(where)):
        yield Damage("crate", f"{where} is not a directory", "move it away")
        return
    for name in sorted(os.listdir(where)):
        if name.endswith(".json") and name[0] != ".":
            yield from _network(where, name.removesuffix(".json"))
    place = connections.place_of(paths, rootless)
    try:
        endpoints.all_of(place)
    except StorageError as error:
        yield Damage("crate", error.message, "stop the containers that are on networks, delete the file, and start them again")
        return
    yield from _rules(place)


def _rules(place: Place) -> Iterator[Damage]:
    try:
        unguarded = upkeep.is_unguarded(place)
    except OSError as error:
        yield Damage("crate", f"cannot ask for the rules of nftables: {error.strerror}", "networks need nf_tables")
        return
    if unguarded:
        yield Damage(
            "crate",
            "the nftables rules of networks are gone: nothing published is reached, and containers are not kept apart",
            "crate system check --repair",
            partial(_loaded, place),
        )


def _loaded(place: Place) -> str:
    upkeep.guard(place)
    return "loaded the rules of networks"


def _network(where: str, name: str) -> Iterator[Damage]:
    path, again = f"{where}/{name}.json", "delete the file, then make the network again with crate network create"
    try:
        found = record_file.read(path, Network)
    except StorageError as error:
        yield Damage(f"network {name}", error.message, again)
        return
    if found and found.name != name:
        yield Damage(f"network {name}", f"damaged: {path} is that of another network", again)
