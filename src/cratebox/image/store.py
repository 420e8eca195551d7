"""The store of images: what was pulled, verified and unpacked, in one directory that other tools can read as well.

    DIRECTORY/oci-layout, index.json, blobs/sha256/HEX     an OCI image layout: `skopeo copy oci:DIRECTORY:NAME ...` reads it
    DIRECTORY/blobs/.partial/sha256-HEX                    downloads that are not whole
    DIRECTORY/layers/HEX/fs, layers/HEX/layer.json         layers unpacked, by diff ID: overlayfs lower directories
    DIRECTORY/locks/                                       see locks.py

How a pull uses it (pull.py), every step safe to be killed at:

    with store.using():                                    # nothing that this pull finds can be collected meanwhile
        store.put(manifest_descriptor, raw_manifest)       # small blobs
        store.put(config_descriptor, raw_config)
        # for each layer, side by side, each in a process of its own:
        if not store.has_layer(diff_id) or not store.has_blob(layer.digest):
            store.ingest(layer, diff_id, open_from)        # open_from(offset) -> the compressed bytes from there, in chunks
        store.name_blobs(small)                            # those that were ingested with named_later, all at once
        store.tag(str(reference), manifest_descriptor, source_digest)     # last

`ingest` waits for whoever downloads the same blob, resumes what was begun, hashes while it writes, and unpacks the same
bytes in the same pass. It retries nothing of the network: a generator that `open_from` returns may, by Range.

Rootless, the files of layers belong to subordinate ids: whatever unpacks or deletes them runs through `run_inside`, which
forks into a user namespace where they are mapped. So `open_from` may be called in another process than `ingest` was, and
what it changes in memory is lost there; pipes and sockets work.

Reading never locks. It needs index.json, the manifest and the config, and one small file for each layer.

Why a pull holds the lock `store` (shared) while the network works: it skips what is there already, and must be able to
rely on that until its tag refers to it. The only one this delays is the collector, and it does not wait: what it could not
delete now is deleted by the next. A pull that stalls is ended by its own timeouts, and the kernel frees a dead one's lock.
"""

from __future__ import annotations

import os

from cratebox.errors import NotFound, StorageError, Untrusted
from cratebox.image import across, blobs, index, locks
from cratebox.image.across import call_directly
from cratebox.image.catalog import Catalog, StoredImage, entry_of
from cratebox.image.manifest import Descriptor
from cratebox.paths import private_directory
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from cratebox.image.across import RunInside
    from cratebox.image.blob_writer import BlobWriter
    from cratebox.image.collector import Collector, InUse, Removed
    from cratebox.image.intake import Intake
    from cratebox.image.new_layer import NewLayer
    from cratebox.image.settling import Settling

__all__ = ["Store", "StoredImage", "call_directly"]


