"""The containers there are, and what is true of each: what `ps` shows.

With hundreds of containers the time goes into their small files: of one that never ran its container.json is read and three
others are looked for, of one that runs the kernel is asked besides. Nothing is kept to make it faster, so nothing can be stale.
"""

from __future__ import annotations

from cratebox.engine import records
from cratebox.engine.records import ContainerStatus
from cratebox.errors import CrateError, NotFound, StorageError
from cratebox.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cratebox.engine.images import Images
    from cratebox.network.model import Port


def statuses(paths: Paths) -> list[ContainerStatus]:
    """Return all containers, the newest first. One whose record is damaged is "dead". Raises StorageError."""
    found = [status for identity in records.identities(paths) if (status := _status(paths, identity)) is not None]
    return sorted(found, key=lambda one: one.created, reverse=True)


def _status(paths: Paths, identity: str) -> ContainerStatus | None:
    try:
        return records.status(paths, records.cared_for(paths, records.load(paths, identity)))
    except NotFound:
        return None  # removed meanwhile
    except StorageError as error:
        from cratebox.engine.name_links import name_of

        return ContainerStatus(
            id=identity,
            name=name_of(paths, identity),
            image="",
            image_id="",
            command=(),
            created=0.0,
            status="dead",
            error=error.message,
        )


def select(
    paths: Paths,
    images: Images,
    all: bool = False,  # noqa: A002  Docker's word
    filters: Sequence[str] = (),
    last: int = 0,
) -> list[ContainerStatus]:
    """Return the containers that run, or `all`; of those, what the `filters` ("KEY=VALUE") let through; of those, the `last`
    newest (0: every one). As with Docker a filter for the status, and a number, mean containers in whatever state.

    Raises InvalidValue and Unsupported for filters, NotFound and Conflict for the container of `before` and `since`.
    """
    found = statuses(paths)
    asked = None
    if filters:
        from cratebox.engine import selection
        from cratebox.engine.filters import parse

        asked = parse(filters, selection.KEYS, selection.LATER)
        by_id = {one.id: one for one in found}
        found = selection.select(
            found,
            asked,
            lambda name: by_id[records.find(paths, name)],
            lambda name: images.get(name).id,
            lambda name: _network_name(paths, images.identity.rootless, name),
        )
    if not (all or last or (asked and asked.all("status"))):
        found = [one for one in found if one.alive]
    return found[:last] if last else found


def _network_name(paths: Paths, rootless: bool, reference: str) -> str:
    from cratebox.engine import connections
    from cratebox.network import definitions

    return definitions.load(connections.place_of(paths, rootless), reference).name


def published(paths: Paths, rootless: bool, found: Sequence[ContainerStatus]) -> dict[str, tuple[Port, ...]]:
    """Return the ports of this machine that lead to each container which runs, by ID;
    nothing is read where none can have any.
    """
    if not any(one.networks and one.alive for one in found):
        return {}
    from cratebox.engine import connections
    from cratebox.network import endpoints

    running = {one.id for one in found if one.alive}
    try:
        known = endpoints.all_of(connections.place_of(paths, rootless))
    except CrateError:
        return {}
    return {one.owner: one.ports for one in known if one.owner in running}
