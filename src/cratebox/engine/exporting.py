"""`crate export`: the files of a container, without what is mounted in it, as one tar archive."""

from __future__ import annotations

import os
import stat

from cratebox.engine import archiving
from cratebox.engine.container_layers import ContainerRoot
from cratebox.errors import DISK_FULL, StorageError
from cratebox.image.tar_writing import CHUNK, ZEROS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cratebox.engine.layered import Layered

_TOGETHER = 256 << 10  # bytes that are written at once, at least


def to_file(root: ContainerRoot, path: str) -> None:
    """Write the archive to the file `path`, whole or not at all: an old one stays until then.
    Raises StorageError and as `to`.
    """
    new_file(path, lambda fd, holes: to(root, fd, path, holes))


def new_file(path: str, write: Callable[[int, bool], None]) -> None:
    """Have `write` write a new file `path`, which is there whole or not at all: an old one stays until then. It is given the
    descriptor, and whether zeros may be left out. Raises StorageError and what `write` raises.
    """
    try:
        special = not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        special = False
    target = os.path.realpath(path)
    temporary = target if special else f"{target}.{os.getpid()}.new"
    try:
        how = os.O_WRONLY if special else os.O_WRONLY | os.O_CREAT | os.O_EXCL
        fd = os.open(temporary, how | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None
    try:
        write(fd, not special)
        if not special:
            os.rename(temporary, target)
    except BaseException as error:
        if not special:
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise StorageError(f"cannot write {path}: {error.strerror}") from None
        raise
    finally:
        os.close(fd)


def to(root: ContainerRoot, fd: int, name: str, holes: bool = False) -> None:
    """Write the archive to the descriptor `fd`, called `name` in errors;
    with `holes`, zeros are left out of a file that is new.

    Raises StorageError, NotFound, Unsupported, BrokenPipeError where nobody reads it any more.
    """

    def work(tree: Layered) -> bytes:
        try:
            put(fd, archiving.whole(tree, root.now(tree)), holes)
        except Refused as failed:
            if isinstance(failed.error, BrokenPipeError):
                return b"nobody reads"
            hint = "make room on that disk" if failed.error.errno in DISK_FULL else None
            raise StorageError(f"cannot write {name}: {failed.error.strerror}", hint) from None
        return b""

    if root.inside(work):
        raise BrokenPipeError


class Refused(Exception):
    """An OSError of the archive, not of the container's files."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def put(fd: int, chunks: Iterator[bytes], holes: bool) -> None:
    """Write an archive to a descriptor; with `holes`, zeros are left out of a file that is new. Raises Refused."""
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        if holes and len(chunk) == CHUNK and chunk == ZEROS:
            _put(fd, waiting)
            os.lseek(fd, CHUNK, os.SEEK_CUR)
            waiting, size = [], 0
            continue
        waiting.append(chunk)
        size += len(chunk)
        if size >= _TOGETHER:
            _put(fd, waiting)
            waiting, size = [], 0
    _put(fd, waiting)


def _put(fd: int, chunks: list[bytes]) -> None:
    rest = memoryview(b"".join(chunks))
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError as error:
        raise Refused(error) from None
