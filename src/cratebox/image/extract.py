"""Making the entries of a layer's tar as files, directories, links, devices and whiteouts, safely and as they were.

Every entry is made in its parent directory, whose descriptor comes from `below`, by its last name, and never through a
symlink.
"""

from __future__ import annotations

import os

from cratebox.errors import StorageError, Untrusted
from cratebox.image import tar
from cratebox.image.below import Below, join, normal
from cratebox.linux.beneath import open_in_root
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    Maker = Callable[[tar.Entry, int, bytes, tar.Reader], None]

_WHITEOUT, _OPAQUE, _META = b".wh.", b".wh..wh..opq", b".wh..wh."
_MARGIN = 64 << 20  # bytes of the disk that are left alone
_MAX_SKIPPED = 100

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_S_IFMT, _S_IFDIR, _S_IFCHR, _S_IFBLK = 0o170000, 0o040000, 0o020000, 0o060000
_EPERM, _ENOENT, _ENOTDIR, _EINVAL, _ELOOP, _EOPNOTSUPP = 1, 2, 20, 22, 40, 95


class Extractor:
    """Makes the entries of one layer below `root`: `add` each, then `finish`, and `close` whatever happens."""

    def __init__(self, root: int, userxattr: bool, owners: str, owners_file: BinaryIO | None) -> None:
        self._below = Below(root)
        self._namespace = b"user.overlay." if userxattr else b"trusted.overlay."
        self._record = owners_file if owners == "record" else None
        self._uid, self._gid = os.geteuid(), os.getegid()
        self._special = 0o7000 | _umask()  # the bits of a mode that open(2) does not set by itself
        space = os.fstatvfs(root)
        self._space = max(0, space.f_bavail * space.f_frsize - _MARGIN)
        self.size = 0
        self.skipped: list[str] = []
        self._makers = {
            tar.REGULAR: self._file,
            tar.LINK: self._link,
            tar.SYMLINK: self._symlink,
            tar.CHARACTER: self._device,
            tar.BLOCK_DEVICE: self._device,
            tar.FIFO: self._fifo,
        }

    def add(self, entry: tar.Entry, reader: tar.Reader) -> None:
        """Make one entry. Raises Untrusted, StorageError, OSError."""
        self._budget(entry, reader.stored)
        self._make(entry, reader)

    def _make(self, entry: tar.Entry, reader: tar.Reader) -> None:
        self._below.trim()
        if entry.kind == tar.DIRECTORY:
            self._directory(entry)
            return
        if entry.kind == tar.VOLUME:
            return
        make = self._makers.get(entry.kind)
        if make is None:
            raise Untrusted(f"{tar.shown_name(entry)}: an entry of the unknown kind {entry.kind!r}")
        above, _, name = entry.name.rpartition(b"/")
        if name in (b"", b".", b".."):
            raise Untrusted(f"{tar.shown_name(entry)}: not a name that a file can have")
        self._make_named(make, entry, above, name, reader)

    def _make_named(self, make: Maker, entry: tar.Entry, above: bytes, name: bytes, reader: tar.Reader) -> None:
        """Make what is no directory, in place of what an earlier entry put there."""
        if name.startswith(_WHITEOUT):
            self._whiteout(entry, above, name)
            return
        if _META in above and _is_meta(above):
            return
        parent = self._below.parent(above, entry)
        try:
            make(entry, parent, name, reader)
        except FileExistsError:
            self._below.clear(above, parent, name, entry)
            make(entry, self._below.parent(above, entry), name, reader)

    def _budget(self, entry: tar.Entry, stored: int) -> None:
        """Refuse what cannot fit before it fills the disk: a bomb announces itself in its header."""
        self._space -= stored
        self.size += stored
        if self._space < 0:
            raise StorageError(
                f"cannot unpack {tar.shown_name(entry)}: the layer needs more space than the disk has, save its last {_MARGIN >> 20} MiB",
                "remove images with crate rmi, or move the store with --root",
            )

    # The kinds of entries.

    def _directory(self, entry: tar.Entry) -> None:
        path = normal(entry.name, entry)
        if _META in path and _is_meta(path):
            return
        if path:
            above, _, name = path.rpartition(b"/")
            parent = self._below.parent(above, entry)
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                if path in self._below.whiteouts:
                    self._below.replace_whiteout(path, parent, name)
                elif os.lstat(name, dir_fd=parent).st_mode & _S_IFMT != _S_IFDIR:
                    self._below.clear(above, parent, name, entry)
                    os.mkdir(name, 0o700, dir_fd=self._below.parent(above, entry))
        self._below.hold(path, entry)

    def _file(self, entry: tar.Entry, parent: int, name: bytes, reader: tar.Reader) -> None:
        fd = os.open(name, _CREATE, entry.mode & 0o777, dir_fd=parent)
        try:
            if entry.extents is not None:
                for offset, length in entry.extents:
                    reader.copy(fd, length, offset)
                os.ftruncate(fd, entry.size)
            elif entry.size:
                reader.copy(fd, entry.size)
                if entry.size >= tar.HOLE:
                    os.ftruncate(fd, entry.size)
            mode = entry.mode
            if entry.uid != self._uid or entry.gid != self._gid:
                mode = self._own(fd, entry)
            if mode & self._special:
                os.fchmod(fd, mode)
            if entry.xattrs:
                self._attributes(fd, entry)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _link(self, entry: tar.Entry, parent: int, name: bytes, _reader: tar.Reader) -> None:
        above, _, target = entry.link.rpartition(b"/")
        if target in (b"", b".", b".."):
            raise Untrusted(f"{tar.shown_name(entry)}: a hard link to what is no file: {shown(os.fsdecode(entry.link))}")
        try:
            source = self._below.existing(above, entry)
            os.link(target, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            raise Untrusted(
                f"{tar.shown_name(entry)}: a hard link to {shown(os.fsdecode(entry.link))}, which is not in its layer"
            ) from None
        except PermissionError:
            raise Untrusted(
                f"{tar.shown_name(entry)}: a hard link to {shown(os.fsdecode(entry.link))}, which the kernel refuses"
            ) from None

    def _symlink(self, entry: tar.Entry, parent: int, name: bytes, _reader: tar.Reader) -> None:
        os.symlink(entry.link, name, dir_fd=parent)
        if entry.uid != self._uid or entry.gid != self._gid:
            self._own_by_name(parent, name, entry)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _device(self, entry: tar.Entry, parent: int, name: bytes, _reader: tar.Reader) -> None:
        if entry.major >= 1 << 12 or entry.minor >= 1 << 20:
            raise Untrusted(f"{tar.shown_name(entry)}: a device {entry.major}:{entry.minor} cannot be")
        if entry.major == entry.minor == 0 and entry.kind == tar.CHARACTER:
            self._skip(entry, "the kernel's own form of a whiteout is not taken from a layer")
            return
        kind = _S_IFCHR if entry.kind == tar.CHARACTER else _S_IFBLK
        try:
            os.mknod(name, kind | 0o600, os.makedev(entry.major, entry.minor), dir_fd=parent)
        except PermissionError:
            self._skip(entry, "this user may not make devices")
            return
        self._finish_by_name(entry, parent, name)

    def _fifo(self, entry: tar.Entry, parent: int, name: bytes, _reader: tar.Reader) -> None:
        os.mkfifo(name, 0o600, dir_fd=parent)
        self._finish_by_name(entry, parent, name)

    def _finish_by_name(self, entry: tar.Entry, parent: int, name: bytes) -> None:
        mode = self._own_by_name(parent, name, entry)
        os.chmod(name, mode, dir_fd=parent)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    # Whiteouts.

    def _whiteout(self, entry: tar.Entry, above: bytes, name: bytes) -> None:
        directory = normal(above, entry)
        if name == _OPAQUE:
            self._below.parent(above, entry)
            self._below.opaque[directory] = b"y"
            return
        hidden = name[len(_WHITEOUT) :]
        if name.startswith(_META) or _is_meta(directory):
            return
        if hidden in (b"", b".", b".."):
            raise Untrusted(f"{tar.shown_name(entry)}: a whiteout of what is no file")
        parent, path = self._below.parent(above, entry), join(directory, hidden)
        try:
            kind = os.lstat(hidden, dir_fd=parent).st_mode & _S_IFMT
        except FileNotFoundError:
            self._make_whiteout(parent, hidden, directory)
            self._below.hide(path)
            return
        # The layer has a file of that name as well: it hides the one below already, a directory all that is in it.
        if kind == _S_IFDIR:
            self._below.hold(path, None)
            self._below.opaque[path] = b"y"

    def _make_whiteout(self, parent: int, name: bytes, directory: bytes) -> None:
        """A device 0:0, which everybody may make since Linux 5.8; a file with an attribute where the file system has none."""
        try:
            os.mknod(name, _S_IFCHR, 0, dir_fd=parent)
        except OSError as error:
            if error.errno not in (_EPERM, _EOPNOTSUPP, _EINVAL):
                raise
            fd = os.open(name, _CREATE, 0o600, dir_fd=parent)
            try:
                self._mark(fd, b"whiteout", b"y")
            finally:
                os.close(fd)
            # Linux 6.8 looks for such files only in directories that say so, in layers whose root says so.
            for path in (b"", directory):
                self._below.hold(path, None)
                self._below.opaque.setdefault(path, b"x")

    def _mark(self, fd: int, what: bytes, value: bytes) -> None:
        try:
            os.setxattr(fd, self._namespace + what, value)
        except OSError as error:
            raise StorageError(
                f"cannot hide what a layer deletes: the store's file system refuses {os.fsdecode(self._namespace + what)}: "
                f"{error.strerror}",
                "put the store on ext4, xfs or btrfs with --root",
            ) from None

    # Owner, attributes, the end.

    def _own(self, target: int, entry: tar.Entry) -> int:
        """Set the owner of a descriptor; return the mode that may then be set."""
        try:
            os.fchown(target, entry.uid, entry.gid)
        except OSError as error:
            return self._foreign(entry, error)
        return entry.mode

    def _own_by_name(self, parent: int, name: bytes, entry: tar.Entry) -> int:
        try:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            return self._foreign(entry, error)
        return entry.mode

    def _foreign(self, entry: tar.Entry, error: OSError) -> int:
        """An owner that this user cannot give. Without it, set-uid and set-gid would mean somebody else: they are not set."""
        if error.errno not in (_EPERM, _EINVAL):
            raise error
        if self._record is None:
            raise StorageError(
                f"cannot give {tar.shown_name(entry)} to {entry.uid}:{entry.gid}: this user has no such ids",
                "give the user a range of 65536 ids in /etc/subuid and /etc/subgid",
            )
        line = b"%s\t%d\t%d\t%o\n" % (_escaped(entry.name), entry.uid, entry.gid, entry.mode)
        self._record.write(line)
        return entry.mode & 0o1777

    def _attributes(self, fd: int, entry: tar.Entry) -> None:
        for name, value in (entry.xattrs or {}).items():
            if not is_taken(name):
                continue
            try:
                os.setxattr(fd, name, value)
            except (OSError, ValueError) as error:
                self._skip(entry, f"its attribute {shown(os.fsdecode(name))}: {error}")

    def _skip(self, entry: tar.Entry, why: str) -> None:
        if len(self.skipped) < _MAX_SKIPPED:
            self.skipped.append(f"{tar.shown_name(entry)}: {why}")

    def finish(self) -> None:
        """Give the directories what their entries say, the deepest first: a mode may close one to us."""
        self._below.close()
        for path in sorted(self._below.entries.keys() | self._below.opaque.keys(), reverse=True):
            try:
                fd = open_in_root(self._below.root, path or b".", _OPEN_DIRECTORY | os.O_NOFOLLOW)
            except OSError as error:
                if error.errno in (_ENOTDIR, _ELOOP, _ENOENT):
                    continue  # another entry has taken its place, by another way
                raise
            try:
                self._finish_directory(fd, path)
            finally:
                os.close(fd)

    def _finish_directory(self, fd: int, path: bytes) -> None:
        mark = self._below.opaque.get(path)
        entry = self._below.entries.get(path)
        if mark:
            self._mark(fd, b"opaque", mark)
        if entry is None:
            if path in self._below.entries and path:
                os.fchmod(fd, 0o755)
            return
        mode = self._own(fd, entry) if entry.uid != self._uid or entry.gid != self._gid else entry.mode
        os.fchmod(fd, mode)
        if entry.xattrs:
            self._attributes(fd, entry)
        os.utime(fd, ns=(entry.mtime, entry.mtime))

    def close(self) -> None:
        """Close what is open. A second call does nothing."""
        self._below.close()


def _is_meta(path: bytes) -> bool:
    """Directories that aufs kept for itself may be in very old layers; they mean nothing."""
    return any(part.startswith(_META) for part in path.split(b"/"))


def is_taken(name: bytes) -> bool:
    """Tell whether a layer may set this extended attribute: the user's own, file capabilities and access lists.

    Those of overlayfs would fake its layers; other `trusted.` ones belong to daemons of the host, and security labels to
    its policy.
    """
    if name.startswith(b"user."):
        return not name.startswith(b"user.overlay.")
    return name in (b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default")


def _escaped(name: bytes) -> bytes:
    """Return `name` as the file of owners has it: backslash, tab and newline as three octal digits."""
    for byte in (b"\\", b"\t", b"\n"):
        name = name.replace(byte, b"\\%03o" % byte[0])
    return name


def _umask() -> int:
    """Return the umask without changing it, which umask(2) cannot; 0o777 where the kernel does not tell."""
    try:
        with open("/proc/self/status", "rb") as file:
            for line in file:
                if line.startswith(b"Umask:"):
                    return int(line[6:], 8)
    except OSError:
        pass
    return 0o777
