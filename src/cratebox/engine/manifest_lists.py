"""`crate manifest`: lists of manifests, made of images of the store and of registries, and pushed under one name."""

from __future__ import annotations

from cratebox.engine.pushing import speaking
from cratebox.errors import Conflict, InvalidValue, NotFound, Unsupported
from cratebox.image import lists
from cratebox.image import reference as references
from cratebox.image.lists import Details
from cratebox.image.progress import Silent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from cratebox.engine.images import Images
    from cratebox.image.lists import Document, Edit
    from cratebox.image.manifest import Descriptor, Index
    from cratebox.image.mirrors import Mirrored
    from cratebox.image.progress import Progress
    from cratebox.image.push import Pushed
    from cratebox.image.reference import Reference

    T = TypeVar("T")

NOTHING = Details()


class ManifestLists:
    """`engine.manifests`. A list has a name of its own: an image may be called the same."""

    def __init__(self, images: Images) -> None:
        self._images, self._store = images, images.store

    def create(
        self,
        name: str,
        images: Sequence[str] = (),
        *,
        amend: bool = False,
        every: bool = False,
        annotations: dict[str, str] | None = None,
        progress: Progress | None = None,
    ) -> str:
        """Make a list of `images`, as `add` finds them, whole or not at all, and return its digest; with `amend` one that is
        there is added to.

        Raises Conflict where there is one, and as `add`.
        """
        full = _full(name)

        def edit(document: Document | None) -> Document:
            if document is not None and not amend:
                raise _there_already(full)
            return lists.annotated(document or lists.empty(), annotations or {})

        if not amend and self.exists(name):
            raise _there_already(full)  # before anything is fetched
        return self._extend(full, images, NOTHING, every, edit, progress)

    def add(
        self,
        name: str,
        images: Sequence[str],
        details: Details = NOTHING,
        *,
        every: bool = False,
        progress: Progress | None = None,
    ) -> str:
        """Add images to a list, all or none, and return the list's digest. Each is one of the store, else it is fetched from
        its registry; of one for several platforms that which `details` name, or this machine's, or with `every` all.

        Raises InvalidValue, NotFound, RegistryError, Untrusted, Unsupported, StorageError.
        """
        full = _full(name)
        lists.find(self._store, full)
        return self._extend(full, images, details, every, _of_one_there(full, lambda document: document), progress)

    def _extend(
        self,
        full: str,
        images: Sequence[str],
        details: Details,
        every: bool,
        begin: Callable[[Document | None], Document],
        progress: Progress | None,
    ) -> str:
        """Put images into what `begin` makes of a list's document."""
        with self._store.using():
            found = [one for image in images for one in self._bring(image, details, every, progress or Silent())]
            entries = [
                lists.entry_for(one, details.replace(annotations={**one.annotations, **details.annotations})) for one in found
            ]

            def edit(document: Document | None) -> Document:
                changed = begin(document)
                for entry in entries:
                    changed = lists.with_entry(changed, entry)
                return changed

            return lists.change(self._store, full, edit)

    def _bring(self, image: str, details: Details, every: bool, progress: Progress) -> Sequence[Descriptor]:
        try:
            known = self._images.get(image)
        except NotFound:
            return self._fetch(references.parse(image.removeprefix("docker://")), details, every, progress)
        return [self._store.descriptor_of(known).replace(annotations={}, platform=known.config.platform)]

    def _fetch(self, reference: Reference, details: Details, every: bool, progress: Progress) -> Sequence[Descriptor]:
        def choose(index: Index) -> Descriptor:
            from cratebox.image import platform

            host = platform.host()
            wanted = platform.normal(details.os or host.os, details.architecture or host.architecture, details.variant or "")
            return platform.choose(index.manifests, wanted, reference.familiar)

        registry = self._registry(reference, progress, bring=True)
        try:
            return lists.fetch(self._store, registry, every, choose, progress)
        except Unsupported as error:
            raise Unsupported(f"cannot add {reference.familiar}: {error.message}", error.hint) from None
        finally:
            registry.close()

    def _registry(self, reference: Reference, progress: Progress, bring: bool) -> Mirrored:
        """`bring`: images are to come from there, which the policy may not let in."""
        settings = speaking(self._images.paths, self._images.access)
        from cratebox.image.mirrors import Mirrored
        from cratebox.image.transport import Source

        if bring:
            settings.policy.check(Source("registry", reference=reference))
        return Mirrored(reference, settings, progress.message)

    def annotate(self, name: str, image: str, details: Details) -> str:
        """Say something else of a manifest of a list, named by its digest, a beginning of that,
        or the name of an image of the store.

        Return the list's new digest. Raises NotFound, InvalidValue, StorageError.
        """
        return self._change(name, lambda document: lists.detailed(document, self._digest(document, image), details))

    def annotate_list(self, name: str, annotations: dict[str, str]) -> str:
        """Give a list annotations of its own; return its new digest. Raises NotFound, StorageError."""
        return self._change(name, lambda document: lists.annotated(document, annotations))

    def remove(self, name: str, image: str) -> str:
        """Take a manifest out of a list, named as for `annotate`; return the list's new digest.
        Raises NotFound, StorageError.
        """
        return self._change(name, lambda document: lists.without(document, self._digest(document, image)))

    def _change(self, name: str, edit: Edit) -> str:
        full = _full(name)
        lists.find(self._store, full)
        with self._store.using():
            return lists.change(self._store, full, _of_one_there(full, edit))

    def _digest(self, document: Document, image: str) -> str:
        found = lists.digest_in(document, image)
        if found is not None:
            return found
        try:
            return self._images.get(image).manifest_digest
        except NotFound:
            raise NotFound(
                f"the list has no manifest {image}", "name it by its digest: crate manifest inspect shows them"
            ) from None

    def inspect(self, name: str) -> Document:
        """Return the document of a list; where there is none of that name, the manifest or index that a registry has for it.

        Raises NotFound, RegistryError, Untrusted, StorageError.
        """
        if self._is_list(name):
            return lists.read(self._store, _full(name))
        return self._ask(name, lists.document_of)

    def manifests_of(self, name: str) -> Sequence[Document]:
        """Return what `docker manifest inspect --verbose` shows: each manifest of a list, or of what a registry has for `name`.

        Raises as `inspect`.
        """
        if self._is_list(name):
            return lists.each_in(self._store, _full(name))
        return self._ask(name, lambda registry: lists.each_of(registry, str(references.parse(name.removeprefix("docker://")))))

    def _is_list(self, name: str) -> bool:
        try:
            return self.exists(name)
        except InvalidValue:  # a name with a digest
            return False

    def _ask(self, name: str, look: Callable[[Mirrored], T]) -> T:
        registry = self._registry(references.parse(name.removeprefix("docker://")), Silent(), bring=False)
        try:
            return look(registry)
        finally:
            registry.close()

    def push(self, name: str, destination: str | None = None, progress: Progress | None = None) -> Pushed:
        """Push a list, and the images it is made of, by its name or as `destination`. Raises InvalidValue, NotFound,
        RegistryError, Untrusted, StorageError.
        """
        full = _full(name)
        top = lists.find(self._store, full)
        target = references.nameable((destination or full).removeprefix("docker://"))
        settings = speaking(self._images.paths, self._images.access)
        from cratebox.image import push

        return push.send(self._store, top, target, settings, progress)

    def exists(self, name: str) -> bool:
        """Tell whether there is a list of that name. Raises InvalidValue, StorageError."""
        full = _full(name)
        return any(known == full for known, _ in lists.names(self._store))

    def list(self) -> Sequence[tuple[str, str, int]]:
        """Return (full name, digest, how many manifests it has) of each list. Raises StorageError."""
        return [
            (name, entry.digest, len(lists.read(self._store, name)["manifests"])) for name, entry in lists.names(self._store)
        ]

    def delete(self, name: str) -> str:
        """Remove a list and return its digest; the images that it was made of stay. Raises NotFound, StorageError."""
        return lists.delete(self._store, _full(name))


def _there_already(full: str) -> Conflict:
    return Conflict(f"there is a list of manifests {full} already", "--amend adds to it, crate manifest rm removes it")


def _of_one_there(full: str, edit: Edit) -> Callable[[Document | None], Document]:
    def edited(document: Document | None) -> Document:
        if document is None:
            raise NotFound(f"the list of manifests {full} was removed meanwhile")
        return edit(document)

    return edited


def _full(name: str) -> str:
    return str(references.nameable(name))
