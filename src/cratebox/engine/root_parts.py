"""What the root of a container is mounted of: its image's layers below its own changes, or one copy of them all."""

from __future__ import annotations

import os

from cratebox.errors import OverlayRefused, StorageError
from cratebox.runtime.wish import Overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.idmaps import Identity
    from cratebox.engine.images import Images
    from cratebox.engine.records import Container
    from cratebox.image.progress import Progress
    from cratebox.paths import Paths


def overlay_of(identity: Identity, container: Container, where: str, layers: tuple[str, ...]) -> Overlay | None:
    """Return the overlay of `layers` (directories, lowest first) and the changes in `where`, the container's directory; None
    where its root is a directory already, where/copy.
    """
    if os.path.isdir(where + "/copy"):
        return None
    options: tuple[str, ...] = ("userxattr",) if identity.rootless else ("index=off",)
    if container.rootfs:
        return Overlay(lower=layers, options=options)
    return Overlay(lower=layers, upper=where + "/rw/upper", work=where + "/rw/work", options=options)


def needs_copy(paths: Paths, identity: Identity, container: Container) -> bool:
    """Tell whether the kernel has refused an overlay since the last boot, or the container's IDs are others than those of the
    layers on the disk, so that its root must be a copy.
    """
    if container.config.namespaces.user and not container.rootfs:
        from cratebox.engine import id_ranges

        if id_ranges.needs_copy(container.config, identity.rootless):
            return True
    return os.path.exists(paths.state + "/no-overlay") and not container.rootfs


def copy_layers(images: Images, where: str, layers: tuple[str, ...], container: Container) -> None:
    """Make where/copy of the layers, whole or not at all, unless it is there. Raises StorageError."""
    to = where + "/copy"
    if os.path.isdir(to):
        return
    from cratebox.engine.flatten import flatten
    from cratebox.engine.id_ranges import shifts

    moved = shifts(container.config)

    def work() -> bytes:
        try:
            flatten(layers, to, moved)
        except OSError as failed:
            return str(failed.strerror).encode()
        return b""

    failure = images.run_inside(work)
    if failure:
        raise StorageError(f"cannot copy the image to {to}: {failure.decode()}")


def remember_no_overlay(paths: Paths, error: OverlayRefused, progress: Progress | None = None) -> None:
    """Until the next boot containers are made from copies; say so once."""
    try:
        os.close(os.open(paths.state + "/no-overlay", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as failed:
        raise StorageError(f"cannot write to {paths.state}: {failed.strerror}") from None
    if progress is not None:
        progress.message(f"no overlayfs here, so each container gets a copy of its image ({error.message})")
