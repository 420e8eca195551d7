"""`cp`: files between a container and the host, as a stream of tar.

    the one side, Tree --archive--> pipe --> the other side, Unpacker

The container's side is done in a process that visits its root (container_root.py), the host's side here, as the caller. So
without -a, what comes to the host is the caller's, and what goes into the container is root's there.
"""

from __future__ import annotations

import fcntl
import os

from cratebox.engine import container_root, copy_places
from cratebox.engine.container_root import Whose
from cratebox.engine.tree_archive import Tree
from cratebox.engine.unpacking import Manner, Unpacker
from cratebox.errors import Conflict, Untrusted
from cratebox.image import decompress, tar
from cratebox.linux import const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_F_SETPIPE_SZ = 1031
_PIPE = 1 << 20  # bytes
_TOP = "top"  # what the first member is called on the way


def from_container(whose: Whose, path: str, to: str, archive: bool = False, follow: bool = False) -> int:
    """Copy `path` of the container to `to` of the host, an absolute path; return how many bytes the archive had.

    `archive`: owners, devices and set-user-ID bits are kept, as far as the caller may. `follow`: where `path` is a symlink,
    what it leads to. Raises NotFound, Conflict, StorageError, RuntimeFailure.
    """
    manner = Manner(None if archive else (os.geteuid(), os.getegid()), trusted=archive, squash=os.geteuid() != 0)
    counted = _Counted()

    def receive(reading: int) -> None:
        reader = tar.Reader(counted.of(_chunks(reading)))
        first = reader.next()
        if first is None:
            return  # the other side has failed
        parent, name = _on_host(to, copy_places.name_of(path), first.kind == tar.DIRECTORY)
        try:
            Unpacker(parent, os.fsencode(name), manner).unpack(reader, first)
        finally:
            os.close(parent)

    _through_pipe(whose, lambda root, writing: _send(_source(root, path, follow), writing, _TOP), receive)
    return counted.bytes


def to_container(whose: Whose, path: str, to: str, archive: bool = False, follow: bool = False) -> int:
    """Copy `path` of the host, an absolute path, to `to` of the container; otherwise as `from_container`."""
    manner = Manner(None if archive else (0, 0), trusted=True, squash=whose.identity.single)
    host = os.open("/", const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        tree = _source(host, path, follow)
    finally:
        os.close(host)
    counted = _Counted()

    def receive(root: int, reading: int) -> None:
        parent, name = copy_places.destination(root, to, copy_places.name_of(path), tree.is_directory)
        Unpacker(parent, os.fsencode(name), manner).unpack(tar.Reader(_chunks(reading)))

    _into_pipe(whose, receive, counted.of(tree.archive(_TOP)))
    return counted.bytes


def archive_of(whose: Whose, path: str, to: int, follow: bool = False) -> None:
    """Write `path` of the container to the descriptor `to` as an archive. Raises as `from_container`, BrokenPipeError."""

    def work(root: int) -> bytes:
        _send(_source(root, path, follow), to, copy_places.name_of(path) or ".")
        return b""

    container_root.visit(whose, work)


def unpack(whose: Whose, stream: int, to: str) -> None:
    """Unpack the archive that `stream` gives, compressed or not, into the directory `to` of the container.
    Owners are the archive's.

    Raises as `to_container`, Untrusted.
    """

    def work(root: int) -> bytes:
        parent = copy_places.source(root, to, follow=True)
        if not Tree(parent).is_directory:
            raise Conflict(f"{to}: not a directory", "an archive is unpacked into one")
        manner = Manner(None, trusted=True, squash=whose.identity.single)
        try:
            Unpacker(parent, None, manner).unpack(tar.Reader(decompress.chunks(_chunks(stream), "")))
        except Untrusted as error:
            raise Untrusted(f"standard input: {error.message.replace('the layer', 'the archive')}") from None
        return b""

    container_root.visit(whose, work)


def _source(root: int, path: str, follow: bool) -> Tree:
    return Tree(copy_places.source(root, path, follow))


def _on_host(path: str, name: str, is_directory: bool) -> tuple[int, str]:
    host = os.open("/", const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return copy_places.destination(host, path, name, is_directory)
    finally:
        os.close(host)


class _Counted:
    def __init__(self) -> None:
        self.bytes = 0

    def of(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.bytes += len(chunk)
            yield chunk


def _chunks(reading: int) -> Iterator[bytes]:
    while chunk := os.read(reading, _PIPE):
        yield chunk


def _send(tree: Tree, writing: int, name: str) -> None:
    _write(writing, tree.archive(name))


def _write(writing: int, chunks: Iterator[bytes]) -> None:
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(writing, rest) :]


def _pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    try:
        fcntl.fcntl(writing, _F_SETPIPE_SZ, _PIPE)
    except OSError:
        pass  # the user has many pipes open: it does with less
    return reading, writing


def _through_pipe(whose: Whose, send: Callable[[int, int], None], receive: Callable[[int], None]) -> None:
    """Let the container's side send and this one receive; an error of the sender comes first."""
    reading, writing = _pipe()

    def work(root: int) -> bytes:
        os.close(reading)
        send(root, writing)
        return b""

    with container_root.begin(whose, work) as visit:
        os.close(writing)
        try:
            receive(reading)
        except Untrusted:
            visit.answer()  # why the archive is cut short
            raise
        finally:
            os.close(reading)
        visit.answer()


def _into_pipe(whose: Whose, receive: Callable[[int, int], None], chunks: Iterator[bytes]) -> None:
    """Let this side send and the container's receive; where the receiver has gone, its error counts."""
    reading, writing = _pipe()

    def work(root: int) -> bytes:
        os.close(writing)
        receive(root, reading)
        return b""

    with container_root.begin(whose, work) as visit:
        os.close(reading)
        try:
            _write(writing, chunks)
        except BrokenPipeError:
            pass
        except BaseException:
            visit.end()  # before it finds a cut archive
            raise
        finally:
            os.close(writing)
        visit.answer()
