"""From the store to a registry: the blobs side by side, then the manifest that refers to them, its name last.

What is sent are the bytes that lie in the store, which are those that were pulled: nothing is compressed again, and every digest
stays what it was. Blobs that the registry has, in this repository or beside it, are not sent (upload.py).
"""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue, NotFound, StorageError
from cratebox.image import digest as digests
from cratebox.image import endpoints, workers
from cratebox.image import manifest as manifests
from cratebox.image import reference as references
from cratebox.image.manifest import MAX_DOCUMENT, Descriptor, Manifest
from cratebox.image.progress import Silent
from cratebox.image.pull import worker_count
from cratebox.image.registry import Registry
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cratebox.image.progress import Progress
    from cratebox.image.reference import Reference
    from cratebox.image.settings import Settings
    from cratebox.image.store import Store
    from cratebox.image.upload import Uploads

_MOST_SCOPES = 8  # repositories beside the target that are asked for
_REPORT_EVERY = 1 << 20  # bytes


class Pushed(Record):
    """What stands for a name in a registry now. `size`: bytes of the manifest or index itself."""

    reference: str
    digest: str
    size: int


class _Document(Record):
    """A manifest or an index of the store, as it is sent."""

    descriptor: Descriptor
    raw: bytes


def send(store: Store, top: Descriptor, target: Reference, settings: Settings, progress: Progress | None = None) -> Pushed:
    """Push the manifest or index `top` as `target`, with all that it refers to.

    Images of an index that are not in the store must be in the registry already. Raises InvalidValue, NotAllowed (a blocked
    registry), NotFound, RegistryError, Untrusted, StorageError.
    """
    with store.using():
        return _Push(store, target, settings, progress or Silent()).run(top)


