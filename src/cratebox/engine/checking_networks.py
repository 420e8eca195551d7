"""`crate system check`, of networks: their records, and the file of who has which addresses."""

from __future__ import annotations

import os
import stat

from cratebox import record_file
from cratebox.engine import connections
from cratebox.errors import StorageError
from cratebox.image.verifying import Damage, mode_of
from cratebox.network import endpoints
from cratebox.network.model import Network

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
    try:
        endpoints.all_of(connections.place_of(paths, rootless))
    except StorageError as error:
        yield Damage("crate", error.message, "stop the containers that are on networks, delete the file, and start them again")


def _network(where: str, name: str) -> Iterator[Damage]:
    path, again = f"{where}/{name}.json", "delete the file, then make the network again with crate network create"
    try:
        found = record_file.read(path, Network)
    except StorageError as error:
        yield Damage(f"network {name}", error.message, again)
        return
    if found and found.name != name:
        yield Damage(f"network {name}", f"damaged: {path} is that of another network", again)