class Store(Catalog):
    """The images below `directory`.

    `userxattr`: whiteouts and opaque directories are written for an overlay mounted with that option (rootless).
    `owners`: "keep", or "record" where the id map has one id only: owners that cannot be set are written down instead.
    """

    def __init__(
        self, directory: str, run_inside: RunInside = call_directly, *, userxattr: bool = False, owners: str = "keep"
    ) -> None:
        super().__init__(directory)
        self.run_inside = run_inside
        self.userxattr, self.owners = userxattr, owners
        self._ready = False

    def layer_directories(self, image: StoredImage) -> tuple[str, ...]:
        """Return the image's unpacked layers, absolute paths, lowest first. Raises StorageError where one is damaged.

        A layer that is not unpacked (another tool copied the image in; the power failed just after a pull) is unpacked
        from its blob now. A layer that is there twice is returned once, where it is highest: overlayfs refuses the same
        directory twice, and nothing of the lower one could be seen.
        """
        if any(self._layers.read(diff_id) is None for diff_id in image.layers):
            self.restore(image)
        return tuple(
            self._layers.path(diff_id) + "/fs"
            for position, diff_id in enumerate(image.layers)
            if diff_id not in image.layers[position + 1 :]
        )

    def prepare(self) -> None:
        """Make the directories where they are not there. Raises StorageError, also where the store is somebody else's."""
        if self._ready:
            return
        private_directory(self.directory)
        try:
            for name in ("locks", "layers", "blobs", "blobs/sha256", "blobs/sha512", "blobs/.partial"):
                os.makedirs(f"{self.directory}/{name}", 0o700, exist_ok=True)
            index.reserve(self.directory)
            if not os.path.exists(self.directory + "/oci-layout"):
                with locks.hold(self._locks, "index"):
                    blobs.replace_file(self.directory + "/oci-layout", index.LAYOUT)
        except OSError as error:
            raise blobs.storage_failure(f"cannot make the store {self.directory}", error) from None
        self._ready = True

    def using(self) -> locks.Lock:
        """Hold off `collect` while the returned context lasts: for pulls, and while a container's record is made."""
        self.prepare()
        return locks.hold(self._locks, "store", shared=True)

    def _intake(self) -> Intake:
        from cratebox.image.intake import Intake

        return Intake(self._blobs, self._layers, userxattr=self.userxattr, owners=self.owners)

    def writer(self, descriptor: Descriptor) -> BlobWriter:
        """Return what writes this blob; it waits for whoever writes it now. See blob_writer.py."""
        self.prepare()
        return self._blobs.writer(descriptor)

    def put(self, descriptor: Descriptor, data: bytes) -> None:
        """Store a small blob. Raises Untrusted where it is not what the descriptor says, StorageError."""
        self.prepare()
        self._blobs.put(descriptor, data)

    def ingest(
        self, descriptor: Descriptor, diff_id: str, open_from: Callable[[int], Iterable[bytes]], *, named_later: bool = False
    ) -> None:
        """Make a layer's blob and its unpacked tree be there, reading each byte once.

        `named_later`: the blob gets its name by `name_blobs`, which the caller does once for many small ones.

        `open_from(offset)` returns the compressed bytes from there to the end, in chunks of any size (64 kB to 1 MB are
        best). Raises Untrusted (wrong size, digest, diff ID, hostile tar: nothing is kept), StorageError (disk full, ...)
        and what `open_from` raises; then what was downloaded is kept for the next attempt.
        """
        self.prepare()
        across.run(self.run_inside, lambda: self._intake().ingest(descriptor, diff_id, open_from, named_later=named_later))

    def name_blobs(self, descriptors: Iterable[Descriptor]) -> None:
        """Put blobs on the disk that were left whole, and give them their names. Raises Untrusted, StorageError."""
        self._blobs.commit_together(descriptors)

    def unpack_blob(self, descriptor: Descriptor, diff_id: str) -> None:
        """Unpack a layer whose blob is there, where it is not unpacked yet. Raises NotFound, Untrusted, StorageError."""
        self.prepare()
        if not self.has_layer(diff_id):
            across.run(self.run_inside, lambda: self._intake().unpack_blob(descriptor, diff_id))

    def new_layer(self, archive: Iterator[bytes], *, even_empty: bool = False) -> NewLayer:
        """Make a layer of a plain tar: its blob and its tree. To be called where the id map of the containers is (run_inside).
        One without an entry is kept with `even_empty` alone.

        Nothing refers to it yet: the caller is `using` the store until it has tagged an image. Raises StorageError.
        """
        from cratebox.image import new_layer

        return new_layer.take(
            self._blobs, self._layers, archive, userxattr=self.userxattr, owners=self.owners, even_empty=even_empty
        )

    def compare(self, descriptor: Descriptor, diff_id: str, difference: Callable[[int, int], str]) -> str:
        """Unpack a blob once more, beside, and return the `difference` of the layer's directory and that. To be called where
        the id map of the containers is. Raises NotFound, Untrusted, StorageError, Conflict where there is no room for that.
        """
        return self._intake().compare(descriptor, diff_id, difference)

    def replace_layer(self, descriptor: Descriptor, diff_id: str) -> None:
        """Unpack a layer from its blob in place of what is there. Raises NotFound, Untrusted, StorageError."""
        self.prepare()

        with self.using():
            across.run(self.run_inside, lambda: self._intake().unpack_blob(descriptor, diff_id, replace=True))

    def discard_blob(self, digest: str) -> None:
        """Delete a blob that is damaged, so that it is fetched again. Raises Untrusted, StorageError."""
        self._blobs.delete(digest)

    def forget(self, digest: str) -> None:
        """Take the image with this manifest out of the index, with all of its names. What it had is left to `collect`."""
        with locks.hold(self._locks, "index"):
            index.write(self.directory, [entry for entry in index.read(self.directory) if entry.digest != digest])

    def restore(self, image: StoredImage) -> None:
        """Unpack again, from their blobs, those layers of `image` that are missing or damaged. Raises StorageError."""
        with self.using():
            manifest = self._manifest(entry_of(image, index.read(self.directory)))
            for layer, diff_id in zip(manifest.layers, image.layers, strict=True):
                try:
                    self.unpack_blob(layer, diff_id)
                except (NotFound, Untrusted) as error:
                    raise StorageError(
                        f"layer {diff_id} of image {image.id} is lost: {error}", "remove the image and pull it again"
                    ) from None
        # Once is enough: without this they would be unpacked again after every reboot.
        self.settle_later()

    def tag(self, name: str, manifest: Descriptor, source_digest: str | None = None) -> StoredImage:
        """Give an image its canonical `name` ("" for none): the last step of a pull, all or nothing, on the disk on return.

        `source_digest` is what the registry said the name stands for (an index or the manifest), None for what is from none.
        Everything the manifest needs must be there: StorageError where not. An image that had the name stays, without one,
        unless it is the same one by its ID, in another packing.
        """
        self.prepare()
        document = self._manifest(manifest)
        config = self._config(document)
        size = sum(self._check_layer(layer, diff_id) for layer, diff_id in zip(document.layers, config.diff_ids, strict=True))
        annotations = {index.UNPACKED_SIZE: str(size)} | ({index.SOURCE_DIGEST: source_digest} if source_digest else {})
        entry = manifest.replace(media_type=document.media_type, annotations=annotations, platform=config.platform, urls=())
        with locks.hold(self._locks, "index"):
            before = index.read(self.directory)
            entries = index.named(before, name, index.timed(before, name, entry))
            entries = self._without_twin(entries, before, name, document.config.digest)
            if entries != before:
                self._blobs.sync_names()
                index.write(self.directory, entries)
        return self._image(entry, entries)

    def _without_twin(self, entries: list[Descriptor], before: list[Descriptor], name: str, identity: str) -> list[Descriptor]:
        """Leave out the entry that has just lost its last name, where it is of an image of the same ID."""
        losers = {entry.digest for entry in before if name and index.name_of(entry) == name}
        return [
            entry
            for entry in entries
            if index.name_of(entry) or entry.digest not in losers or not self._is_used(entry, frozenset((identity,)))
        ]

    def _check_layer(self, layer: Descriptor, diff_id: str) -> int:
        record = self._layers.read(diff_id)
        if record is None or not self._blobs.has(layer.digest):
            raise StorageError(f"layer {diff_id} is not in the store: its image cannot be tagged")
        return record.size

    def edit_index(self, change: Callable[[list[Descriptor]], list[Descriptor]]) -> None:
        """Replace the entries of index.json by what `change` makes of them, while nobody else does; the names of all blobs are
        on the disk before. Raises what `change` raises, StorageError.
        """
        self.prepare()
        with locks.hold(self._locks, "index"):
            before = index.read(self.directory)
            entries = change(before)
            if entries != before:
                self._blobs.sync_names()
                index.write(self.directory, entries)

    def untag(self, name: str) -> None:
        """Take a canonical name from its image, which stays. Raises NotFound, StorageError."""
        self.prepare()
        with locks.hold(self._locks, "index"):
            entries = index.read(self.directory)
            entry = next((entry for entry in entries if index.name_of(entry) == name), None)
            if entry is None:
                raise NotFound(f"image {shown(name)}: not in the store")
            rest = [other for other in entries if other is not entry]
            index.write(self.directory, index.named(rest, "", index.unnamed(entry)))

    def remove(self, name: str, in_use: InUse = (), *, force: bool = False, kept: Collection[str] = frozenset()) -> Removed:
        """Remove an image as `docker rmi` does: one of several names is only untagged; the last one removes the image.

        Raises NotFound, and Conflict where the image is in use or an ID has several names; `force` then takes all names
        away, and the image only where it is not in use. What it had alone is collected, or left to a later `collect`; so are
        blobs and layers that are `kept` (digests and diff IDs).
        """
        self.prepare()
        return self._collector().remove(name, in_use, force=force, kept=kept)

    def collect(self, in_use: InUse = (), *, partial: bool = False) -> Removed:
        """Delete blobs and layers that no image refers to, and what crashes left. Does not wait for pulls: see `deferred`.

        `in_use`: as for `remove`, and diff IDs; those layers stay even where nothing else refers to them. `partial`:
        unfinished downloads of the last day as well. Raises StorageError where a manifest is damaged, for then nobody knows
        what it needs.
        """
        self.prepare()
        return self._collector().collect(in_use, partial=partial)

    def prune(self, chosen: Callable[[StoredImage], bool], in_use: InUse) -> Removed:
        """Remove all images that are `chosen` and not in use, and what nothing refers to, unfinished downloads as well.

        What a pull or the making of a container goes on with stays: while somebody uses the store nothing is removed
        (`deferred`), after a moment's patience. Raises StorageError where it is damaged, for then nobody knows what is needed.
        """
        self.prepare()
        return self._collector().prune(chosen, in_use)

    def blob_usage(self, in_use: InUse = ()) -> tuple[int, int, int, int]:
        """Return how many blobs there are, how many of them are needed, their bytes, and the bytes of those that are not.

        What is downloaded now, or was begun, counts as not needed. Where a manifest is damaged all are.
        """
        return self._collector().blob_usage(in_use)

    def _collector(self) -> Collector:
        from cratebox.image.collector import Collector

        return Collector(self.directory, self.run_inside)

    def settle(self) -> None:
        """Put unpacked layers on the disk (syncfs) and write down that they are. See snapshot.py. Raises StorageError."""
        self.prepare()
        self._layers.settle()

    def pulling(self) -> locks.Lock:
        """Hold off the work that is done after pulls while the returned context lasts: it would be in the way of one."""
        self.prepare()
        return locks.hold(self._locks, "pull", shared=True)

    def litter(self) -> int:
        """Return how many half-made and half-deleted layers killed pulls have left, which `sweep` deletes."""
        return len(self._layers.dead())

    def sweep(self) -> None:
        """Delete what killed pulls have left and nobody holds, save what the next one can go on with. Raises StorageError."""
        self._settling().sweep()

    def settle_later(self) -> None:
        """Do what `settle` and `sweep` do in a process that nobody waits for, while nobody pulls. See settling.py."""
        self._settling().later()

    def _settling(self) -> Settling:
        from cratebox.image.settling import Settling

        self.prepare()
        return Settling(self._blobs, self._layers, self._locks, self.run_inside)

    def wait_until_settled(self) -> None:
        """Wait for the process that `settle_later` started, if there is one."""
        self.prepare()
        locks.hold(self._locks, "settle").release()
