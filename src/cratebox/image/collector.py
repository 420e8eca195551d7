"""What the store deletes: images by their names, and what no image needs any more.

Nothing is locked that a pull, or the making of a container, would wait for: while one of them uses the store, nothing is
deleted here (`deferred`), and the next one does it.
"""

from __future__ import annotations

from time import sleep

from cratebox.errors import Conflict, StorageError
from cratebox.image import across, index, locks
from cratebox.image import digest as digests
from cratebox.image import manifest as manifests
from cratebox.image.catalog import Catalog, StoredImage, is_called
from cratebox.image.manifest import Descriptor, Manifest
from cratebox.record import Record
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from cratebox.image.across import RunInside

    # IDs of the images that containers are made of, or what finds them: it is asked while nobody can make a container.
    InUse = Collection[str] | Callable[[], Collection[str]]

_TRIES, _PAUSE = 100, 0.02  # seconds; two of them is a prune's patience


class Removed(Record):
    """What `Store.remove`, `collect` and `prune` did. `deferred`: somebody used the store, the rest is left to the next one."""

    untagged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    deferred: bool = False
    freed: int = 0  # bytes of blobs, and of the files of layers


class Collector(Catalog):
    """The store's hand that deletes. Its directories are there (`Store.prepare`)."""

    def __init__(self, directory: str, run_inside: RunInside) -> None:
        super().__init__(directory)
        self._run_inside = run_inside

    def remove(self, name: str, in_use: InUse = (), *, force: bool = False, kept: Collection[str] = frozenset()) -> Removed:
        """See Store.remove."""
        exclusive = locks.try_hold(self._locks, "store")
        try:
            used = frozenset(in_use() if callable(in_use) else in_use)
            with locks.hold(self._locks, "index"):
                untagged = self._drop(name, used, force)
            if exclusive is None:
                return Removed(untagged=untagged, deferred=True)
            try:
                return self._collect(used, kept=kept).replace(untagged=untagged)
            except StorageError:  # what another image needs, whose manifest is damaged, nobody knows: all is kept for it
                return Removed(untagged=untagged, deferred=True)
        finally:
            if exclusive is not None:
                exclusive.release()

    def _drop(self, name: str, used: frozenset[str], force: bool) -> tuple[str, ...]:
        entries = index.read(self.directory)
        entry = self._resolve(entries, name)
        same = [other for other in entries if other.digest == entry.digest]
        names = tuple(found for found in map(index.name_of, same) if found)
        by_name = is_called(entry, name)
        if by_name and "@" in name and "@" not in index.name_of(entry):
            tagged = index.name_of(entry)
            raise Conflict(f"image {shown(name)} has the tag {tagged}, which would be gone with it", f"crate rmi {tagged}")
        if by_name and len(names) > 1:
            index.write(self.directory, [other for other in entries if other is not entry])
            return (index.name_of(entry),)
        if len(names) > 1 and not force:
            raise Conflict(f"image {shown(name)} has {len(names)} names: {', '.join(names)}", f"crate rmi -f {name}")
        in_use = bool(used) and self._is_used(entry, used)
        if in_use and not force:
            raise Conflict(f"image {shown(name)} is in use by a container", "remove the container first: crate rm")
        rest = [other for other in entries if other.digest != entry.digest]
        if in_use:
            rest = index.named(rest, "", index.unnamed(entry))
        index.write(self.directory, rest)
        return names

    def collect(self, in_use: InUse = (), *, partial: bool = False) -> Removed:
        """See Store.collect."""
        exclusive = locks.try_hold(self._locks, "store")
        if exclusive is None:
            return Removed(deferred=True)
        with exclusive:
            return self._collect(frozenset(in_use() if callable(in_use) else in_use), partial=partial)

    def _collect(self, used: frozenset[str], *, partial: bool = False, kept: Collection[str] = frozenset()) -> Removed:
        kept_blobs, kept_layers = (found.union(kept) for found in self._referenced(used))
        deleted, freed = self._blobs.collect(kept_blobs, partial=partial)
        unwanted = self._layers.unwanted(kept_layers)
        freed += sum(self._size_of(name) for name in unwanted)
        if unwanted:
            across.run(self._run_inside, lambda: self._layers.remove(unwanted))
        locks.sweep(self._locks)
        layers = tuple(f"sha256:{name}" for name in unwanted if not name.startswith("."))
        # Where a layer was stored as it is, uncompressed, blob and layer have one digest.
        return Removed(deleted=tuple(dict.fromkeys((*deleted, *layers))), freed=freed)

    def _size_of(self, name: str) -> int:
        return self.layer_size(f"sha256:{name}") if digests.is_digest(f"sha256:{name}") else 0

    def prune(self, chosen: Callable[[StoredImage], bool], in_use: InUse) -> Removed:
        """See Store.prune."""
        exclusive = self._exclusive()
        if exclusive is None:
            return Removed(deferred=True)
        with exclusive:
            used = frozenset(in_use() if callable(in_use) else in_use)
            with locks.hold(self._locks, "index"):
                unwanted = [image for image in self.images() if image.id not in used and chosen(image)]
                gone = {image.manifest_digest for image in unwanted}
                if gone:
                    kept = [entry for entry in index.read(self.directory) if entry.digest not in gone]
                    index.write(self.directory, kept)
            names = tuple(name for image in unwanted for name in image.names)
            return self._collect(used, partial=True).replace(untagged=names)

    def _exclusive(self) -> locks.Lock | None:
        """Return the lock that nobody else has, or None: whoever makes a container has it for milliseconds,
        a pull for minutes.
        """
        for _ in range(_TRIES):
            held = locks.try_hold(self._locks, "store")
            if held is not None:
                return held
            sleep(_PAUSE)
        return None

    def _referenced(self, used: frozenset[str]) -> tuple[set[str], set[str]]:
        """Return the digests of blobs and the diff IDs of layers that something refers to."""
        kept: set[str] = set(used)
        diff_ids: set[str] = set()
        for entry in index.read(self.directory):
            kept.add(entry.digest)
            if entry.media_type in manifests.MANIFEST_TYPES:
                manifest = self._manifest(entry)
                kept |= {manifest.config.digest, *(layer.digest for layer in manifest.layers)}
                diff_ids.update(self._config(manifest).diff_ids)
            else:
                kept |= self._nested(entry)
        # The blob of a layer that was stored as it is, uncompressed, has the digest of its diff ID.
        for digest in used - diff_ids:
            if self._blobs.has(digest) and not self.has_layer(digest):
                diff_ids.update(manifests.parse_config(self._blobs.read(digest, manifests.MAX_DOCUMENT)).diff_ids)
        return kept, diff_ids | used

    def blob_usage(self, in_use: InUse = ()) -> tuple[int, int, int, int]:
        """See Store.blob_usage."""
        sizes = self._blobs.sizes()
        try:
            needed: Collection[str] = self._referenced(frozenset(in_use() if callable(in_use) else in_use))[0]
        except StorageError:
            needed = sizes
        free = sum(size for digest, size in sizes.items() if digest not in needed)
        return len(sizes), sum(digest in needed for digest in sizes), sum(sizes.values()), free

    def _nested(self, entry: Descriptor) -> set[str]:
        """What an index refers to, one level deep, that another tool put in; crate itself keeps single manifests."""
        if entry.media_type not in manifests.INDEX_TYPES or not self._blobs.has(entry.digest):
            return set()
        kept: set[str] = set()
        document = manifests.parse(self._blobs.read(entry.digest, manifests.MAX_DOCUMENT), entry.media_type)
        for child in document.manifests if not isinstance(document, Manifest) else ():
            kept.add(child.digest)
            if child.media_type in manifests.MANIFEST_TYPES and self._blobs.has(child.digest):
                manifest = self._manifest(child)
                kept |= {manifest.config.digest, *(layer.digest for layer in manifest.layers)}
        return kept
