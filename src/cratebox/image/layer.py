"""Unpacking one layer into a directory of its own, as overlayfs wants its lower directories. Everything in it is hostile.

Nothing is ever opened by a path from the root of the machine: an entry's parent directory is opened below the descriptor of
the layer's directory with RESOLVE_IN_ROOT, the entry itself is made in that parent by its last name, and never through a
symlink. A parent that is a symlink of the same layer is followed the way the container would follow it, so that it cannot
lead outside; that is what containerd does, and layers that other builders than Docker make need it (`lib -> usr/lib`, then
`lib/x`). A name with `..` in it is refused, a leading slash means the layer's root.

Whiteouts: OCI image-spec, layer.md ("Whiteouts") to kernel, Documentation/filesystems/overlayfs.rst ("whiteouts and opaque
directories"). Extended attributes that overlayfs itself reads are never taken from a layer.
"""

from __future__ import annotations

import os
import sys

from cratebox.errors import Untrusted
from cratebox.image import decompress, tar
from cratebox.image.ahead import Ahead
from cratebox.image.blobs import storage_failure
from cratebox.image.extract import Extractor
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, BinaryIO

_MAX_TRAILER = 256 << 20  # bytes after the end of the archive: tapes' blocking is 10 kB, some tools pad to a megabyte

# What only a hostile or broken layer makes the kernel say.
_ENOENT, _EXDEV, _ENOTDIR, _EISDIR, _EINVAL, _EFBIG, _EMLINK, _ENAMETOOLONG, _ELOOP = 2, 18, 20, 21, 22, 27, 31, 36, 40
_HOSTILE = frozenset((_ENOENT, _EXDEV, _ENOTDIR, _EISDIR, _EINVAL, _EFBIG, _EMLINK, _ENAMETOOLONG, _ELOOP))


class Unpacked(Record):
    """What came out of a layer. `skipped`: what this user may not make, "NAME: why", the first hundred."""

    diff_id: str
    size: int  # bytes of data of regular files, as they are in the archive
    entries: int
    skipped: tuple[str, ...] = ()


def unpack(
    stream: decompress.Readable | Iterable[bytes],
    media_type: str,
    directory: int,
    *,
    userxattr: bool,
    owners: str = "keep",
    owners_file: BinaryIO | None = None,
) -> Unpacked:
    """Unpack the layer `stream` into the empty directory whose descriptor is `directory`, reading it to its end.

    `stream` has `read(size)`, or is an iterable of bytes. `userxattr`: opaque directories are marked for overlayfs mounted
    with that option, which an ordinary user must. `owners` "record" writes an owner that cannot be set to `owners_file`
    (a line each: escaped path, uid, gid, mode in octal, between tabs) instead of failing.

    Raises Untrusted for a malformed or hostile layer, StorageError where the disk is full. What was made until then stays:
    the caller throws the directory away. The diff ID is for the caller to compare.
    """
    import hashlib

    digest = hashlib.sha256()
    extractor = Extractor(directory, userxattr, owners, owners_file)
    chunks = Ahead(_hashed(decompress.chunks(stream, media_type), digest))
    reader = tar.Reader(chunks)
    entry: tar.Entry | None = None
    try:
        while (entry := reader.next()) is not None:
            extractor.add(entry, reader)
        reader.drain(_MAX_TRAILER)
        extractor.finish()
    except OSError as error:
        name = tar.shown_name(entry) if entry else "the layer"
        if error.errno in _HOSTILE:
            raise Untrusted(f"cannot unpack {name}: {os.strerror(error.errno)}") from None
        raise storage_failure(f"cannot unpack {name}", error) from None
    finally:
        kind = sys.exc_info()[0]
        chunks.stop(hurry=kind is not None and not issubclass(kind, Exception))
        extractor.close()
    return Unpacked("sha256:" + digest.hexdigest(), extractor.size, reader.entries, tuple(extractor.skipped))


def _hashed(chunks: Iterator[bytes], digest: Any) -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