class _Push:
    """One push to one name."""

    def __init__(self, store: Store, target: Reference, settings: Settings, progress: Progress) -> None:
        self._store, self._target, self._settings, self._progress = store, target, settings, progress
        self._shown: dict[str, int] = {}  # bytes of each layer of which the progress was told

    def run(self, top: Descriptor) -> Pushed:
        """Push it. A name with a digest must be that of what is pushed."""
        if self._target.digest not in (None, top.digest):
            raise InvalidValue(f"cannot push {top.digest} as {self._target.familiar}: that is another digest")
        documents, elsewhere = self._documents(top)
        blobs = self._blobs(documents)
        sources = neighbours(self._store, self._target, {each.digest for each in blobs})
        scopes = tuple(dict.fromkeys(each for found in sources.values() for each in found))[:_MOST_SCOPES]
        endpoint = endpoints.to_write(self._target, self._settings)
        registry = Registry(endpoint.reference, endpoint.settings, self._progress.message, actions="pull,push", sources=scopes)
        try:
            self._send_blobs(registry, blobs, sources)
            self._check_there(registry, elsewhere)
            return self._send_documents(registry, documents)
        finally:
            registry.close()

    def _documents(self, top: Descriptor) -> tuple[list[_Document], list[Descriptor]]:
        """Return what is sent, what is referred to first, and those entries of an index that the store does not have."""
        raw = self._store.read_blob(top.digest, MAX_DOCUMENT)
        document = manifests.parse(raw, top.media_type)
        found, elsewhere = [], []
        for entry in () if isinstance(document, Manifest) else document.manifests:
            if self._store.has_blob(entry.digest):
                found.append(_Document(entry, self._store.read_blob(entry.digest, MAX_DOCUMENT)))
            else:
                elsewhere.append(entry)
        return [*found, _Document(top.replace(media_type=document.media_type), raw)], elsewhere

    def _blobs(self, documents: Sequence[_Document]) -> list[Descriptor]:
        """Return the blobs that all documents refer to, each once. Raises StorageError where one is not in the store."""
        blobs: dict[str, Descriptor] = {}
        for each in documents:
            document = manifests.parse(each.raw, each.descriptor.media_type)
            for blob in (*document.layers, document.config) if isinstance(document, Manifest) else ():
                if not self._store.has_blob(blob.digest):
                    raise StorageError(
                        f"blob {blob.digest} of {self._target.familiar} is not in the store", "pull the image again"
                    )
                blobs.setdefault(blob.digest, blob)
        return list(blobs.values())

    def _send_blobs(self, registry: Registry, blobs: list[Descriptor], sources: dict[str, tuple[str, ...]]) -> None:
        import cratebox.image.upload  # noqa: F401  before the forks, which would each do it again

        registry.head()  # one asks where the registry is and shows who we are; the workers know it then
        for blob in blobs:
            if blob.media_type not in manifests.CONFIG_TYPES:
                self._shown[blob.digest] = 0
                self._progress.layer(blob.digest, blob.size)
        jobs = [
            workers.Job(key=f"blobs {number}", work=self._job(registry, lane, sources))
            for number, lane in enumerate(lanes(blobs, worker_count()), 1)
        ]
        workers.run(jobs, len(jobs), self._heard)

    def _job(self, registry: Registry, lane: list[Descriptor], sources: dict[str, tuple[str, ...]]) -> Any:
        def work(report: workers.Report) -> None:
            from cratebox.image.upload import Uploads

            registry.reopen(lambda text: report(["message", text]))
            uploads = Uploads(registry, sources)
            for blob in lane:
                report(["done", blob.digest, self._upload(uploads, blob, report)])

        return work

    def _upload(self, uploads: Uploads, blob: Descriptor, report: workers.Report) -> str:
        from cratebox.image.upload import reader

        told = 0

        def sent(position: int) -> None:
            nonlocal told
            if position - told >= _REPORT_EVERY:
                report(["sent", blob.digest, position])
                told = position

        fd = self._store.open_blob(blob.digest)
        try:
            if os.fstat(fd).st_size != blob.size:
                raise StorageError(
                    f"damaged: blob {blob.digest} does not have its {blob.size} bytes", "crate system check --repair"
                )
            return uploads.blob(blob, reader(fd), sent)
        finally:
            os.close(fd)

    def _heard(self, _key: str, message: list[Any]) -> None:
        match message:
            case ["sent", str(digest), int(position)] if digest in self._shown:
                # After a cut what is sent again counts once.
                self._progress.advance(digest, max(0, position - self._shown[digest]))
                self._shown[digest] = max(position, self._shown[digest])
            case ["done", str(digest), str(note)] if digest in self._shown:
                self._progress.done(digest, note)
            case ["message", str(text)]:
                self._progress.message(text)

    def _check_there(self, registry: Registry, entries: list[Descriptor]) -> None:
        """See that the registry has those images of an index that are not in the store. Raises NotFound."""
        for entry in entries:
            reply = registry.request("HEAD", f"manifests/{digests.check(entry.digest)}", {"Accept": entry.media_type})
            reply.close()
            if reply.status != 200:
                raise NotFound(
                    f"image {entry.digest} of {self._target.familiar} is neither in the store nor in {self._target.name}",
                    f"crate pull it first{f' with --platform {entry.platform}' if entry.platform else ''}",
                )

    def _send_documents(self, registry: Registry, documents: Sequence[_Document]) -> Pushed:
        from cratebox.image.upload import Uploads

        uploads = Uploads(registry)
        *before, top = documents
        for each in before:
            uploads.manifest(each.raw, each.descriptor.media_type, each.descriptor.digest)
        name = top.descriptor.digest if self._target.digest else self._target.tag
        uploads.manifest(top.raw, top.descriptor.media_type, str(name))
        return Pushed(str(self._target), top.descriptor.digest, len(top.raw))


def neighbours(store: Store, target: Reference, digests_of: set[str]) -> dict[str, tuple[str, ...]]:
    """Return, by digest, the repositories of the target's registry that have a blob, as far as the names of the store's images tell."""
    found: dict[str, dict[str, None]] = {}
    for image in store.images():
        names = [references.parse(text) for text in image.repo_digests]
        beside = [
            name.repository for name in names if name.registry == target.registry and name.repository != target.repository
        ]
        try:
            layers = store.manifest_of(image).layers if beside else ()
        except NotFound:
            continue  # removed meanwhile
        for layer in layers:
            if layer.digest in digests_of:
                found.setdefault(layer.digest, {}).update(dict.fromkeys(beside))
    return {digest: tuple(repositories) for digest, repositories in found.items()}


def lanes(blobs: list[Descriptor], count: int) -> list[list[Descriptor]]:
    """Divide `blobs` among at most `count` workers, about the same bytes each: one connection serves several blobs."""
    divided: list[list[Descriptor]] = [[] for _ in range(min(count, len(blobs)))]
    for blob in sorted(blobs, key=lambda blob: blob.size, reverse=True):
        min(divided, key=lambda lane: (sum(each.size for each in lane), len(lane))).append(blob)
    return divided
