"""Where the root of a container lies on the disk, and the way to read it: for diff, export and commit."""

from __future__ import annotations

import os

from cratebox.engine import records
from cratebox.engine.changes import Change, find, pack, unpack
from cratebox.engine.layered import Entry, Layered
from cratebox.engine.records import Container
from cratebox.errors import NotFound, StorageError, Unsupported
from cratebox.image import across
from cratebox.paths import Paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.engine.images import Images


class ContainerRoot:
    """The root of one container, to be read by `inside`. Its `directories` are its own, then those of its image's layers."""

    def __init__(self, paths: Paths, images: Images, container: Container) -> None:
        self._paths, self._images, self._container = paths, images, container
        self._where = records.directory(paths, container.id)
        self._own = self._where + ("/copy" if os.path.isdir(self._where + "/copy") else "/rw/upper")
        self.is_copy = self._own.endswith("/copy")

    def changes(self, tree: Layered) -> list[Change]:
        """Return what differs from the image. Raises OSError."""
        return find(tree, self.now(tree), tree.root(1))

    def now(self, tree: Layered) -> Entry:
        """Return / as the container sees it."""
        return tree.root(0, 1 if self.is_copy else None)

    def inside(self, work: Callable[[Layered], bytes]) -> bytes:
        """Call `work` with the layers where their owners are the container's, and return what it returns.

        Raises what it raises, an OSError as StorageError; NotFound where the container is removed meanwhile, for then nobody
        knows what of it was still there.
        """
        directories = self._directories()
        before = self._identity()
        if before is None:
            raise self._removed()

        def read() -> bytes:
            try:
                with Layered(directories, userxattr=self._images.identity.rootless) as tree:
                    return work(tree)
            except OSError as error:
                if self._identity() != before:
                    return b""  # which is said below
                raise StorageError(f"cannot read the files of {self._container.name}: {error.strerror}") from None

        answer = across.call(self._images.run_inside if self._images.identity.rootless else across.call_directly, read)
        if self._identity() != before:
            raise self._removed()
        return answer

    def _removed(self) -> NotFound:
        return NotFound(f"container {self._container.name} was removed meanwhile")

    def _identity(self) -> tuple[int, int] | None:
        """It loses its name before anything of it is deleted, see vanishing.py."""
        try:
            info = os.stat(self._where)
        except OSError:
            return None
        return info.st_dev, info.st_ino

    def _directories(self) -> tuple[str, ...]:
        if self._container.rootfs:
            raise in_memory(self._container)
        layers = self._images.layer_directories(self._container)
        if not os.path.isdir(self._own):
            if self._identity() is None:
                raise self._removed()
            raise StorageError(
                f"damaged: {self._own} is gone, and with it what {self._container.name} has written",
                f"crate rm -f {self._container.name} removes the container",
            )
        return (self._own, *reversed(layers))


def changes(paths: Paths, images: Images, container: Container) -> list[Change]:
    """Return what a container has changed in its root; none has its entry. Raises Unsupported, StorageError, NotFound."""
    root = ContainerRoot(paths, images, container)
    return unpack(root.inside(lambda tree: pack(root.changes(tree))))


def in_memory(container: Container) -> Unsupported:
    """Return the error for a container of rootfs:DIR, where its changes are asked for."""
    return Unsupported(
        f"{container.name} is made of the directory {container.rootfs}: its changes are in memory alone",
        "containers made of an image have theirs on the disk",
    )
