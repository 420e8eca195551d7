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

from cratebox import errors, jsontext
from cratebox.errors import Conflict, CrateError, InvalidValue, NotFound, StorageError, Untrusted
from cratebox.image import blobs, index, locks, snapshot
from cratebox.image import digest as digests
from cratebox.image import manifest as manifests
from cratebox.image import reference as references
from cratebox.image.manifest import Descriptor, ImageConfig, Manifest
from cratebox.paths import private_directory
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from cratebox.image.reference import Reference

    # Runs the callable in a process that may chown to all ids of the map, and returns what it returned.
    RunInside = Callable[[Callable[[], bytes]], bytes]
    # IDs of the images that containers are made of, or what finds them: it is asked while nobody can make a container.
    InUse = Collection[str] | Callable[[], Collection[str]]

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class StoredImage(Record):
    """An image that is in the store, whole."""

    id: str  # "sha256:...", the digest of its config
    manifest_digest: str
    names: tuple[str, ...]  # canonical: docker.io/library/alpine:latest
    repo_digests: tuple[str, ...]  # docker.io/library/alpine@sha256:...
    created: str  # RFC 3339, or empty
    size: int  # bytes of its layers, unpacked
    config: ImageConfig
    layers: tuple[str, ...]  # diff IDs, lowest first


class Removed(Record):
    """What `Store.remove` and `Store.collect` did. `deferred`: somebody used the store, the rest is left to the next one."""

    untagged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    deferred: bool = False
    freed: int = 0  # bytes of blobs


def call_directly(work: Callable[[], bytes]) -> bytes:
    """The `run_inside` of a store whose files all belong to the caller, or whose caller is root."""
    return work()


