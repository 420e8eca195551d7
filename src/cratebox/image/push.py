"""From the store to a registry: the blobs side by side, then the manifest that refers to them, its name last.

What is sent are the bytes that lie in the store, which are those that were pulled: every digest stays what it was. But for
layers that came as plain tars, out of an archive, or where another format is asked for: those are packed on their way
(packing.py), and what is pushed is a manifest that refers to them.
Blobs that the registry has, in this repository or beside it, are not sent (upload.py).
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

    from cratebox.image.packing import Plan
    from cratebox.image.progress import Progress
    from cratebox.image.reference import Reference
    from cratebox.image.settings import Settings
    from cratebox.image.store import Store
    from cratebox.image.upload import Sent, Uploads

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


def send(
    store: Store,
    top: Descriptor,
    target: Reference,
    settings: Settings,
    progress: Progress | None = None,
    *,
    pack: bool = False,
    form: str | None = None,
) -> Pushed:
    """Push the manifest or index `top` as `target`, with all that it refers to.

    `pack`: layers of the one image that are plain tars are sent as gzip; `form`: all of its layers are sent in that format.
    Images of an index that are not in the store must be in the registry already. Raises InvalidValue, NotAllowed (a blocked
    registry), NotFound, RegistryError, Untrusted, StorageError.
    """
    with store.using():
        work = _Push(store, target, settings, progress or Silent())
        if pack or form:
            work.plan(top, form)
        return work.run(top)


class _Push:
    """One push to one name."""

    def __init__(self, store: Store, target: Reference, settings: Settings, progress: Progress) -> None:
        self._store, self._target, self._settings, self._progress = store, target, settings, progress
        self._shown: dict[str, int] = {}  # bytes of each layer of which the progress was told
        self._plans: dict[str, Plan] = {}  # of layers that are sent otherwise than they lie, by their digests
        self._packed: dict[str, Descriptor] = {}  # what they have become

    def plan(self, top: Descriptor, form: str | None) -> None:
        """Find the layers of the image `top` that are to be packed. Raises StorageError."""
        manifest = manifests.parse(self._store.read_blob(top.digest, MAX_DOCUMENT), top.media_type)
        if isinstance(manifest, Manifest):
            from cratebox.image import packing

            self._plans = packing.plans(self._store, manifest, form)

    def run(self, top: Descriptor) -> Pushed:
        """Push it. A name with a digest must be that of what is pushed."""
        if self._target.digest not in (None, top.digest) and not self._plans:
            raise self._another(top.digest)
        documents, elsewhere = self._documents(top)
        blobs = self._blobs(documents)
        sources = neighbours(self._store, self._target, {each.digest for each in blobs}) | self._remembered()
        scopes = tuple(dict.fromkeys(each for found in sources.values() for each in found))[:_MOST_SCOPES]
        endpoint = endpoints.to_write(self._target, self._settings)
        registry = Registry(endpoint.reference, endpoint.settings, self._progress.message, actions="pull,push", sources=scopes)
        try:
            self._send_blobs(registry, blobs, sources)
            self._check_there(registry, elsewhere)
            return self._send_documents(registry, self._referring(documents))
        finally:
            registry.close()

    def _another(self, digest: str) -> InvalidValue:
        return InvalidValue(f"cannot push {digest} as {self._target.familiar}: that is another digest")

    def _remembered(self) -> dict[str, tuple[str, ...]]:
        """Return, by digest, where in the target's registry layers lie that were packed before."""
        found, here = {}, self._target.registry + "/"
        for plan in self._plans.values():
            places = [each.removeprefix(here) for each in plan.repositories if each.startswith(here)]
            if plan.known is not None:
                found[plan.known.digest] = tuple(each for each in places if each != self._target.repository)
        return found

    def _referring(self, documents: list[_Document]) -> list[_Document]:
        """Return the image's manifest with the layers that were packed in place of those that lie in the store."""
        if not self._packed:
            return documents
        from cratebox.image import packing

        raw, media_type = packing.with_layers(documents[-1].raw, self._packed)
        digest = digests.of(raw)
        if self._target.digest not in (None, digest):
            raise self._another(digest)
        return [*documents[:-1], _Document(Descriptor(media_type, digest, len(raw)), raw)]

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

        sent = self._telling(blob, report)
        if blob.digest in self._plans:
            return self._upload_packed(uploads, blob, sent, report)
        fd = self._store.open_blob(blob.digest)
        try:
            if os.fstat(fd).st_size != blob.size:
                raise StorageError(
                    f"damaged: blob {blob.digest} does not have its {blob.size} bytes", "crate system check --repair"
                )
            return uploads.blob(blob, reader(fd), sent)
        finally:
            os.close(fd)

    def _upload_packed(self, uploads: Uploads, layer: Descriptor, sent: Sent, report: workers.Report) -> str:
        """Have a layer be there in its other format; where the registry has what it came to last time, nothing is packed."""
        from cratebox.image import packing
        from cratebox.image.upload import reader

        plan = self._plans[layer.digest]
        if plan.known is not None and (note := uploads.there(plan.known)):
            self._came_to(layer, plan, plan.known, report)
            return note
        with packing.Packed(self._store, layer, plan) as packed:
            note = uploads.blob(packed.descriptor, reader(packed.fd), packing.scaled(sent, layer, packed.descriptor))
            self._came_to(layer, plan, packed.descriptor, report)
        return note

    def _came_to(self, layer: Descriptor, plan: Plan, packed: Descriptor, report: workers.Report) -> None:
        from cratebox.image import packing

        packing.remember(self._store, plan, packed, self._target.name)
        kind = packing.media_type(layer.media_type, plan.format)
        report(["packed", layer.digest, kind, packed.digest, packed.size])

    def _telling(self, blob: Descriptor, report: workers.Report) -> Sent:
        told = 0

        def sent(position: int) -> None:
            nonlocal told
            if position - told >= _REPORT_EVERY:
                report(["sent", blob.digest, position])
                told = position

        return sent

    def _heard(self, _key: str, message: list[Any]) -> None:
        match message:
            case ["sent", str(digest), int(position)] if digest in self._shown:
                # After a cut what is sent again counts once.
                self._progress.advance(digest, max(0, position - self._shown[digest]))
                self._shown[digest] = max(position, self._shown[digest])
            case ["packed", str(layer), str(kind), str(digest), int(size)]:
                self._packed[layer] = Descriptor(kind, digest, size)
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
    """Return, by digest, the repositories of the target's registry that have a blob,
    as far as the names of the store's images tell.
    """
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
