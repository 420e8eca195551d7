"""Which images there are: the reading half of the store. It takes no lock and writes nothing.

What is needed to run an image is index.json, its manifest, its config and one small file for each layer, so this is on the
path of every start.
"""

from __future__ import annotations

import os

from cratebox.errors import Conflict, CrateError, InvalidValue, NotFound, StorageError, Untrusted
from cratebox.image import blobs, index, snapshot
from cratebox.image import manifest as manifests
from cratebox.image import reference as references
from cratebox.image.manifest import Descriptor, ImageConfig, Manifest
from cratebox.record import Record
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cratebox.image.reference import Reference


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
    tagged: str = ""  # when it got the last of its names: RFC 3339, or empty

    @property
    def made(self) -> float:
        """When it was made, in seconds since 1970; 0 where the image does not say, or says what is no time."""
        return seconds(self.created)


def seconds(text: str) -> float:
    """Return a time of an image's config (RFC 3339) in seconds since 1970; 0 for what is none."""
    from datetime import UTC, datetime

    try:
        when = datetime.fromisoformat(text)
        return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return 0.0


class Catalog:
    """The images below `directory`, as they are found there."""

    def __init__(self, directory: str) -> None:
        self.directory = directory = os.path.abspath(directory)
        self._locks = directory + "/locks"
        self._blobs = blobs.Blobs(directory)
        self._layers = snapshot.Layers(directory + "/layers", self._locks)

    def find(self, name: Reference | str) -> StoredImage:
        """Return the image of that name, digest, ID or unique prefix of an ID. Raises NotFound, Conflict, StorageError."""
        entries = index.read(self.directory)
        return self._image(self._resolve(entries, name), entries)

    def images(self) -> list[StoredImage]:
        """Return the images that are whole, in the order they came. Raises StorageError where index.json is damaged."""
        return self.survey()[0]

    def survey(self) -> tuple[list[StoredImage], list[tuple[str, StorageError]]]:
        """Return the images that are whole, and (a name or a digest, what is wrong) of those that are damaged."""
        entries = index.read(self.directory)
        first = {entry.digest: entry for entry in reversed(entries) if entry.media_type in manifests.MANIFEST_TYPES}
        whole, damaged = [], []
        for entry in reversed(first.values()):
            try:
                whole.append(self._image(entry, entries))
            except StorageError as error:
                damaged.append((index.name_of(entry) or entry.digest, error))
        return whole, damaged

    def manifest_of(self, image: StoredImage) -> Manifest:
        """Return the manifest of an image. Raises NotFound where it was removed meanwhile, StorageError."""
        return self._manifest(self.descriptor_of(image))

    def descriptor_of(self, image: StoredImage) -> Descriptor:
        """Return the descriptor of an image's manifest. Raises NotFound where it was removed meanwhile, StorageError."""
        return entry_of(image, index.read(self.directory))

    def manifest_descriptor(self, image: StoredImage) -> Descriptor:
        """Return how the manifest of an image is referred to. Raises NotFound where it was removed meanwhile, StorageError."""
        entry = entry_of(image, index.read(self.directory))
        return Descriptor(entry.media_type, entry.digest, entry.size)

    def came_from_registry(self, image: StoredImage) -> bool:
        """Tell whether a registry has told the digest of an image, which another format of its layers would change.
        Raises StorageError.
        """
        same = [entry for entry in index.read(self.directory) if entry.digest == image.manifest_digest]
        return any(index.SOURCE_DIGEST in entry.annotations for entry in same)

    def is_whole(self, image: StoredImage) -> bool:
        """Tell whether all layers of an image are there, packed and unpacked. Raises as `descriptor_of`."""
        return all(self.has_blob(layer.digest) for layer in self.manifest_of(image).layers) and all(
            map(self.has_layer, image.layers)
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

    def is_unpacked(self, digest: str, diff_id: str) -> bool:
        """Tell whether a blob is there, and known to be unpacked as the layer `diff_id`.
        Raises Untrusted where one is no digest.

        That both are there is not enough: an image could have the files of another one's layer without ever having had them.
        """
        try:
            record = self._layers.read(diff_id)
            return (
                record is not None
                and self.has_blob(digest)
                and (digest in (diff_id, record.blob) or (digest, diff_id) in self._pairs())
            )
        except StorageError:
            return False

    def _pairs(self) -> Iterator[tuple[str, str]]:
        """Yield the blob and the diff ID of each layer of the images that are there and not damaged. Raises StorageError."""
        for entry in index.read(self.directory):
            if entry.media_type in manifests.MANIFEST_TYPES:
                try:
                    manifest = self._manifest(entry)
                    pairs = list(
                        zip((layer.digest for layer in manifest.layers), self._config(manifest).diff_ids, strict=False)
                    )
                except StorageError:
                    continue
                yield from pairs

    def blob_path(self, digest: str) -> str:
        """Return where a blob lies or would lie. Raises Untrusted."""
        return self._blobs.path(digest)

    def layer_path(self, diff_id: str) -> str:
        """Return where a layer is unpacked or would be. Raises Untrusted, Unsupported."""
        return self._layers.path(diff_id)

    def layer_record(self, diff_id: str) -> snapshot.LayerRecord:
        """Return what is known of an unpacked layer. Raises StorageError where it is damaged,
        NotFound where it is not there.
        """
        record = self._layers.read(diff_id)
        if record is None:
            raise NotFound(f"layer {diff_id} is not unpacked")
        return record

    def layer_size(self, diff_id: str) -> int:
        """Return the bytes of a layer's files; nothing for one that is damaged or not there."""
        try:
            record = self._layers.read(diff_id)
        except StorageError:
            return 0
        return record.size if record is not None else 0

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
            raise Conflict(f"image {shown(text)}: {len(found)} images have an ID that begins so")
        if not found:
            called = text if reference is not None else shown(text)
            raise NotFound(f"image {called}: not in the store", f"crate pull {called}" if reference is not None else None)
        return next(iter(found.values()))

    def _by_id(self, entries: list[Descriptor], text: str) -> dict[str, Descriptor]:
        prefix = text.removeprefix("sha256:").lower()
        if len(prefix) < 3 or not set(prefix) <= set("0123456789abcdef"):
            return {}
        found: dict[str, Descriptor] = {}
        for entry in entries:
            if entry.media_type not in manifests.MANIFEST_TYPES:
                continue
            try:
                identity = self._manifest(entry).config.digest
            except StorageError:
                identity = entry.digest  # a damaged one can be removed by what is left of it
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

    def _is_used(self, entry: Descriptor, used: frozenset[str]) -> bool:
        try:
            return self._manifest(entry).config.digest in used
        except StorageError:
            return False  # `used` names the layers of containers as well: they stay

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
        return StorageError(
            f"damaged: {self._blobs.path(digest)}: {error}", "pull the image again, or remove it with crate rmi"
        )

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
            tagged=max(other.annotations.get(index.TAGGED, "") for other in same),
        )


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


def is_called(entry: Descriptor, text: str) -> bool:
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


def entry_of(image: StoredImage, entries: list[Descriptor]) -> Descriptor:
    """Return the first entry of an image's manifest. Raises NotFound where it was removed meanwhile."""
    for entry in entries:
        if entry.digest == image.manifest_digest:
            return entry
    raise NotFound(f"image {image.id}: it was removed meanwhile")
