"""`crate import`: an image of one layer, made of the files of a root file system that somebody has packed.

The tar becomes the layer as it is, so its diff ID is that of the archive: the same as Docker's. What ends it before the last
step, which gives the image its name, leaves a blob and a layer that nothing refers to: `crate system prune` deletes them.
"""

from __future__ import annotations

import os

from cratebox.engine import instructions
from cratebox.errors import Untrusted
from cratebox.image import across, child, decompress, new_layer
from cratebox.image import manifest as manifests
from cratebox.image import platform as platforms
from cratebox.image import reference as references
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cratebox.engine.images import Images
    from cratebox.image.store import Store, StoredImage

_CHUNK = 1 << 20


class Wish(Record):
    """What the image is to be: its `name` (empty for none), a comment for its history, Dockerfile instructions on how it is
    run, and the platform of its programs (empty for this machine's).
    """

    name: str = ""
    message: str = ""
    changes: tuple[str, ...] = ()
    platform: str = ""


def import_(images: Images, archive: int, wish: Wish) -> StoredImage:
    """Make the image of what the descriptor `archive` gives; what had its name before keeps none.

    Raises InvalidValue, Untrusted where it is not a tar or leads out of its root, StorageError.
    """
    name = str(references.nameable(wish.name)) if wish.name else ""
    platform = platforms.parse(wish.platform) if wish.platform else platforms.host()
    run = instructions.apply({}, wish.changes)
    store = images.store
    with store.using():
        layer = _layer(store, archive)
        base, raw_base = child.nothing(platform)
        step = child.Step(manifests.now(), comment=wish.message or "Imported from -")
        made = child.compose(base, raw_base, run, layer, step, docker=False)
        store.put(made.config, made.raw_config)
        store.put(made.manifest, made.raw_manifest)
        image = store.tag(name, made.manifest)
    store.settle_later()
    return image


def _layer(store: Store, archive: int) -> new_layer.NewLayer:
    def take() -> bytes:
        return new_layer.encode(store.new_layer(_plain(archive), even_empty=True))

    try:
        made = across.call(store.run_inside, take)
    except Untrusted as error:
        raise Untrusted(error.message.replace("the layer", "the archive"), error.hint) from None
    return new_layer.decode(made)


def _plain(archive: int) -> Iterator[bytes]:
    def read() -> Iterator[bytes]:
        while chunk := os.read(archive, _CHUNK):
            yield chunk

    return decompress.chunks(read(), "")
