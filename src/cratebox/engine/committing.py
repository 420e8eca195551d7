"""`crate commit`: an image of what a container has become. Its changes are a new layer on those of its image.

What ends it before the last step, which gives the image its name, leaves blobs and layers that nothing refers to: `crate system
prune` deletes them.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

from cratebox.engine import archiving, healthcheck, instructions, pausing, records
from cratebox.engine.container_layers import ContainerRoot, in_memory
from cratebox.engine.records import Container
from cratebox.engine.specgen import command_of
from cratebox.errors import InvalidValue, NotFound, StorageError, Unsupported
from cratebox.image import child, new_layer
from cratebox.image import manifest as manifests
from cratebox.image import reference as references
from cratebox.paths import Paths
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from cratebox.engine.images import Images
    from cratebox.engine.layered import Layered
    from cratebox.image.store import StoredImage


class Wish(Record):
    """What the image is to be: its `name` (empty for none), who made it and why, and Dockerfile instructions on how it is run.

    `pause`: hold the container's processes meanwhile; None: where that can be done.
    `docker`: in the form of Docker's manifests.
    """

    name: str = ""
    author: str = ""
    message: str = ""
    changes: tuple[str, ...] = ()
    pause: bool | None = None
    docker: bool = False


def commit(paths: Paths, images: Images, container: Container, wish: Wish) -> StoredImage:
    """Make an image of a container's changes; what had its name before keeps none.

    Raises InvalidValue, Unsupported (a container of rootfs:, a freezer that is not there), NotFound, StorageError.
    """
    if container.rootfs:
        raise in_memory(container)
    name = str(references.nameable(wish.name)) if wish.name else ""
    run = instructions.apply(run_config(container), wish.changes)
    store = images.store
    with ExitStack() as held:
        held.enter_context(store.using())
        root = ContainerRoot(paths, images, container)
        base = store.find(container.image_id)
        manifest = store.manifest_of(base)
        raw_base = store.read_blob(base.id, manifests.MAX_DOCUMENT)

        def take(tree: Layered) -> bytes:
            return new_layer.encode(store.new_layer(archiving.layer(tree, root.changes(tree))))

        with _paused(paths, container, wish.pause):
            layer = new_layer.decode(root.inside(take))
        made = child.compose(manifest, raw_base, run, layer, _step(container, wish), docker=wish.docker)
        store.put(made.config, made.raw_config)
        store.put(made.manifest, made.raw_manifest)
        image = store.tag(name, made.manifest)
    store.settle_later()
    return image


def run_config(container: Container) -> dict[str, Any]:
    """Return "config" of an image document that runs an image as this container is: what its user asked for is the default."""
    config, defaults = container.config, container.defaults
    names = {entry.partition("=")[0] for entry in config.env}
    own_entrypoint = config.entrypoint is not None
    command = config.command if own_entrypoint else config.command or defaults.cmd
    found: dict[str, Any] = {
        "Env": [*(entry for entry in defaults.env if entry.partition("=")[0] not in names), *config.env],
        "Entrypoint": list((config.entrypoint if own_entrypoint else defaults.entrypoint) or ()) or None,
        "Cmd": list(command) or None,
        "Labels": {**defaults.labels, **config.labels},
    }
    volumes = (*defaults.volumes, *(one.target for one in config.mounts if one.anonymous))
    if volumes:
        found["Volumes"] = {path: {} for path in dict.fromkeys(volumes)}
    if config.health is not None:
        found["Healthcheck"] = healthcheck.document(container)
    own = {"User": config.user, "WorkingDir": config.working_dir, "StopSignal": config.stop_signal}
    return found | {key: value for key, value in own.items() if value is not None}


def _step(container: Container, wish: Wish) -> child.Step:
    try:
        command = " ".join(command_of(container.config, container.defaults))
    except InvalidValue:
        command = ""
    return child.Step(manifests.now(), command, wish.author, wish.message)


@contextmanager
def _paused(paths: Paths, container: Container, wanted: bool | None) -> Iterator[None]:
    """Hold the container's processes, so that the files are those of one moment; what cannot be held goes on."""
    paused = False
    if wanted is not False and records.status(paths, container).status == "running":
        try:
            pausing.pause(paths, container)
            paused = True
        except (Unsupported, StorageError, OSError):
            if wanted:
                raise
    try:
        yield
    finally:
        if paused:
            try:
                pausing.unpause(paths, container)
            except NotFound:
                pass  # removed meanwhile, which is said elsewhere
