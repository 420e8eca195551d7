"""`crate image tree`: the layers of an image, the other images that have them too, and the images that are built upon it."""

from __future__ import annotations

from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cratebox.image.store import StoredImage


class TreeLayer(Record):
    """A layer: `size` in bytes of its files; `top_of`: the images it is the uppermost layer of, `shared`:
    all others that have it.
    """

    diff_id: str
    size: int
    top_of: tuple[StoredImage, ...] = ()
    shared: tuple[StoredImage, ...] = ()


class Branch(Record):
    """An image, and those built upon it: the `children` have all of its layers, and more on top."""

    image: StoredImage
    children: tuple[Branch, ...] = ()


def layers(image: StoredImage, every: Iterable[StoredImage], size_of: Callable[[str], int]) -> Sequence[TreeLayer]:
    """Return the layers of `image`, lowest first, with what `every` image of the store has of them."""
    every = tuple(every)
    found = []
    for diff_id in image.layers:
        having = [other for other in every if diff_id in other.layers]
        top = tuple(other for other in having if other.layers[-1] == diff_id)
        shared = tuple(other for other in having if other.id != image.id and other not in top)
        found.append(TreeLayer(diff_id, size_of(diff_id), top, shared))
    return found


def built_upon(image: StoredImage, every: Iterable[StoredImage]) -> Branch:
    """Return `image` with the images built upon it. Each stands below the one that has most of its layers."""
    above = sorted((other for other in every if _is_upon(other, image)), key=lambda other: len(other.layers))
    below = {other.manifest_digest: _nearest(other, (image, *above)) for other in above}

    def branch(of: StoredImage) -> Branch:
        return Branch(of, tuple(branch(other) for other in above if below[other.manifest_digest] == of.manifest_digest))

    return branch(image)


def _is_upon(image: StoredImage, base: StoredImage) -> bool:
    return len(image.layers) > len(base.layers) and image.layers[: len(base.layers)] == base.layers


def _nearest(image: StoredImage, bases: Iterable[StoredImage]) -> str:
    return max((base for base in bases if _is_upon(image, base)), key=lambda base: len(base.layers)).manifest_digest
