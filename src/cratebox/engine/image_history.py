"""`crate history`: the steps in which an image was made, and what layer each of them has left.

An image's config tells its steps from the first on, and of each whether it made a layer: the layers belong to those that did,
in order. (OCI image-spec, config.md, "history"; moby, daemon/images/image_history.go)
"""

from __future__ import annotations

from cratebox.image.catalog import seconds
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cratebox.image.store import StoredImage


class Step(Record):
    """One step. `created`: seconds since 1970, 0 where the image does not say. `layer`: the diff ID of what it has left, empty
    where it changed no file; `size`: bytes of that layer's files.
    `image`: the ID of the image that it has made, of the last step alone.
    """

    created: float = 0.0
    created_by: str = ""
    comment: str = ""
    layer: str = ""
    size: int = 0
    image: str = ""


def steps(image: StoredImage, size_of: Callable[[str], int]) -> Sequence[Step]:
    """Return the steps, the last one first; `size_of` returns the bytes of a layer's files.

    Layers of which no step tells (many builders write no history) come last, each as a step that nothing is known of.
    """
    layers = iter(image.layers)
    found = [*_told(image, layers), *(Step(layer=layer) for layer in layers)]
    found = [step.replace(size=size_of(step.layer)) if step.layer else step for step in found]
    if found:
        found[-1] = found[-1].replace(image=image.id)
    return found[::-1]


def _told(image: StoredImage, layers: Iterator[str]) -> Iterator[Step]:
    for step in image.config.history:
        yield Step(
            seconds(step.get("created", "")),
            step.get("created_by", ""),
            step.get("comment", ""),
            "" if step["empty_layer"] else next(layers, ""),
        )
