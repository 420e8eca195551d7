"""One blob on its way into the store: written, hashed, resumed, verified, and then given its name. See blobs.py."""

from __future__ import annotations

import os

from cratebox.errors import StorageError, Untrusted
from cratebox.image import digest as digests
from cratebox.image.blobs import CHUNK, storage_failure, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from cratebox.image import locks
    from cratebox.image.blobs import Blobs
    from cratebox.image.manifest import Descriptor

_WRITTEN_EARLY = 8 << 20  # bytes; the disk begins with them while the next ones come, and the last fsync is short


class BlobWriter:
    """Writes one blob, hashing while it writes; a context manager. Made by `Blobs.writer`.

    `done` says that the blob is there already: then there is nothing to write. `offset` is the number of bytes that an
    earlier download has left: go on from there. Leaving without `commit` keeps what was written, for the next one.
    """

    def __init__(self, blobs: Blobs, descriptor: Descriptor, lock: locks.Lock) -> None:
        self.digest, self.size = descriptor.digest, descriptor.size
        self.offset = 0
        self.done = blobs.has(descriptor.digest)
        self._lock, self._fd = lock, -1
        self._path, self._partial = blobs.path(descriptor.digest), blobs.partial(descriptor.digest)
        self._hash: Any = None
        self._begun = 0  # up to where the disk was told to begin
        if not self.done:
            self._open()

    def _open(self) -> None:
        try:
            self._fd = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            self.offset = os.fstat(self._fd).st_size
            if self.offset > self.size:
                self.restart()
        except OSError as error:
            raise storage_failure(f"cannot write {self._partial}", error) from None

    def replace(self) -> None:
        """Write the blob though it is there: what lies there is damaged."""
        self.done = False
        self._open()

    def restart(self) -> None:
        """Forget what an earlier download left."""
        os.ftruncate(self._fd, 0)
        self.offset, self._hash = 0, None

    def resume(self) -> Iterator[bytes]:
        """Yield the bytes that are there already, hashing them. Use it where they must be read anyway (to unpack them)."""
        self._hash = digests.hasher(self.digest)
        position = 0
        while position < self.offset:
            chunk = os.pread(self._fd, min(CHUNK, self.offset - position), position)
            if not chunk:
                raise StorageError(f"damaged: {self._partial} became shorter")
            self._hash.update(chunk)
            position += len(chunk)
            yield chunk

    def write(self, data: bytes) -> None:
        """Append `data`. Raises Untrusted where the blob gets longer than promised, StorageError where the disk is full."""
        if self._hash is None:
            for _ in self.resume():
                pass
        if self.offset + len(data) > self.size:
            self.discard()
            raise Untrusted(f"blob {self.digest}: it has more than the {self.size} bytes it was announced with")
        self._hash.update(data)
        try:
            write_all(self._fd, data, self.offset)
        except OSError as error:
            raise storage_failure(f"cannot write {self._partial}", error) from None
        self.offset += len(data)
        if self.offset - self._begun >= _WRITTEN_EARLY:
            os.posix_fadvise(self._fd, self._begun, self.offset - self._begun, os.POSIX_FADV_DONTNEED)
            self._begun = self.offset

    def verify(self) -> None:
        """Check size and digest. Raises Untrusted; wrong bytes are deleted, but too few of them are kept for a resume."""
        if self._fd < 0:
            return  # refused already
        if self._hash is None:
            for _ in self.resume():
                pass
        if self.offset != self.size:
            raise Untrusted(f"blob {self.digest}: {self.offset} bytes came, not the {self.size} it was announced with")
        found = self._hash.hexdigest()
        if found != self.digest.partition(":")[2]:
            self.discard()
            raise Untrusted(f"blob {self.digest}: the bytes that came have another digest ({found})")

    def commit(self) -> None:
        """Verify, put the bytes on the disk, and give the blob its name, see `Blobs.sync_names`.

        Raises Untrusted and StorageError.
        """
        self.verify()
        try:
            os.fsync(self._fd)
            os.rename(self._partial, self._path)
        except OSError as error:
            raise storage_failure(f"cannot write {self._path}", error) from None
        self.done = True
        self._close()

    def begin_sync(self) -> None:
        """Let the disk begin with what there is, and do not wait for it."""
        if self._fd >= 0:
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def leave(self) -> None:
        """Verify what was written, and leave it for `Blobs.commit_together`. Raises Untrusted."""
        self.verify()
        self._close()

    def abort(self) -> None:
        """Stop here; what was written stays for a resume. A second call does nothing."""
        self._close()

    def discard(self) -> None:
        """Delete what was written, and stop. Does nothing after a commit."""
        if self.done:
            return
        try:
            os.unlink(self._partial)
        except OSError:
            pass
        self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        self._lock.release()

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.abort()