class Store:
    """The images below `directory`.

    `userxattr`: whiteouts and opaque directories are written for an overlay mounted with that option (rootless).
    `owners`: "keep", or "record" where the id map has one id only: owners that cannot be set are written down instead.
    """

    def __init__(
        self, directory: str, run_inside: RunInside = call_directly, *, userxattr: bool = False, owners: str = "keep"
    ) -> None:
        self.directory = directory
        self.run_inside = run_inside
        self.userxattr, self.owners = userxattr, owners
        self._locks = directory + "/locks"
        self._blobs = blobs.Blobs(directory)
        self._layers = snapshot.Layers(directory + "/layers", self._locks)
        self._ready = False

    # Reading: no locks, nothing written.

    def find(self, name: Reference | str) -> StoredImage:
        """Return the image of that name, digest, ID or unique prefix of an ID. Raises NotFound, Conflict, StorageError."""
        entries = index.read(self.directory)
        return self._image(self._resolve(entries, name), entries)

    def images(self) -> list[StoredImage]:
        """Return all images, in the order they came. Raises StorageError."""
        entries = index.read(self.directory)
        first = {entry.digest: entry for entry in reversed(entries) if entry.media_type in manifests.MANIFEST_TYPES}
        return [self._image(entry, entries) for entry in reversed(first.values())]

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

    def has_blob(self, digest: str) -> bool:
        """Tell whether the blob is there, whole and verified. Raises Untrusted where `digest` is none."""
        return self._blobs.has(digest)

    def read_blob(self, digest: str, limit: int) -> bytes:
        """Return a small blob, checked against its digest. Raises NotFound, StorageError."""
        return self._blobs.read(digest, limit)

    def open_blob(self, digest: str) -> int:
        """Open a blob for reading; return the descriptor, the caller's to close. Raises NotFound, StorageError."""
        return self._blobs.open(digest)

    def has_layer(self, diff_id: str) -> bool:
        """Tell whether this layer is unpacked. Raises Untrusted where `diff_id` is none."""
        try:
            return self._layers.read(diff_id) is not None
        except StorageError:
            return False

    def _resolve(self, entries: list[Descriptor], name: Reference | str) -> Descriptor:
        """Find the entry that `name` means: names first, as Docker does."""
        text = name if isinstance(name, str) else str(name)
        try:
            reference = references.parse(name) if isinstance(name, str) else name
        except InvalidValue:
            reference = None
        if reference is not None:
            for entry in entries:
                if entry.media_type in manifests.MANIFEST_TYPES and _is_named(entry, reference):
                    return entry
        found = self._by_id(entries, text) if isinstance(name, str) else {}
        if len(found) > 1:
            raise Conflict(f"image {digests.shown(text)}: {len(found)} images have an ID that begins so")
        if not found:
            shown = text if reference is not None else digests.shown(text)
            raise NotFound(f"image {shown}: not in the store", f"crate pull {shown}" if reference is not None else None)
        return next(iter(found.values()))

    def _by_id(self, entries: list[Descriptor], text: str) -> dict[str, Descriptor]:
        prefix = text.removeprefix("sha256:").lower()
        if len(prefix) < 3 or not set(prefix) <= set("0123456789abcdef"):
            return {}
        found: dict[str, Descriptor] = {}
        for entry in entries:
            if entry.media_type in manifests.MANIFEST_TYPES:
                identity = self._manifest(entry).config.digest
                if identity.partition(":")[2].startswith(prefix):
                    found.setdefault(identity, entry)
        return found

    def _manifest(self, entry: Descriptor) -> Manifest:
        try:
            found = manifests.parse(self._blobs.read(entry.digest, manifests.MAX_DOCUMENT), entry.media_type)
            if isinstance(found, Manifest):
                return found
            raise Untrusted("it is an index")
        except (Untrusted, NotFound) as error:
            raise self._broken(entry.digest, error) from None

    def _config(self, manifest: Manifest) -> ImageConfig:
        try:
            config = manifests.parse_config(self._blobs.read(manifest.config.digest, manifests.MAX_DOCUMENT))
        except (Untrusted, NotFound) as error:
            raise self._broken(manifest.config.digest, error) from None
        if len(config.diff_ids) != len(manifest.layers):
            raise self._broken(
                manifest.config.digest,
                Untrusted(f"it has {len(config.diff_ids)} diff IDs for the {len(manifest.layers)} layers of its manifest"),
            )
        return config

    def _broken(self, digest: str, error: CrateError) -> StorageError:
        return StorageError(f"damaged: {self._blobs.path(digest)}: {error}", "remove the image and pull it again")

    def _image(self, entry: Descriptor, entries: list[Descriptor]) -> StoredImage:
        manifest = self._manifest(entry)
        config = self._config(manifest)
        same = [other for other in entries if other.digest == entry.digest]
        return StoredImage(
            id=manifest.config.digest,
            manifest_digest=entry.digest,
            names=tuple(name for name in map(index.name_of, same) if name),
            repo_digests=_repo_digests(same),
            created=config.created,
            size=max(_size(other) for other in same),
            config=config,
            layers=config.diff_ids,
        )

    # Writing.

    def prepare(self) -> None:
        """Make the directories where they are not there. Raises StorageError, also where the store is somebody else's."""
        if self._ready:
            return
        private_directory(self.directory)
        try:
            for name in ("locks", "layers", "blobs", "blobs/sha256", "blobs/sha512", "blobs/.partial"):
                os.makedirs(f"{self.directory}/{name}", 0o700, exist_ok=True)
            if not os.path.exists(self.directory + "/oci-layout"):
                with locks.hold(self._locks, "index"):
                    blobs.replace_file(self.directory + "/oci-layout", _LAYOUT)
        except OSError as error:
            raise blobs.storage_failure(f"cannot make the store {self.directory}", error) from None
        self._ready = True

    def using(self) -> locks.Lock:
        """Hold off `collect` while the returned context lasts: for pulls, and while a container's record is made."""
        self.prepare()
        return locks.hold(self._locks, "store", shared=True)

    def writer(self, descriptor: Descriptor) -> blobs.BlobWriter:
        """Return what writes this blob; it waits for whoever writes it now. See blobs.BlobWriter."""
        self.prepare()
        return self._blobs.writer(descriptor)

    def put(self, descriptor: Descriptor, data: bytes) -> None:
        """Store a small blob. Raises Untrusted where it is not what the descriptor says, StorageError."""
        self.prepare()
        self._blobs.put(descriptor, data)

    def ingest(self, descriptor: Descriptor, diff_id: str, open_from: Callable[[int], Iterable[bytes]]) -> None:
        """Make a layer's blob and its unpacked tree be there, reading each byte once.

        `open_from(offset)` returns the compressed bytes from there to the end, in chunks of any size (64 kB to 1 MB are
        best). Raises Untrusted (wrong size, digest, diff ID, hostile tar: nothing is kept), StorageError (disk full, ...)
        and what `open_from` raises; then what was downloaded is kept for the next attempt.
        """
        self.prepare()
        self._inside(lambda: self._ingest(descriptor, diff_id, open_from))

    def unpack_blob(self, descriptor: Descriptor, diff_id: str) -> None:
        """Unpack a layer whose blob is there, where it is not unpacked yet. Raises NotFound, Untrusted, StorageError."""
        self.prepare()
        if not self.has_layer(diff_id):
            self._inside(lambda: self._unpack_blob(descriptor, diff_id))

    def restore(self, image: StoredImage) -> None:
        """Unpack again, from their blobs, those layers of `image` that are missing or damaged. Raises StorageError."""
        with self.using():
            manifest = self._manifest(_descriptor_of(image, index.read(self.directory)))
            for layer, diff_id in zip(manifest.layers, image.layers, strict=True):
                try:
                    self.unpack_blob(layer, diff_id)
                except (NotFound, Untrusted) as error:
                    raise StorageError(
                        f"layer {diff_id} of image {image.id} is lost: {error}", "remove the image and pull it again"
                    ) from None
        # Once is enough: without this they would be unpacked again after every reboot.
        self.settle()

    def tag(self, name: str, manifest: Descriptor, source_digest: str | None = None) -> StoredImage:
        """Give an image its canonical `name` ("" for none): the last step of a pull, all or nothing, on the disk on return.

        `source_digest` is what the registry said the name stands for (an index or the manifest). Everything the manifest
        needs must be there: StorageError where not. An image that had the name stays, without one.
        """
        self.prepare()
        document = self._manifest(manifest)
        config = self._config(document)
        size = sum(self._check_layer(layer, diff_id) for layer, diff_id in zip(document.layers, config.diff_ids, strict=True))
        annotations = {index.UNPACKED_SIZE: str(size), index.SOURCE_DIGEST: source_digest or manifest.digest}
        entry = manifest.replace(media_type=document.media_type, annotations=annotations, platform=config.platform, urls=())
        with locks.hold(self._locks, "index"):
            before = index.read(self.directory)
            entries = index.named(before, name, entry)
            if entries != before:
                index.write(self.directory, entries)
        return self._image(entry, entries)

    def _check_layer(self, layer: Descriptor, diff_id: str) -> int:
        record = self._layers.read(diff_id)
        if record is None or not self._blobs.has(layer.digest):
            raise StorageError(f"layer {diff_id} is not in the store: its image cannot be tagged")
        return record.size

    def untag(self, name: str) -> None:
        """Take a canonical name from its image, which stays. Raises NotFound, StorageError."""
        self.prepare()
        with locks.hold(self._locks, "index"):
            entries = index.read(self.directory)
            entry = next((entry for entry in entries if index.name_of(entry) == name), None)
            if entry is None:
                raise NotFound(f"image {digests.shown(name)}: not in the store")
            rest = [other for other in entries if other is not entry]
            index.write(self.directory, index.named(rest, "", index.unnamed(entry)))

    def remove(self, name: str, in_use: InUse = (), *, force: bool = False) -> Removed:
        """Remove an image as `docker rmi` does: one of several names is only untagged; the last one removes the image.

        Raises NotFound, and Conflict where the image is in use or an ID has several names; `force` then takes all names
        away, and the image only where it is not in use. What it had alone is collected, or left to a later `collect`.
        """
        self.prepare()
        exclusive = locks.try_hold(self._locks, "store")
        try:
            used = frozenset(in_use() if callable(in_use) else in_use)
            with locks.hold(self._locks, "index"):
                untagged = self._drop(name, used, force)
            if exclusive is None:
                return Removed(untagged=untagged, deferred=True)
            return self._collect(used).replace(untagged=untagged)
        finally:
            if exclusive is not None:
                exclusive.release()

    def _drop(self, name: str, used: frozenset[str], force: bool) -> tuple[str, ...]:
        entries = index.read(self.directory)
        entry = self._resolve(entries, name)
        same = [other for other in entries if other.digest == entry.digest]
        names = tuple(found for found in map(index.name_of, same) if found)
        by_name = _is_called(entry, name)
        if by_name and len(names) > 1:
            index.write(self.directory, [other for other in entries if other is not entry])
            return (index.name_of(entry),)
        if len(names) > 1 and not force:
            raise Conflict(f"image {digests.shown(name)} has {len(names)} names: {', '.join(names)}", f"crate rmi -f {name}")
        in_use = bool(used) and self._manifest(entry).config.digest in used
        if in_use and not force:
            raise Conflict(f"image {digests.shown(name)} is in use by a container", "remove the container first: crate rm")
        rest = [other for other in entries if other.digest != entry.digest]
        if in_use:
            rest = index.named(rest, "", index.unnamed(entry))
        index.write(self.directory, rest)
        return names

    def collect(self, in_use: InUse = (), *, partial: bool = False) -> Removed:
        """Delete blobs and layers that no image refers to, and what crashes left. Does not wait for pulls: see `deferred`.

        `in_use`: as for `remove`; their layers stay even where nothing else refers to them. `partial`: unfinished
        downloads of the last day as well. Raises StorageError where a manifest is damaged, for then nobody knows what it
        needs.
        """
        self.prepare()
        exclusive = locks.try_hold(self._locks, "store")
        if exclusive is None:
            return Removed(deferred=True)
        with exclusive:
            return self._collect(frozenset(in_use() if callable(in_use) else in_use), partial=partial)

    def _collect(self, used: frozenset[str], *, partial: bool = False) -> Removed:
        kept_blobs, kept_layers = self._referenced(used)
        deleted, freed = self._blobs.collect(kept_blobs, partial=partial)
        unwanted = self._layers.unwanted(kept_layers)
        if unwanted:
            self._inside(lambda: self._layers.remove(unwanted))
        locks.sweep(self._locks)
        layers = tuple(f"sha256:{name}" for name in unwanted if not name.startswith("."))
        return Removed(deleted=(*deleted, *layers), freed=freed)

    def _referenced(self, used: frozenset[str]) -> tuple[set[str], set[str]]:
        """Return the digests of blobs and the diff IDs of layers that something refers to."""
        kept, diff_ids = set(used), set[str]()
        for entry in index.read(self.directory):
            kept.add(entry.digest)
            if entry.media_type in manifests.MANIFEST_TYPES:
                manifest = self._manifest(entry)
                kept |= {manifest.config.digest, *(layer.digest for layer in manifest.layers)}
                diff_ids.update(self._config(manifest).diff_ids)
            else:
                kept |= self._nested(entry)
        for digest in used:
            if self._blobs.has(digest):
                diff_ids.update(manifests.parse_config(self._blobs.read(digest, manifests.MAX_DOCUMENT)).diff_ids)
        return kept, diff_ids

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

    def settle(self) -> None:
        """Put unpacked layers on the disk (syncfs) and write down that they are. See snapshot.py. Raises StorageError."""
        self.prepare()
        self._layers.settle()

    def settle_later(self) -> None:
        """Do what `settle` does in a process that nobody waits for: a pull is done when its image can run.

        It holds no descriptor of the caller's, so no lock and no pipe; what fails there is done by `restore`, if ever needed.
        """
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            return
        try:
            # Before the second fork: the caller waits for the first child, so its locks are its own again when it goes on.
            os.closerange(0, os.sysconf("SC_OPEN_MAX"))
            for _ in range(3):
                os.open("/dev/null", os.O_RDWR)
            if os.fork() == 0:
                os.setsid()
                self.settle()
        finally:
            os._exit(0)

    # Inside of the id map.

    def _ingest(self, descriptor: Descriptor, diff_id: str, open_from: Callable[[int], Iterable[bytes]]) -> None:
        with self._blobs.writer(descriptor) as writer:
            if writer.done:
                if not self.has_layer(diff_id):
                    self._unpack_blob(descriptor, diff_id)
                return
            resumed = writer.offset > 0
            try:
                self._download(writer, descriptor, diff_id, open_from)
            except Untrusted:
                if not resumed or writer.offset < descriptor.size:
                    raise
            else:
                return
        # The part from an earlier attempt was bad: once more, from the start.
        self._ingest(descriptor, diff_id, open_from)

    def _download(
        self, writer: blobs.BlobWriter, descriptor: Descriptor, diff_id: str, open_from: Callable[[int], Iterable[bytes]]
    ) -> None:
        chunks = _tee(writer, open_from)
        if self.has_layer(diff_id):
            for _ in chunks:
                pass
            writer.commit()
            return
        try:
            pending = self._layers.unpack(chunks, descriptor.media_type, diff_id, userxattr=self.userxattr, owners=self.owners)
        except Untrusted:
            # Bytes that were damaged on the way look like a hostile layer. The digest tells which of the two it is.
            for _ in chunks:
                pass
            writer.verify()
            writer.discard()
            raise
        try:
            writer.commit()
            pending.publish()
        finally:
            pending.discard()

    def _unpack_blob(self, descriptor: Descriptor, diff_id: str) -> None:
        with open(self._blobs.open(descriptor.digest), "rb", buffering=0) as file:
            pending = self._layers.unpack(file, descriptor.media_type, diff_id, userxattr=self.userxattr, owners=self.owners)
        pending.publish()

    def _inside(self, work: Callable[[], None]) -> None:
        """Run `work` through `run_inside`. Its errors come back as what they were, whatever process it ran in."""
        if self.run_inside is call_directly:
            work()
            return
        answer = self.run_inside(lambda: _answer(work))
        try:
            failed, kind, message, hint = jsontext.loads(answer)
        except (jsontext.JSONError, ValueError, TypeError):
            raise StorageError("the process that unpacks and deletes layers ended without an answer") from None
        if failed:
            raise getattr(errors, kind)(message, hint)


