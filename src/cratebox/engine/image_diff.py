"""`crate image diff`: what the files of an image are beside those of another, or what its uppermost layer has changed."""

from __future__ import annotations

import os

from cratebox.engine.changes import Change, find, pack, unpack
from cratebox.engine.layered import Entry, Layered
from cratebox.errors import StorageError
from cratebox.image import across

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cratebox.engine.images import Images
    from cratebox.image.store import StoredImage


def changes(images: Images, image: StoredImage, base: StoredImage | None) -> list[Change]:
    """Return the changes from `base` to `image`; without one, from the layers below the uppermost. None has its entry.

    Raises StorageError, NotFound.
    """
    upper = images.store.layer_directories(image)
    lower = images.store.layer_directories(base) if base else upper[:-1]
    shared = _shared(lower, upper)
    # A layer of both is opened once: what lies in it is the same file, and is not compared.
    order = (*reversed(upper), *reversed(lower[shared:]))
    numbers = (*range(len(upper), len(order)), *range(len(upper) - shared, len(upper)))

    def read() -> bytes:
        try:
            with Layered(order, userxattr=images.identity.rootless) as tree:
                now, before = _root(tree, range(len(upper)), images), _root(tree, numbers, images)
                return pack(find(tree, now, before, furniture=frozenset()))
        except OSError as error:
            raise StorageError(f"cannot read the layers of image {image.id}: {error.strerror}", "crate system check") from None

    run_inside = images.run_inside if images.identity.rootless else across.call_directly
    return unpack(across.call(run_inside, read))


def _shared(lower: tuple[str, ...], upper: tuple[str, ...]) -> int:
    """Return how many layers both have, from the lowest on."""
    count = 0
    while count < min(len(lower), len(upper)) and lower[count] == upper[count]:
        count += 1
    return count


def _root(tree: Layered, numbers: Sequence[int], images: Images) -> Entry:
    """Return / as the layers of these numbers make it, uppermost first; where there are none, an empty directory."""
    entry = tree.root(numbers[0]) if numbers else Entry(0, "", os.stat(images.paths.images), None)
    entry.places = [(number, "") for number in numbers]
    return entry
