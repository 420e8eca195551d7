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
    from collections.abc import Callable, Iterable

    from cratebox.image.reference import Reference

    # Runs the callable in a process that may chown to all ids of the map, and returns what it returned.
    RunInside = Callable[[Callable[[], bytes]], bytes]

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
    freed: int = 0  # bytes


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
        self._blobs = blobs.Blobs(directory)
        self._layers = snapshot.Layers(directory + "/layers")

    # Reading: no locks, nothing written.

    def find(self, name: Reference | str) -> StoredImage:
        """Return the image of that name, digest, ID or unique prefix of an ID. Raises NotFound, Conflict, StorageError."""
        raise NotImplementedError

    def images(self) -> list[StoredImage]:
        """Return all images, in the order they came. Raises StorageError."""
        raise NotImplementedError

    def layer_directories(self, image: StoredImage) -> tuple[str, ...]:
        """Return the image's unpacked layers, absolute paths, lowest first. Raises StorageError where one is damaged.

        A layer that is not unpacked (another tool copied the image in; the power failed just after a pull) is unpacked
        from its blob now.
        """
        raise NotImplementedError

    def has_blob(self, digest: str) -> bool:
        """Tell whether the blob is there, whole and verified. Raises Untrusted where `digest` is none."""
        raise NotImplementedError

    def read_blob(self, digest: str, limit: int) -> bytes:
        """Return a small blob, checked against its digest. Raises NotFound, StorageError."""
        raise NotImplementedError

    def open_blob(self, digest: str) -> int:
        """Open a blob for reading; return the descriptor, the caller's to close. Raises NotFound, StorageError."""
        raise NotImplementedError

    def has_layer(self, diff_id: str) -> bool:
        """Tell whether this layer is unpacked. Raises Untrusted where `diff_id` is none."""
        raise NotImplementedError

    # Writing.

    def using(self) -> locks.Lock:
        """Hold off `collect` while the returned context lasts: for pulls, and while a container's record is made."""
        raise NotImplementedError

    def writer(self, descriptor: Descriptor) -> blobs.BlobWriter:
        """Return what writes this blob; it waits for whoever writes it now. See blobs.BlobWriter."""
        raise NotImplementedError

    def put(self, descriptor: Descriptor, data: bytes) -> None:
        """Store a small blob. Raises Untrusted where it is not what the descriptor says, StorageError."""
        raise NotImplementedError

    def ingest(self, descriptor: Descriptor, diff_id: str, open_from: Callable[[int], Iterable[bytes]]) -> None:
        """Make a layer's blob and its unpacked tree be there, reading each byte once.

        `open_from(offset)` returns the compressed bytes from there to the end, in chunks of any size (64 kB to 1 MB are
        best). Raises Untrusted (wrong size, digest, diff ID, hostile tar: nothing is kept), StorageError (disk full, ...)
        and what `open_from` raises; then what was downloaded is kept for the next attempt.
        """
        raise NotImplementedError

    def unpack_blob(self, descriptor: Descriptor, diff_id: str) -> None:
        """Unpack a layer whose blob is there. Raises Untrusted, StorageError."""
        raise NotImplementedError

    def tag(self, name: str, manifest: Descriptor, source_digest: str | None = None) -> StoredImage:
        """Give an image its canonical `name` ("" for none): the last step of a pull, all or nothing, on the disk on return.

        `source_digest` is what the registry said the name stands for (an index or the manifest). Everything the manifest
        needs must be there: StorageError where not.
        """
        raise NotImplementedError

    def untag(self, name: str) -> None:
        """Take a canonical name from its image, which stays. Raises NotFound, StorageError."""
        raise NotImplementedError

    def remove(self, name: str, in_use: frozenset[str] | set[str] = frozenset(), *, force: bool = False) -> Removed:
        """Remove an image as `docker rmi` does: one of several names is only untagged; the last one removes the image.

        `in_use`: IDs of images that containers are made of. Raises NotFound, and Conflict where the image is in use or an
        ID has several names; `force` then takes all names away, and the image only where it is not in use.
        """
        raise NotImplementedError

    def collect(self) -> Removed:
        """Delete blobs and layers that no image refers to, and what crashes left. Does not wait for pulls: see `deferred`."""
        raise NotImplementedError

    def settle(self) -> None:
        """Put unpacked layers on the disk (syncfs) and write down that they are. See snapshot.py."""
        raise NotImplementedError
