"""A layer of our own making: one pass over a stream of tar writes its compressed blob, hashes both, and unpacks it.

The blob's digest is known when its last byte is: until then it is blobs/.partial/new-XXXX, which a crash leaves as garbage.
gzip, RFC 1952, without a time and a name in its header: the same files give the same digest.
"""

from __future__ import annotations

import os

from cratebox.errors import StorageError, Untrusted
from cratebox.image import locks, manifest
from cratebox.image.blobs import Blobs, storage_failure, write_all
from cratebox.image.manifest import Descriptor
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from cratebox.image.snapshot import Layers

_GZIP_WINDOW = 31  # zlib's word for the largest window with gzip's header
_ISAL_LEVEL, _ZLIB_LEVEL = 2, 6


class NewLayer(Record):
    """A layer that is in the store: its blob, the digest of its plain tar, and whether there is anything in it."""

    blob: Descriptor
    diff_id: str
    is_empty: bool


def take(
    blobs: Blobs, layers: Layers, tar: Iterator[bytes], *, userxattr: bool, owners: str, even_empty: bool = False
) -> NewLayer:
    """Make a blob and an unpacked layer of the plain archive `tar`. Runs where the id map of the containers is.

    Raises StorageError, and what `tar` raises; only garbage is left then.
    A layer without an entry is kept with `even_empty` alone.
    """
    with _NewBlob(blobs) as blob, layers.pending(None) as pending:
        pending.unpack(blob.written(tar), "application/x-tar", userxattr=userxattr, owners=owners)
        assert pending.unpacked is not None
        made = NewLayer(blob.finish(), pending.unpacked.diff_id, is_empty=not (pending.unpacked.entries or even_empty))
        if not made.is_empty:
            blob.commit()
            pending.publish(made.blob.digest)
    return made


class _NewBlob:
    """Compresses and writes a blob whose name is not known yet. What was not committed when its context ends is deleted."""

    def __init__(self, blobs: Blobs) -> None:
        import hashlib

        self._blobs = blobs
        self._path = f"{blobs.directory}/blobs/.partial/new-{os.urandom(8).hex()}"
        self._hash = hashlib.sha256()
        self._gzip = compressor()
        self._size, self._fd = 0, -1

    def __enter__(self) -> _NewBlob:
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise storage_failure(f"cannot write {self._path}", error) from None
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._fd)
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass

    def written(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield `chunks`, each written on its way. What cannot be read of them is raised as StorageError."""
        while True:
            try:
                chunk = next(chunks, None)
            except OSError as error:
                raise StorageError(f"cannot read what is to become a layer: {error.strerror}") from None
            if chunk is None:
                return
            self._write(self._gzip.compress(chunk))
            yield chunk

    def _write(self, data: bytes) -> None:
        if not data:
            return
        try:
            write_all(self._fd, data, self._size)
        except OSError as error:
            raise storage_failure(f"cannot write {self._path}", error) from None
        self._hash.update(data)
        self._size += len(data)

    def finish(self) -> Descriptor:
        """Write what the compressor has kept; return what the blob has become. Raises StorageError."""
        self._write(self._gzip.flush())
        return Descriptor(manifest.OCI_GZIP_LAYER, "sha256:" + self._hash.hexdigest(), self._size)

    def commit(self) -> None:
        """Put the blob on the disk and give it its name, where it has none already. Raises StorageError."""
        digest = "sha256:" + self._hash.hexdigest()
        try:
            os.fsync(self._fd)
            with locks.hold(self._blobs.directory + "/locks", digest.replace(":", "-")):
                os.rename(self._path, self._blobs.path(digest))
        except OSError as error:
            raise storage_failure(f"cannot write {self._blobs.path(digest)}", error) from None


def compressor() -> Any:
    """Return what packs a layer with gzip. ISA-L is several times as fast as zlib, and not everywhere."""
    try:
        from isal import isal_zlib
    except ImportError:
        import zlib

        return zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return isal_zlib.compressobj(_ISAL_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)


def encode(made: NewLayer) -> bytes:
    """Return a layer as it crosses from the process that made it."""
    return f"{made.blob.digest} {made.blob.size} {made.diff_id} {int(made.is_empty)}".encode()


def decode(text: bytes) -> NewLayer:
    """Return the layer that `encode` wrote. Raises Untrusted."""
    try:
        digest, size, diff_id, empty = text.decode().split(" ")
        return NewLayer(Descriptor(manifest.OCI_GZIP_LAYER, digest, int(size)), diff_id, empty == "1")
    except ValueError:
        raise Untrusted("a layer was not made whole") from None
