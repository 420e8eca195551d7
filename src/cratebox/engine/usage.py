"""`crate system df`: what takes the disk's space, and what of it nobody needs."""

from __future__ import annotations

from cratebox.engine import records, sizes
from cratebox.engine.records import ContainerStatus
from cratebox.engine.volumes import Volume, Volumes
from cratebox.errors import NotFound, StorageError
from cratebox.paths import Paths
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cratebox.engine.images import Images
    from cratebox.image.store import StoredImage

_ALIVE = ("running", "paused", "restarting")


class ImageUsage(Record):
    """An image; bytes of its layers, unpacked: those that other images have as well, and those that it has alone."""

    image: StoredImage
    shared: int
    unique: int
    containers: int


class ContainerUsage(Record):
    """A container, and what it has written."""

    status: ContainerStatus
    size: sizes.ContainerSize


class VolumeUsage(Record):
    """A volume, how many containers have it, and the bytes of its files."""

    volume: Volume
    links: int
    size: int


class Row(Record):
    """A line of the table; sizes in bytes."""

    kind: str
    total: int
    active: int
    size: int
    reclaimable: int


class Usage(Record):
    """All of it. The row "Image Blobs" is what was pulled, as it came: compressed layers beside the unpacked ones. The last
    row, "On Disk", is the sum of the others, and its size that of the whole directory as du(1) counts.
    """

    images: tuple[ImageUsage, ...]
    containers: tuple[ContainerUsage, ...]
    volumes: tuple[VolumeUsage, ...]
    rows: tuple[Row, ...]


def measure(paths: Paths, images: Images) -> Usage:
    """Return what everything needs. Raises StorageError where the store's index is damaged."""
    containers = _containers(paths, images)
    stored = images.list()
    users = [one.status.image_id for one in containers]
    layers = {diff_id: images.store.layer_size(diff_id) for image in stored for diff_id in image.layers}
    each = tuple(_image(image, stored, layers, users.count(image.id)) for image in stored)
    kept = {diff_id for image in stored if image.id in users for diff_id in image.layers}
    free = sum(size for diff_id, size in layers.items() if diff_id not in kept)
    blobs = images.store.blob_usage(images.used())
    volumes = _volumes(paths, images)
    rows = (
        Row("Images", len(each), sum(one.containers > 0 for one in each), sum(layers.values()), free),
        _row("Containers", containers, lambda one: one.size.written),
        Row(
            "Local Volumes",
            len(volumes),
            sum(one.links > 0 for one in volumes),
            sum(one.size for one in volumes),
            sum(one.size for one in volumes if not one.links),
        ),
        Row("Build Cache", 0, 0, 0, 0),
        _row("Container Logs", containers, lambda one: one.size.log),
        Row("Image Blobs", *blobs),
    )
    return Usage(each, containers, volumes, (*rows, _all(rows, sizes.on_disk(images.identity, paths.root))))


def _all(rows: Sequence[Row], on_disk: int) -> Row:
    """Blobs and logs belong to images and containers, which count once."""
    things = [row for row in rows if row.kind in ("Images", "Containers", "Local Volumes")]
    free = min(on_disk, sum(row.reclaimable for row in rows))
    return Row("On Disk", sum(row.total for row in things), sum(row.active for row in things), on_disk, free)


def _image(image: StoredImage, stored: Sequence[StoredImage], layers: dict[str, int], containers: int) -> ImageUsage:
    elsewhere = {diff_id for other in stored if other.id != image.id for diff_id in other.layers}
    own = dict.fromkeys(image.layers)
    shared = sum(layers[diff_id] for diff_id in own if diff_id in elsewhere)
    return ImageUsage(image, shared, sum(layers[diff_id] for diff_id in own) - shared, containers)


def _volumes(paths: Paths, images: Images) -> tuple[VolumeUsage, ...]:
    store = Volumes(paths, images.identity)
    found, users = store.list(), store.users()
    return tuple(
        VolumeUsage(one, len(users.get(one.name, ())), size) for one, size in zip(found, store.sizes(found), strict=True)
    )


def _containers(paths: Paths, images: Images) -> tuple[ContainerUsage, ...]:
    """What is known of each container; one whose record is damaged has no size, `crate ps -a` tells of it."""
    found, statuses = [], []
    for identity in records.identities(paths):
        try:
            container = records.load(paths, identity)
            statuses.append(records.status(paths, container))
            found.append(container)
        except (NotFound, StorageError):
            continue
    of = sizes.of_containers(paths, images, found)
    return tuple(ContainerUsage(status, of[status.id]) for status in statuses)


def _row(kind: str, containers: tuple[ContainerUsage, ...], size: Callable[[ContainerUsage], int]) -> Row:
    """What a container has goes when it is removed, which one that does not run can be."""
    alive = [one for one in containers if one.status.status in _ALIVE]
    total = sum(map(size, containers))
    return Row(kind, len(containers), len(alive), total, total - sum(map(size, alive)))
