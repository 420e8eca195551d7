"""Images from files: a directory in the OCI layout, the same as a tar file, and what `docker save` writes.

What is in them, and how it is read, is archive_file.py's; here it is taken into the store.
"""

from __future__ import annotations

import os

from cratebox.errors import Conflict, NotFound, Untrusted
from cratebox.image import digest as digests
from cratebox.image import manifest as manifests
from cratebox.image import platform as platforms
from cratebox.image import reference as references
from cratebox.image import workers
from cratebox.image.archive_file import ArchiveFile, Found, Span
from cratebox.image.manifest import Descriptor
from cratebox.image.progress import Silent
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cratebox.image.platform import Platform
    from cratebox.image.progress import Progress
    from cratebox.image.store import Store, StoredImage
    from cratebox.image.transport import Source


def load(
    store: Store, source: Source, platform: Platform | None = None, *, names: bool = False, progress: Progress | None = None
) -> StoredImage:
    """Take the one image that `source` names into the store and return it. Raises Conflict where it has several.

    With `names` the image gets the full names that the archive has for it, as `docker load` does; without, none: what is
    run from a file must not become what `alpine` means from now on.
    Raises NotFound, Untrusted, Unsupported, StorageError; then no name has changed.
    """
    with ArchiveFile(store, source) as opened:
        found = opened.images(platform or platforms.host())
        if len(found) > 1:
            raise Conflict(
                f"{source}: it has {len(found)} images: {', '.join(shown(', '.join(image.called or image.names)) for image in found[:20])}",
                f"{source.kind}:{source.path}:TAG names one of them"
                if source.kind == "oci"
                else "a file must have one image: skopeo copy makes such a file of it",
            )
        if platform is not None:
            _check_platform(source, found[0], platform)
        return _take(store, found[0], names, progress or Silent())


def _check_platform(source: Source, image: Found, platform: Platform) -> None:
    there = manifests.parse_config(image.raw_config).platform
    if not platforms.suits(there, platform):
        raise NotFound(f"no such image: {source} is for {shown(str(there))}, not for {platform}")


def load_all(
    store: Store, source: Source, platform: Platform | None = None, *, names: bool = True, progress: Progress | None = None
) -> tuple[StoredImage, ...]:
    """Take every image of an archive into the store, as `docker load` does. Raises as `load` does."""
    with store.pulling(), ArchiveFile(store, source) as opened:
        found = opened.images(platform or platforms.host())
        taken = tuple(_take(store, image, names, progress or Silent()) for image in found)
    store.settle_later()
    return taken


def _take(store: Store, image: Found, names: bool, progress: Progress) -> StoredImage:
    config = manifests.parse_config(image.raw_config)
    if len(config.diff_ids) != len(image.manifest.layers):
        raise Untrusted(f"the image has {len(image.manifest.layers)} layers, its config {len(config.diff_ids)}")
    given = [str(references.parse(name)) for name in image.names] if names else []  # before anything is there
    digest = digests.of(image.raw_manifest)
    descriptor = Descriptor(media_type=image.manifest.media_type, digest=digest, size=len(image.raw_manifest))
    with store.using():
        store.put(image.manifest.config, image.raw_config)
        _take_layers(store, image, config.diff_ids, progress)
        store.put(descriptor, image.raw_manifest)
        stored = store.tag("", descriptor)
        for name in given:
            stored = store.tag(name, descriptor)
    return stored


def _take_layers(store: Store, image: Found, diff_ids: tuple[str, ...], progress: Progress) -> None:
    """Copy and unpack what is not there yet, a process a layer."""
    jobs: dict[str, workers.Job] = {}
    for layer, span, diff_id in zip(image.manifest.layers, image.spans, diff_ids, strict=True):
        present = store.has_layer(diff_id) and store.has_blob(layer.digest)
        if layer.digest not in jobs:
            progress.layer(layer.digest, layer.size)
            if present:
                progress.done(layer.digest, "already exists")
        if not present:
            jobs[layer.digest] = workers.Job(key=layer.digest, work=_job(store, layer, span, diff_id))

    def heard(digest: str, message: list[Any]) -> None:
        if message == ["done"]:
            progress.done(digest, "done")

    workers.run(list(jobs.values()), len(os.sched_getaffinity(0)), heard)


def _job(store: Store, layer: Descriptor, span: Span, diff_id: str) -> Callable[[workers.Report], None]:
    def work(report: workers.Report) -> None:
        store.ingest(layer, diff_id, span.chunks)
        report(["done"])

    return work