def _answer(work: Callable[[], None]) -> bytes:
    try:
        work()
    except CrateError as error:
        # A room may have kinds of its own; what crosses is the one of errors.py that they are.
        kind = next(each.__name__ for each in type(error).__mro__ if getattr(errors, each.__name__, None) is each)
        return jsontext.dumps([True, kind, error.message, error.hint]).encode()
    except Exception as error:  # noqa: BLE001  the process ends with this answer; a traceback there would reach nobody
        return jsontext.dumps([True, "CrateError", f"unpacking failed: {type(error).__name__}: {error}", None]).encode()
    return b'[false,"","",null]'


def _tee(writer: blobs.BlobWriter, open_from: Callable[[int], Iterable[bytes]]) -> Iterator[bytes]:
    """Yield the whole blob: what is there already, then what comes, which is written on its way."""
    yield from writer.resume()
    if writer.offset < writer.size:
        for chunk in open_from(writer.offset):
            writer.write(chunk)
            yield chunk


def _is_named(entry: Descriptor, reference: Reference) -> bool:
    name = index.name_of(entry)
    if not name:
        return False
    if reference.digest is None:
        return name == str(reference)
    repository = name.partition("@")[0]
    head, colon, tail = repository.rpartition(":")
    if colon and "/" not in tail:
        repository = head
    return repository == reference.name and reference.digest in (entry.digest, entry.annotations.get(index.SOURCE_DIGEST))


def _is_called(entry: Descriptor, text: str) -> bool:
    """Tell whether `text` found the entry by its name (and not by an ID)."""
    try:
        return _is_named(entry, references.parse(text))
    except InvalidValue:
        return False


def _repo_digests(entries: list[Descriptor]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for entry in entries:
        try:
            name = references.parse(index.name_of(entry)).name
        except InvalidValue:
            continue  # nameless, or named by another tool after its own rules
        found[f"{name}@{entry.annotations.get(index.SOURCE_DIGEST, entry.digest)}"] = None
    return tuple(found)


def _size(entry: Descriptor) -> int:
    text = entry.annotations.get(index.UNPACKED_SIZE, "")
    return int(text) if text.isdigit() and len(text) < 20 else 0


def _descriptor_of(image: StoredImage, entries: list[Descriptor]) -> Descriptor:
    for entry in entries:
        if entry.digest == image.manifest_digest:
            return entry
    raise NotFound(f"image {image.id}: it was removed meanwhile")
