"""The blobs of the store: blobs/ALGORITHM/HEX of an OCI image layout, named by the digest of their bytes.

A blob has its name only once its bytes are whole, verified and on the disk; the name itself is put there by `sync_names`, once
for all blobs of an image and before anything refers to them. Until then it is blobs/.partial/ALGORITHM-HEX,
from whose length an interrupted download goes on. https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import os
import sys

from cratebox.errors import NotFound, StorageError
from cratebox.image import digest as digests
from cratebox.image import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

    from cratebox.image.blob_writer import BlobWriter
    from cratebox.image.manifest import Descriptor

CHUNK = 1 << 20
_FIRST = 64 << 10  # bytes; a regular file that gives fewer than it is asked for has no more
_ENOSPC, _EDQUOT, _EOPNOTSUPP = 28, 122, 95
_SMALL = 1 << 20  # bytes
_TOGETHER = 64  # blobs that are open at once
_KEEP_PARTIAL = 24 * 3600  # seconds; an interrupted pull goes on from there


class Blobs:
    """The blobs below `directory`, the root of the layout."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def path(self, digest: str) -> str:
        """Return where the blob `digest` lies or would lie. Raises Untrusted where it is not a digest."""
        return f"{self.directory}/{digests.blob_name(digest)}"

    def partial(self, digest: str) -> str:
        """Return where the first part of an unfinished download of `digest` lies."""
        return f"{self.directory}/blobs/.partial/{digests.check(digest).replace(':', '-')}"

    def has(self, digest: str) -> bool:
        """Tell whether the blob is there, whole."""
        try:
            return os.stat(self.path(digest)).st_mode & 0o170000 == 0o100000
        except OSError:
            return False

    def open(self, digest: str) -> int:
        """Open the blob for reading; return the descriptor. Raises NotFound, StorageError."""
        path = self.path(digest)
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            raise NotFound(f"blob {digest}: not in the store") from None
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from None

    def read(self, digest: str, limit: int) -> bytes:
        """Return the bytes of a small blob (a manifest, a config), checked against its digest.

        Raises NotFound, and StorageError where it is longer than `limit` bytes or damaged.
        """
        fd = self.open(digest)
        try:
            data = read_all(fd, limit + 1)
        except OSError as error:
            raise StorageError(f"cannot read {self.path(digest)}: {error.strerror}") from None
        finally:
            os.close(fd)
        if len(data) > limit:
            raise StorageError(f"damaged: {self.path(digest)} has more than {limit} bytes")
        if not matches(digest, data):
            raise StorageError(f"damaged: {self.path(digest)} is not what its name says", "remove the image and pull it again")
        return data

    def writer(self, descriptor: Descriptor) -> BlobWriter:
        """Wait until nobody else downloads this blob, then return what writes it (or finds that it is there: `done`)."""
        from cratebox.image.blob_writer import BlobWriter

        lock = locks.hold(self.directory + "/locks", digests.check(descriptor.digest).replace(":", "-"))
        try:
            return BlobWriter(self, descriptor, lock)
        except BaseException:
            lock.release()
            raise

    def put(self, descriptor: Descriptor, data: bytes) -> None:
        """Store a small blob that is in memory, in place of a damaged one. Raises Untrusted, StorageError."""
        with self.writer(descriptor) as writer:
            if writer.done and not self._is_whole(descriptor.digest, len(data)):
                writer.replace()
            if not writer.done:
                writer.restart()
                writer.write(data)
                writer.commit()

    def commit_together(self, descriptors: Iterable[Descriptor]) -> None:
        """Give blobs their names that were left whole (BlobWriter.leave); of those that have them nothing is done.

        Each is there once. The disk is told of all before the first is waited for: the file system writes its journal once, not
        once for each, which is most of what the small layers of a wide image cost. Raises Untrusted and StorageError.
        """
        # In one order, and by one process: two who want some of the same wait for each other, never both.
        waiting = sorted(descriptors, key=lambda each: each.digest)
        while waiting:
            writers: list[BlobWriter] = []
            try:
                for each in waiting[:_TOGETHER]:
                    writers.append(self.writer(each))
                for writer in writers:
                    writer.begin_sync()
                for writer in writers:
                    if not writer.done:
                        writer.commit()
            finally:
                for writer in writers:
                    writer.abort()
            waiting = waiting[_TOGETHER:]

    def delete(self, digest: str) -> None:
        """Delete a blob, where nobody writes it now; that it is not there is no error. Raises Untrusted, StorageError."""
        path = self.path(digest)
        with locks.hold(self.directory + "/locks", digest.replace(":", "-")):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            except IsADirectoryError:
                os.rmdir(path)
            except OSError as error:
                raise StorageError(f"cannot delete {path}: {error.strerror}") from None

    def sync_names(self) -> None:
        """Put the names of the blobs on the disk. Raises StorageError."""
        try:
            for algorithm in digests.HEX_LENGTH:
                fsync_directory(f"{self.directory}/blobs/{algorithm}")
        except OSError as error:
            raise storage_failure(f"cannot sync {self.directory}/blobs", error) from None

    def _is_whole(self, digest: str, limit: int) -> bool:
        try:
            self.read(digest, limit)
        except (NotFound, StorageError):
            return False
        return True

    def collect(self, kept: Collection[str], *, partial: bool) -> tuple[list[str], int]:
        """Delete all blobs but `kept`, and partial downloads: those older than a day, or all. Nobody else uses the store.

        Returns the digests that are gone, and the bytes that were freed. Raises StorageError.
        """
        deleted, freed = [], 0
        try:
            for algorithm in digests.HEX_LENGTH:
                for encoded in os.listdir(f"{self.directory}/blobs/{algorithm}"):
                    if f"{algorithm}:{encoded}" not in kept:
                        path = f"{self.directory}/blobs/{algorithm}/{encoded}"
                        freed += os.lstat(path).st_size
                        os.unlink(path)
                        deleted.append(f"{algorithm}:{encoded}")
            freed += self._collect_partial(all_of_them=partial)
        except OSError as error:
            raise storage_failure(f"cannot delete blobs of {self.directory}", error) from None
        return deleted, freed

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each blob, by digest, and of each unfinished download, by its path."""
        found = {}
        for kind in (*digests.HEX_LENGTH, ".partial"):
            try:
                with os.scandir(f"{self.directory}/blobs/{kind}") as entries:
                    for entry in entries:
                        name = entry.path if kind == ".partial" else f"{kind}:{entry.name}"
                        found[name] = entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
        return found

    def sweep_partial(self) -> None:
        """Delete partial downloads that are older than a day and that nobody goes on with, while others use the store.

        Raises OSError, StorageError.
        """
        from time import time

        oldest = time() - _KEEP_PARTIAL
        for name in os.listdir(self.directory + "/blobs/.partial"):
            path = f"{self.directory}/blobs/.partial/{name}"
            lock = locks.try_hold(self.directory + "/locks", name)
            if lock is not None:
                with lock:
                    if os.path.lexists(path) and os.lstat(path).st_mtime < oldest:
                        os.unlink(path)

    def _collect_partial(self, *, all_of_them: bool) -> int:
        from time import time

        freed, oldest = 0, time() - _KEEP_PARTIAL
        for name in os.listdir(self.directory + "/blobs/.partial"):
            path = f"{self.directory}/blobs/.partial/{name}"
            info = os.lstat(path)
            if all_of_them or info.st_mtime < oldest:
                freed += info.st_size
                os.unlink(path)
        return freed


def small_ones(missing: list[Descriptor]) -> dict[str, Descriptor]:
    """Return, by digest, those whose names can wait for each other (Blobs.commit_together): where there are several, and what
    the disk has to write of each is soon written.
    """
    small = {each.digest: each for each in missing if each.size <= _SMALL}
    return small if len(small) > 1 else {}


def matches(digest: str, data: bytes) -> bool:
    """Tell whether `data`, which is small, has this digest. Raises Untrusted where `digest` is none."""
    if not digests.check(digest).startswith("sha256:"):
        return digests.of(data, digests.split(digest)[0]) == digest
    return "sha256:" + str(_sha256()(data).hexdigest()) == digest


def _sha256() -> Any:
    """Return a SHA-256 for a few kilobytes: hashlib loads OpenSSL, 4 ms; the interpreter's own is there at once."""
    try:
        if sys.version_info >= (3, 12):
            from _sha2 import sha256
        else:
            from _sha256 import sha256
    except ImportError:  # an interpreter may be built without
        from hashlib import sha256
    return sha256


