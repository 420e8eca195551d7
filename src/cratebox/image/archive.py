"""Images from files: a directory in the OCI layout, the same as a tar file, and what `docker save` writes.

How such a file is opened is archive_file.py's, what is in it archive_images.py's; here it is taken into the store, whole or not
at all: no image gets its name before the layers of all are there and are what the documents say.
"""

from __future__ import annotations

import os

from cratebox.errors import Conflict, NotFound, Untrusted
from cratebox.image import archive_images, blobs, decompress, workers
from cratebox.image import digest as digests
from cratebox.image import manifest as manifests
from cratebox.image import platform as platforms
from cratebox.image.archive_file import ArchiveFile, Span
from cratebox.image.archive_images import Found
from cratebox.image.manifest import Descriptor
from cratebox.image.progress import Silent, counted
from cratebox.record import Record
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from cratebox.image.platform import Platform
    from cratebox.image.progress import Progress
    from cratebox.image.store import Store, StoredImage
    from cratebox.image.transport import Source


class Loaded(Record):
    """An image that is in the store now, and the canonical names that the archive has for it."""

    image: StoredImage
    names: tuple[str, ...]


def load(
    store: Store, source: Source, platform: Platform | None = None, *, names: bool = False, progress: Progress | None = None
) -> StoredImage:
    """Take the one image that `source` names into the store and return it. Raises Conflict where it has several.

    With `names` the image gets the full names that the archive has for it, as `docker load` does; without, none: what is
    run from a file must not become what `alpine` means from now on.
    Raises NotFound, Untrusted, Unsupported, StorageError; then no name has changed.
    """
    with ArchiveFile(store, source) as opened:
        found = _images(opened, platform)
        if len(found) > 1:
            raise Conflict(
                f"{source}: it has {len(found)} images: {', '.join(shown(', '.join(image.called or image.names)) for image in found[:20])}",
                f"{source.kind}:{source.path}:TAG names one of them"
                if source.kind == "oci"
                else f"crate load -i {shown(source.path)} takes them all",
            )
        return _take(store, found, progress or Silent(), names=names)[0].image


def load_all(
    store: Store,
    source: Source,
    platform: Platform | None = None,
    *,
    stream: int | None = None,
    allow: Callable[[Source], None] | None = None,
    progress: Progress | None = None,
) -> tuple[Loaded, ...]:
    """Take every image of an archive into the store, under its names, as `docker load` does: all of them or none.

    `stream`: a descriptor to read the archive from. `allow` is asked before anything is taken, with the source, whose kind is
    known by then; it raises where images from there are not wanted. Raises as `load` does.
    """
    with store.pulling(), ArchiveFile(store, source, stream) as opened:
        if allow is not None:
            allow(opened.source)
        taken = _take(store, _images(opened, platform), progress or Silent(), names=True)
    store.settle_later()
    return taken


def _images(opened: ArchiveFile, platform: Platform | None) -> list[Found]:
    """Return the images of an archive, all for `platform` where one is asked for. Raises NotFound."""
    found = archive_images.find(opened, platform or platforms.host())
    for image in found:
        there = manifests.parse_config(image.raw_config).platform
        if platform is not None and not platforms.suits(there, platform):
            raise NotFound(f"no such image: {opened.what} is for {shown(str(there))}, not for {platform}")
    return found


def _take(store: Store, found: Sequence[Found], progress: Progress, *, names: bool) -> tuple[Loaded, ...]:
    layers = _Layers(store, progress)
    with store.using():
        descriptors = [_present(store, image) or layers.add(image) for image in found]
        layers.take()
        for image, descriptor in zip(found, descriptors, strict=True):
            store.put(image.manifest.config, image.raw_config)
            if descriptor.digest == digests.of(image.raw_manifest):
                store.put(descriptor, image.raw_manifest)
        return tuple(
            _named(store, descriptor, image.names if names else ())
            for image, descriptor in zip(found, descriptors, strict=True)
        )


def _present(store: Store, image: Found) -> Descriptor | None:
    """Return the manifest in the store of an image that came without one, where the image is there whole."""
    if image.own:
        return None
    for there in store.images():
        if there.id == image.manifest.config.digest and store.is_whole(there):
            return store.descriptor_of(there)
    return None


def _named(store: Store, descriptor: Descriptor, names: tuple[str, ...]) -> Loaded:
    stored = store.tag("", descriptor)
    for name in names:
        stored = store.tag(name, descriptor)
    return Loaded(stored, names)


class _Layers:
    """The layers of all images of an archive, each copied and unpacked once, several at a time."""

    def __init__(self, store: Store, progress: Progress) -> None:
        self._store, self._progress = store, progress
        self._diff_ids: dict[str, str] = {}
        self._missing: dict[str, tuple[Descriptor, Span, str]] = {}

    def add(self, image: Found) -> Descriptor:
        """Note what is not there yet of an image; return what refers to it. Raises Untrusted where its documents contradict
        each other, or another's.
        """
        config = manifests.parse_config(image.raw_config)
        if len(config.diff_ids) != len(image.manifest.layers):
            raise Untrusted(f"the image has {len(image.manifest.layers)} layers, its config {len(config.diff_ids)}")
        for layer, span, diff_id in zip(image.manifest.layers, image.spans, config.diff_ids, strict=True):
            known = self._diff_ids.get(layer.digest)
            if known is None:
                self._diff_ids[layer.digest] = diff_id
                self._note(layer, span, diff_id)
            elif known != diff_id:
                raise Untrusted(f"a config calls the layer {layer.digest} both {known} and {diff_id}")
        return Descriptor(image.manifest.media_type, digests.of(image.raw_manifest), len(image.raw_manifest))

    def _note(self, layer: Descriptor, span: Span, diff_id: str) -> None:
        self._progress.layer(layer.digest, layer.size)
        if self._store.is_unpacked(layer.digest, diff_id):
            self._progress.done(layer.digest, "already exists")
        else:
            self._missing[layer.digest] = layer, span, diff_id

    def take(self) -> None:
        """Bring what is missing. Raises Untrusted, StorageError."""
        if not self._missing:
            return
        # Imported before the forks, which would each do it again.
        import cratebox.image.intake
        import cratebox.image.layer  # noqa: F401  for the workers

        decompress.prepare()
        small = blobs.small_ones([layer for layer, _, _ in self._missing.values()])
        jobs = [
            workers.Job(key=layer.digest, work=_job(self._store, layer, span, diff_id, named_later=layer.digest in small))
            for layer, span, diff_id in self._missing.values()
        ]
        workers.run(jobs, len(os.sched_getaffinity(0)), self._heard)
        self._store.name_blobs(small.values())

    def _heard(self, digest: str, message: list[Any]) -> None:
        match message:
            case ["advance", int(count)]:
                self._progress.advance(digest, count)
            case ["done"]:
                self._progress.done(digest, "done")


def _job(store: Store, layer: Descriptor, span: Span, diff_id: str, *, named_later: bool) -> Callable[[workers.Report], None]:
    def work(report: workers.Report) -> None:
        def open_from(offset: int) -> Iterator[bytes]:
            return counted(span.chunks(offset), lambda count: report(["advance", count]))

        store.ingest(layer, diff_id, open_from, named_later=named_later)
        report(["done"])

    return work
