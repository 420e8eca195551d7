"""From a name to an image in the store: resolve, choose the platform, fetch what is missing, tag.

    resolve      the manifest, or an index and from it the manifest of our platform
    config       whose diff IDs say what the unpacked layers must be
    layers       side by side, a process each: HTTP -> hash -> file, and the same bytes -> inflate -> hash -> files
    tag          last: before it nothing refers to what has come, after it everything is there

Nothing is fetched that is there. Whatever ends a pull, the next one goes on: whole blobs stay, the bytes of partial ones too.
"""

from __future__ import annotations

import os

from cratebox.errors import NotFound, StorageError, Unsupported, Untrusted
from cratebox.image import blobs, decompress, endpoints
from cratebox.image import manifest as manifests
from cratebox.image import platform as platforms
from cratebox.image.manifest import CONFIG_TYPES, MAX_DOCUMENT, Descriptor, ImageConfig, Index, Manifest
from cratebox.image.progress import Silent, counted
from cratebox.image.transport import Source
from cratebox.record import Record
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

    from cratebox.image import workers
    from cratebox.image.mirrors import Mirrored
    from cratebox.image.platform import Platform
    from cratebox.image.progress import Progress
    from cratebox.image.reference import Reference
    from cratebox.image.registry import Resolved
    from cratebox.image.settings import Settings
    from cratebox.image.store import Store, StoredImage

_MOST_WORKERS = 6
_LEAST_WORKERS = 3  # on one processor too: a worker mostly waits for the network
_MOST_LITTER = 8  # half-made layers of killed pulls that are left until after this one


class Pulled(Record):
    """What a pull brought. `status`: "present" where there was nothing to do, else "downloaded"."""

    image: StoredImage
    status: str


def bring(
    store: Store,
    source: Source,
    platform: Platform | None,
    settings: Settings,
    progress: Progress | None = None,
    *,
    names: bool = False,
) -> Pulled:
    """Bring the image of `source` into the store; return it, tagged with its name.

    `platform` None means this machine's; `names`: an image from a file gets the names that the file has for it. Raises
    NotAllowed (by policy.json, or blocked), NotFound (no such image, no such platform), RegistryError, Untrusted,
    Unsupported, StorageError.
    """
    if source.kind == "rootfs":
        raise Unsupported(f"cannot pull {source}: a directory is used as it is")
    settings.policy.check(source)
    with store.pulling():
        _sweep_before(store, settings)
        pulled = _bring(store, source, platform, settings, progress or Silent(), names)
    if settings.settle == "now":
        store.settle()
    elif settings.settle == "later":
        store.settle_later()
    return pulled


def refetch(
    store: Store, reference: Reference, platform: Platform | None, settings: Settings, damaged: Collection[str]
) -> None:
    """Fetch an image's blobs `damaged` (digests) again, and what is missing of it. `reference` is its manifest's digest in a
    registry; its names stay as they are.

    Raises NotAllowed, NotFound, RegistryError, Untrusted, StorageError.
    """
    settings.policy.check(Source(kind="registry", reference=reference))
    with store.pulling(), store.using():
        work = _Pull(store, reference, platform or platforms.host(), settings, Silent())
        try:
            work.registry.resolve()  # nothing is thrown away for a registry that does not answer, or has it no more
            for digest in damaged:
                store.discard_blob(digest)
            work.fetch()
        finally:
            work.close()
    store.settle_later()


def _sweep_before(store: Store, settings: Settings) -> None:
    """See to what killed pulls have left. Deleting it now would make this pull slower: it is done after this one ends.

    However it ends: the process that does it is there already. Only much litter is not left to the end.
    """
    litter = store.litter()
    if litter > _MOST_LITTER or (litter and settings.settle != "later"):
        store.sweep()
    elif litter:
        store.settle_later()


