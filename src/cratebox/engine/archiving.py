"""The files of a container as a tar archive: all of them (export), or what it has changed as a layer of an image (commit).

Owners are numbers as the container sees them, files with several names are hard links, sockets are left out, as no archive has
them. A layer says what is gone by whiteouts: OCI image-spec, layer.md, "Whiteouts".
"""

from __future__ import annotations

import os
import stat

from cratebox.engine.changes import DELETED, Change
from cratebox.engine.layered import Entry, Layered
from cratebox.errors import Unsupported
from cratebox.image import tar, tar_writing
from cratebox.image.extract import is_taken
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    class Readable(Protocol):
        """What files are read of."""

        def open(self, entry: Entry) -> int:
            """Open a directory or a regular file."""

        def link_target(self, entry: Entry) -> str:
            """Return what a symlink says."""


_WHITEOUT = ".wh."
_GONE = (2, 20, 22, 40)  # ENOENT, ENOTDIR, EINVAL (no symlink any more), ELOOP
_KINDS = {
    stat.S_IFREG: tar.REGULAR,
    stat.S_IFDIR: tar.DIRECTORY,
    stat.S_IFLNK: tar.SYMLINK,
    stat.S_IFCHR: tar.CHARACTER,
    stat.S_IFBLK: tar.BLOCK_DEVICE,
    stat.S_IFIFO: tar.FIFO,
}


def whole(tree: Layered, root: Entry) -> Iterator[bytes]:
    """Yield the archive of all that is below `root`, sorted by name; / itself has no entry. Raises OSError."""
    return archive(tree, _everything(tree, root))


def _everything(tree: Layered, root: Entry) -> Iterator[tuple[str, Entry]]:
    pending = [("", root)]
    while pending:
        name, entry = pending.pop()
        if name:
            yield name, entry
        if entry.is_directory:
            below = tree.children(entry)
            pending += ((f"{name}/{one}" if name else one, below[one]) for one in sorted(below, reverse=True))


def layer(tree: Layered, changes: Iterable[Change]) -> Iterator[bytes]:
    """Yield the archive of a layer that makes these changes. Raises OSError, Unsupported for a name that no layer can have."""
    return archive(tree, ((change.path[1:], change.entry) for change in map(_checked, changes)))


def _checked(change: Change) -> Change:
    name = change.path.rpartition("/")[2]
    if name.startswith(_WHITEOUT) and change.kind != DELETED:
        raise Unsupported(
            f"cannot make a layer of {shown(change.path)}: a name that begins with {_WHITEOUT} says in a layer that a file is gone",
            "rename it in the container",
        )
    return change


def archive(tree: Readable, files: Iterable[tuple[str, Entry | None]]) -> Iterator[bytes]:
    """Yield the archive of `files`, which `tree` reads; None stands for what is gone. Raises OSError."""
    first_names: dict[tuple[int, int], bytes] = {}
    for path, entry in files:
        if entry is None:
            yield tar_writing.header(_whiteout(path))
        elif stat.S_IFMT(entry.info.st_mode) in _KINDS:
            yield from _member(tree, path, entry, first_names)
    yield tar_writing.END


def _whiteout(path: str) -> tar.Entry:
    above, slash, name = path.rpartition("/")
    return tar.Entry(os.fsencode(f"{above}{slash}{_WHITEOUT}{name}"), tar.REGULAR)


def _member(tree: Readable, path: str, entry: Entry, first_names: dict[tuple[int, int], bytes]) -> Iterator[bytes]:
    """Yield one member; nothing of a file that was deleted or replaced since its directory was read."""
    info = entry.info
    kind = _KINDS[stat.S_IFMT(info.st_mode)]
    member = tar.Entry(os.fsencode(path + "/" if kind == tar.DIRECTORY else path), kind)
    member.mode, member.uid, member.gid, member.mtime = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime_ns
    several = info.st_nlink > 1 and kind != tar.DIRECTORY
    if several and (first := first_names.get((entry.layer, info.st_ino))):
        member.kind, member.link = tar.LINK, first
        yield tar_writing.header(member)
        return
    fd = -1
    try:
        if kind in (tar.REGULAR, tar.DIRECTORY):
            fd = tree.open(entry)
            member.xattrs = _attributes(fd)
            member.size = os.fstat(fd).st_size if kind == tar.REGULAR else 0
        elif kind == tar.SYMLINK:
            member.link = os.fsencode(tree.link_target(entry))
        elif kind in (tar.CHARACTER, tar.BLOCK_DEVICE):
            member.major, member.minor = os.major(info.st_rdev), os.minor(info.st_rdev)
        if several:
            first_names[entry.layer, info.st_ino] = member.name
        yield tar_writing.header(member)
        yield from tar_writing.content(fd, member.size)
        yield tar_writing.padding(member.size)
    except OSError as error:
        if error.errno not in _GONE:
            raise
    finally:
        if fd >= 0:
            os.close(fd)


def _attributes(fd: int) -> dict[bytes, bytes] | None:
    try:
        names = os.listxattr(fd)
    except OSError:
        return None
    found = {}
    for name in names:
        key = os.fsencode(name)
        if is_taken(key) and b"=" not in key:  # which ends the name in a pax record
            try:
                found[key] = os.getxattr(fd, name)
            except OSError:
                continue
    return found
