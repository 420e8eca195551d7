"""`crate system prune`, `container prune`, `image prune`, `volume prune`: removing what nobody needs.

Nothing that a living command uses is removed: a container whose lock somebody has, an image that a container is made of,
anything of the store while a pull, a commit or the making of a container holds it.
"""

from __future__ import annotations

from cratebox.engine import ending, events, image_mounts, leftovers, records, sizes
from cratebox.engine.records import ContainerStatus
from cratebox.errors import Conflict, NotFound, StorageError
from cratebox.paths import Paths
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cratebox.engine.images import Images
    from cratebox.engine.volumes import Volumes
    from cratebox.image.store import StoredImage


class Filters(Record):
    """What of it all is meant. `until`: made before that time, seconds since 1970. `labels`: each is there, with its value
    where one is given; `without`: none of these is.
    """

    until: float | None = None
    labels: tuple[tuple[str, str | None], ...] = ()
    without: tuple[tuple[str, str | None], ...] = ()

    def take(self, created: float, labels: Mapping[str, str]) -> bool:
        """Tell whether something made then and with these labels is meant."""
        if self.until is not None and created >= self.until:
            return False
        return all(_has(labels, one) for one in self.labels) and not any(_has(labels, one) for one in self.without)


def _has(labels: Mapping[str, str], wanted: tuple[str, str | None]) -> bool:
    key, value = wanted
    return key in labels and value in (None, labels[key])


class Pruned(Record):
    """What was removed: IDs of containers; Docker's lines about images; what killed commands had left;
    bytes of all but the last.

    `deferred`: somebody used the store, so it was left alone. `failed`: why something stayed.
    """

    containers: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    freed: int = 0
    deferred: bool = False
    failed: tuple[str, ...] = ()


def containers(paths: Paths, images: Images, filters: Filters) -> Pruned:
    """Remove the containers that neither run nor will by themselves. Raises StorageError where they cannot be listed."""
    failed: list[str] = []
    found = [one for one in (_ended(paths, identity, failed) for identity in records.identities(paths)) if one is not None]
    found = [(container, status) for container, status in found if filters.take(status.created, status.labels)]
    size = sizes.of_containers(paths, images, [container for container, _ in found])
    gone, freed = [], 0
    for container, _ in sorted(found, key=lambda one: one[1].created):
        try:
            ending.remove(paths, images, container.id, force=False)
        except (Conflict, NotFound):
            continue  # it was started meanwhile, or somebody else was faster
        except StorageError as error:
            failed.append(error.message)
            continue
        gone.append(container.id)
        freed += size[container.id].written + size[container.id].log
    events.emit(paths, "container", "prune", "", {"reclaimed": str(freed)})
    return Pruned(containers=tuple(gone), freed=freed, failed=tuple(failed))


def _ended(paths: Paths, identity: str, failed: list[str]) -> tuple[records.Container, ContainerStatus] | None:
    """Return a container that has ended or was never started. One that is damaged stays, and is told."""
    try:
        container = records.load(paths, identity)
        status = records.status(paths, container)
    except NotFound:
        return None
    except StorageError as error:
        failed.append(error.message)
        return None
    return None if status.alive else (container, status)


def images(paths: Paths, images: Images, filters: Filters, every: bool) -> Pruned:
    """Remove the images without a name, or with `every` all that no container is made of; and what the store does not need.

    Raises StorageError where the store is damaged.
    """
    _check_known(paths)

    def chosen(image: StoredImage) -> bool:
        return (every or not image.names) and filters.take(image.made, image.config.labels)

    from cratebox.image import reference as references

    removed = images.store.prune(chosen, images.used)
    lines = (
        *(f"untagged: {references.familiar(name)}" for name in removed.untagged),
        *(f"deleted: {digest}" for digest in removed.deleted),
    )
    events.emit(paths, "image", "prune", "", {"reclaimed": str(removed.freed)})
    return Pruned(images=lines, freed=removed.freed, deferred=removed.deferred)


def volumes(store: Volumes, filters: Filters, every: bool) -> Pruned:
    """Remove the volumes that no container has and that nobody has named, or `every` one. Raises StorageError."""
    users = store.users(strict=True)
    found = [one for one in store.list() if one.name not in users and (every or one.anonymous)]
    found = [one for one in found if filters.take(one.created, one.labels)]
    gone, freed, failed = [], 0, []
    for one, size in zip(found, store.sizes(found), strict=True):
        try:
            if store.remove(one.name, force=True):
                gone.append(one.name)
                freed += size
        except Conflict:
            continue  # a container was made with it meanwhile
        except StorageError as error:
            failed.append(error.message)
    events.emit(store.paths, "volume", "prune", "", {"reclaimed": str(freed)})
    return Pruned(volumes=tuple(gone), freed=freed, failed=tuple(failed))


def _check_known(paths: Paths) -> None:
    """What a container is made of stands in its record. Raises StorageError where that is damaged and the container lives."""
    for identity in records.identities(paths):
        try:
            records.load(paths, identity)
        except NotFound:
            pass  # removed meanwhile
        except StorageError:
            if records.is_locked(records.directory(paths, identity)):
                raise StorageError(
                    f"the record of container {identity[:12]}, which runs, is damaged: nobody knows which image it needs",
                    f"crate rm -f {identity[:12]}",
                ) from None


def everything(paths: Paths, store: Images, filters: Filters, every: bool, with_volumes: bool = False) -> Pruned:
    """Remove containers, then volumes without a name where these are meant as well, then images, then what killed commands have
    left. A damaged store keeps its images. Raises StorageError.
    """
    first = containers(paths, store, filters)
    third = Pruned()
    if with_volumes:
        from cratebox.engine.volumes import Volumes

        try:
            third = volumes(Volumes(paths, store.identity), filters, every=False)
        except StorageError as error:
            third = Pruned(failed=(error.message,))
    mounts = image_mounts.clear(paths)
    try:
        second = images(paths, store, filters, every)
    except StorageError as error:
        second = Pruned(failed=(error.message,))
    return Pruned(
        containers=first.containers,
        images=second.images,
        leftovers=(*mounts, *leftovers.clear(paths, store)),
        volumes=third.volumes,
        freed=first.freed + second.freed + third.freed,
        deferred=second.deferred,
        failed=(*first.failed, *second.failed, *third.failed),
    )
