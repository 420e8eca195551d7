"""An archive unpacked into a tree that is there, a container's or the host's: what `cp` does at its end.

As with a layer (image/extract.py) every member is made in its parent directory, whose descriptor is opened below that of the
destination, and never through a symlink. Other than there, whiteouts mean nothing, a directory and what is none do not replace
each other, and the destination itself keeps its mode and owner.
"""

from __future__ import annotations

import os

from cratebox.errors import Conflict, StorageError
from cratebox.image import tar, tree
from cratebox.image.below import normal
from cratebox.image.extract import Extractor
from cratebox.linux import const
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.image.extract import Maker

_S_IFMT, _S_IFDIR = 0o170000, 0o040000
_SET_IDS = 0o6000
_EPERM, _EINVAL = 1, 22
_DEVICES = (tar.CHARACTER, tar.BLOCK_DEVICE)


class Manner(Record):
    """How members are to be made. `owner`: whose they all are, None for their own. `trusted`: set-user-ID bits, devices and
    file capabilities are taken over. `squash`: what cannot be given to its owner is the caller's.
    """

    owner: tuple[int, int] | None
    trusted: bool
    squash: bool


class Unpacker(Extractor):
    """Makes the members of an archive below the directory `root`; the first part of their names becomes `top`, which may be
    empty for the directory itself. None: names stay as they are.
    """

    def __init__(self, root: int, top: bytes | None, manner: Manner) -> None:
        super().__init__(root, userxattr=False, owners="keep", owners_file=None)
        self._top, self._manner = top, manner

    def unpack(self, reader: tar.Reader, first: tar.Entry | None = None) -> None:
        """Make `first` and all the members that follow. Raises Conflict, Untrusted, StorageError, OSError."""
        try:
            entry = first or reader.next()
            while entry is not None:
                self.add(entry, reader)
                entry = reader.next()
            self.finish()
        finally:
            self.close()

    def add(self, entry: tar.Entry, reader: tar.Reader) -> None:
        """Make one member. Raises as `unpack`."""
        entry.name = self._placed(entry.name)
        if entry.kind == tar.LINK:
            entry.link = self._placed(entry.link)
        self._adjust(entry)
        self._make(entry, reader)

    def _make_named(self, make: Maker, entry: tar.Entry, above: bytes, name: bytes, reader: tar.Reader) -> None:
        parent = self._below.parent(above, entry)
        try:
            make(entry, parent, name, reader)
        except FileExistsError:
            if os.lstat(name, dir_fd=parent).st_mode & _S_IFMT == _S_IFDIR:
                raise Conflict(f"cannot overwrite the directory {tar.shown_name(entry)} with what is none") from None
            tree.remove(parent, name)
            make(entry, parent, name, reader)

    def _placed(self, name: bytes) -> bytes:
        if self._top is None:
            return name
        return (self._top + b"/" + name.partition(b"/")[2]).strip(b"/")

    def _adjust(self, entry: tar.Entry) -> None:
        """Who made a file set-user-ID meant its owner. With another one it would be a way to become that."""
        manner = self._manner
        if manner.owner is not None:
            if not manner.trusted or (entry.uid, entry.gid) != manner.owner:
                entry.mode &= ~_SET_IDS
            entry.uid, entry.gid = manner.owner
        if not manner.trusted:
            if entry.kind in _DEVICES:
                raise Conflict(f"{tar.shown_name(entry)} is a device", "with -a it is copied as one")
            if entry.xattrs:
                entry.xattrs = {key: value for key, value in entry.xattrs.items() if key.startswith(b"user.")}

    def _directory(self, entry: tar.Entry) -> None:
        path = normal(entry.name, entry)
        if not path:
            return
        above, _, name = path.rpartition(b"/")
        parent = self._below.parent(above, entry)
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if os.lstat(name, dir_fd=parent).st_mode & _S_IFMT != _S_IFDIR:
                raise Conflict(f"cannot overwrite {tar.shown_name(entry)}, which is no directory, with one") from None
        self._below.hold(path, entry)

    def _finish_by_name(self, entry: tar.Entry, parent: int, name: bytes) -> None:
        """chmod(2) follows symlinks, to the host where a container exchanges the name: so it is done to what is held."""
        mode = self._own_by_name(parent, name, entry)
        held = os.open(name, const.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if os.fstat(held).st_mode & _S_IFMT != 0o120000:
                os.chmod(f"/proc/self/fd/{held}", mode)
        finally:
            os.close(held)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _foreign(self, entry: tar.Entry, error: OSError) -> int:
        if error.errno not in (_EPERM, _EINVAL):
            raise error
        if self._manner.squash:
            return entry.mode & ~_SET_IDS
        raise StorageError(
            f"cannot give {tar.shown_name(entry)} to {entry.uid}:{entry.gid}: this user has no such ids",
            "give the user a range of 65536 ids in /etc/subuid and /etc/subgid",
        )