def read_all(fd: int, limit: int) -> bytes:
    """Return what is left to read from `fd`, at most `limit` bytes. Raises OSError."""
    first = os.read(fd, min(limit, _FIRST))
    if len(first) < min(limit, _FIRST):
        return first
    parts = [first]
    limit -= len(first)
    while limit > 0:
        part = os.read(fd, min(limit, CHUNK))
        if not part:
            break
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def read_small(path: str, limit: int) -> bytes:
    """Return at most `limit` bytes of the file `path`; no FIFO in its place is waited for. Raises OSError.

    A third of the time that open() takes.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return read_all(fd, limit)
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`: the kernel may take less than it is given. Raises OSError."""
    written = os.pwrite(fd, data, offset)
    while written < len(data):
        written += os.pwrite(fd, memoryview(data)[written:], offset + written)


def nameless(directory: str) -> int:
    """Make a file without a name in `directory`, which is gone with its last descriptor; return that. Raises OSError."""
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != _EOPNOTSUPP:
            raise
    path = f"{directory}/nameless-{os.urandom(8).hex()}"
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    return fd


def fsync_directory(path: str) -> None:
    """Put a directory's names on the disk: after a rename, the name itself. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: str, data: bytes) -> None:
    """Replace `path` by `data` so that a reader, or a crash, finds the old bytes or the new. Raises StorageError.

    The caller holds the lock that makes it the only writer.
    """
    temporary = path + ".new"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            write_all(fd, data, 0)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
        fsync_directory(os.path.dirname(path))
    except OSError as error:
        raise storage_failure(f"cannot write {path}", error) from None


def storage_failure(attempt: str, error: OSError) -> StorageError:
    """Return the StorageError for what the kernel said to `attempt` ("cannot write PATH")."""
    if error.errno in (_ENOSPC, _EDQUOT):
        what = "no space left on the disk" if error.errno == _ENOSPC else "the disk quota is used up"
        return StorageError(f"{attempt}: {what}", "remove images with crate rmi, or move the store with --root")
    return StorageError(f"{attempt}: {error.strerror}")