def _bring(
    store: Store, source: Source, platform: Platform | None, settings: Settings, progress: Progress, names: bool
) -> Pulled:
    if source.reference is None:
        from cratebox.image import archive

        return Pulled(archive.load(store, source, platform, names=names, progress=progress), "downloaded")
    with store.using():
        work = _Pull(store, source.reference, platform or platforms.host(), settings, progress)
        try:
            image = work.present()
            return Pulled(work.run(), "downloaded") if image is None else Pulled(image, "present")
        finally:
            work.close()


class _Pull:
    """One pull of one image."""

    def __init__(self, store: Store, reference: Reference, platform: Platform, settings: Settings, progress: Progress) -> None:
        self._store, self._reference, self._progress = store, reference, progress
        self._platform = platforms.normal(platform.os, platform.architecture, platform.variant)
        endpoints.to_read(reference, settings)  # a name that is blocked is refused, also where nobody need be asked
        self._settings = settings
        self._registry: Mirrored | None = None

    @property
    def registry(self) -> Mirrored:
        """Where the image is to be had; what speaks with it is loaded where something is to be fetched."""
        if self._registry is None:
            from cratebox.image.mirrors import Mirrored

            self._registry = Mirrored(self._reference, self._settings, self._progress.message)
        return self._registry

    def close(self) -> None:
        """Close the connections."""
        if self._registry is not None:
            self._registry.close()

    def present(self) -> StoredImage | None:
        """Return the image where the store has, whole, what the name stands for now. A name with a digest asks nobody."""
        try:
            image = self._store.find(self._reference)
            manifest = manifests.parse(self._store.read_blob(image.manifest_digest, MAX_DOCUMENT), None)
        except (NotFound, StorageError, Untrusted):
            return None
        if not isinstance(manifest, Manifest) or not platforms.suits(image.config.platform, self._platform):
            return None
        if not all(map(self._store.has_layer, image.layers)) or not all(
            self._store.has_blob(each.digest) for each in manifest.layers
        ):
            return None
        if self._reference.digest is None and f"{self._reference.name}@{self._head()}" not in image.repo_digests:
            return None
        for layer in _each_once(manifest.layers):
            self._progress.layer(layer.digest, layer.size)
            self._progress.done(layer.digest, "already exists")
        return image

    def _head(self) -> str | None:
        """Return the digest that the name stands for now, asked in the short way where that does it."""
        from cratebox.image import short

        return short.head(self._reference, self._settings) or self.registry.head()

    def run(self) -> StoredImage:
        """Fetch what is missing and tag the image."""
        descriptor, source_digest = self.fetch()
        reference = self._reference.replace(tag=None) if self._reference.digest else self._reference
        return self._store.tag(str(reference), descriptor, source_digest)

    def fetch(self) -> tuple[Descriptor, str]:
        """Fetch what is missing; return how the image's manifest is referred to, and the digest that the name stands for."""
        top = self.registry.resolve()
        found, manifest = self._manifest(top)
        config = self._config(manifest)
        self._check_platform(config)
        self._fetch_layers(manifest, config)
        descriptor = Descriptor(media_type=manifest.media_type, digest=found.descriptor.digest, size=len(found.raw))
        self._store.put(descriptor, found.raw)
        return descriptor, top.descriptor.digest

    def _manifest(self, top: Resolved) -> tuple[Resolved, Manifest]:
        document = manifests.parse(top.raw, top.descriptor.media_type or None)
        found = top
        if isinstance(document, Index):
            entry = platforms.choose(document.manifests, self._platform, self._reference.familiar)
            found = self.registry.manifest(entry)
            document = manifests.parse(found.raw, found.descriptor.media_type)
        if isinstance(document, Index):
            raise Unsupported(f"{self._reference.familiar} is an index within an index")
        if document.config.media_type not in CONFIG_TYPES:
            raise Unsupported(
                f"{self._reference.familiar} is not a container image: its config is {shown(document.config.media_type)}",
                f"crate artifact pull {self._reference.familiar} fetches files that are none",
            )
        self._check_layers(document)
        return found, document

    def _check_layers(self, manifest: Manifest) -> None:
        for layer in manifest.layers:
            try:
                decompress.check_type(layer.media_type)
            except Unsupported as error:
                raise Unsupported(f"cannot pull {self._reference.familiar}: {error.message}", error.hint) from None

    def _config(self, manifest: Manifest) -> ImageConfig:
        try:
            raw = self._store.read_blob(manifest.config.digest, MAX_DOCUMENT)
        except (NotFound, StorageError):  # a damaged one is replaced
            raw = self.registry.small_blob(manifest.config, MAX_DOCUMENT)
            self._store.put(manifest.config, raw)
        config = manifests.parse_config(raw)
        if len(config.diff_ids) != len(manifest.layers):
            raise Untrusted(
                f"{self._reference.familiar} has {len(manifest.layers)} layers, but its config tells of {len(config.diff_ids)}"
            )
        return config

    def _check_platform(self, config: ImageConfig) -> None:
        """An image without an index may be for another machine: refused where it was asked for, told where it was not."""
        if platforms.suits(config.platform, self._platform):
            return
        there = str(config.platform) if str(config.platform).isprintable() else shown(str(config.platform))
        text = f"{self._reference.familiar} is for {there or 'no platform that it names'}, not for {self._platform}"
        if self._platform != platforms.host() or config.os != "linux":
            raise NotFound(f"no such image: {text}")
        self._progress.message(f"warning: {text}: its programs may not run here")

    def _fetch_layers(self, manifest: Manifest, config: ImageConfig) -> None:
        """Make every layer be there. The largest first: the last one to end decides how long it takes."""
        missing = []
        diff_ids = {layer.digest: diff_id for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True)}
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            if diff_ids[layer.digest] != diff_id:
                raise Untrusted(
                    f"{self._reference.familiar}: its config calls {layer.digest} both {diff_ids[layer.digest]} and {diff_id}"
                )
        for layer in _each_once(manifest.layers):
            self._progress.layer(layer.digest, layer.size)
            if self._store.is_unpacked(layer.digest, diff_ids[layer.digest]):
                self._progress.done(layer.digest, "already exists")
            else:
                missing.append(layer)
        missing.sort(key=lambda layer: layer.size, reverse=True)
        if not missing:
            return
        # Imported before the forks, which would each do it again.
        import cratebox.image.fetch
        import cratebox.image.intake
        import cratebox.image.layer  # noqa: F401  for the workers
        from cratebox.image import workers

        decompress.prepare()
        small = blobs.small_ones(missing)
        jobs = [
            workers.Job(key=each.digest, work=self._job(each, diff_ids[each.digest], named_later=each.digest in small))
            for each in missing
        ]
        workers.run(jobs, worker_count(), self._heard)
        self._store.name_blobs(small.values())

    def _job(self, layer: Descriptor, diff_id: str, *, named_later: bool) -> Any:
        def work(report: workers.Report) -> None:
            self.registry.reopen(lambda text: report(["message", text]))
            try:
                self._store.ingest(layer, diff_id, lambda offset: self._bytes(layer, offset, report), named_later=named_later)
            except Untrusted as error:
                raise self.registry.blamed(error) from None
            report(["done"])

        return work

    def _bytes(self, layer: Descriptor, offset: int, report: workers.Report) -> Iterator[bytes]:
        """Yield a layer's bytes from the registry, telling the parent how many have come, ten times a second."""
        report(["resumed", offset])
        yield from counted(self.registry.blob(layer, offset), lambda count: report(["advance", count]))

    def _heard(self, digest: str, message: list[Any]) -> None:
        match message:
            case ["resumed", int(offset)]:
                if offset:
                    self._progress.advance(digest, offset)
            case ["advance", int(count)]:
                self._progress.advance(digest, count)
            case ["message", str(text)]:
                self._progress.message(text)
            case ["done"]:
                self._progress.done(digest, "done")


def worker_count() -> int:
    """Return how many layers are fetched at a time: one a processor, within bounds that suit networks and registries."""
    return max(_LEAST_WORKERS, min(_MOST_WORKERS, len(os.sched_getaffinity(0))))


def _each_once(layers: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
    """A layer may stand in a manifest more than once (the empty one often does)."""
    return tuple({layer.digest: layer for layer in layers}.values())
