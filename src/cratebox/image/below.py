"""The directories of a layer that is being unpacked: the way to them, and what is still to be done to them.

A directory gets its mode, owner, times and attributes last: until then it is ours alone, its files inherit nothing from it,
and what is made in it does not change its times.
"""

from __future__ import annotations

import os

from cratebox.errors import Untrusted
from cratebox.image import tar, tree
from cratebox.linux.beneath import open_in_root

_MAX_OPEN = 64  # directories kept open
_MAX_HELD = 256 << 20  # bytes of memory for what is still to be done
_MAX_WORK = 100_000_000  # directories looked at because one was replaced
_HELD_EACH = 300  # bytes of an entry without its name and attributes, about
_S_IFMT, _S_IFDIR, _S_IFLNK = 0o170000, 0o040000, 0o120000


class Below:
    """The directories below the descriptor `root`. Paths are normal ones: no empty part, no dot, no slash at the ends."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.entries: dict[bytes, tar.Entry | None] = {}  # what they get in the end; None: made without an entry
        self.opaque: dict[bytes, bytes] = {}  # the value of their attribute `overlay.opaque`
        self.whiteouts: set[bytes] = set()
        self._open: dict[bytes, int] = {}  # by the path as an entry has it, to be fast
        self._held = self._work = 0

    def parent(self, above: bytes, entry: tar.Entry) -> int:
        """Return the descriptor of the directory `above`, as an entry has it, made where it is not there.

        It stays open until `trim` or `close`. Raises Untrusted, OSError.
        """
        fd = self._open.get(above)
        if fd is None:
            fd = self._open[above] = self._reach(normal(above, entry), entry)
        return fd

    def existing(self, above: bytes, entry: tar.Entry) -> int:
        """Return the descriptor of the directory `above`, which must be there. Raises Untrusted, FileNotFoundError."""
        fd = self._open.get(above)
        if fd is None:
            path = normal(above, entry)
            fd = self._open[above] = open_in_root(self.root, path or b".", os.O_PATH | os.O_DIRECTORY)
        return fd

    def trim(self) -> None:
        """Close all where too many are open. Between two entries only: within one, a descriptor may be in use."""
        if len(self._open) > _MAX_OPEN:
            self.close()

    def close(self) -> None:
        """Close all that are open; they are opened again when they are needed."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def hold(self, path: bytes, entry: tar.Entry | None) -> None:
        """Remember what the directory `path` is to get. Raises Untrusted where that would need too much memory."""
        self._held += _HELD_EACH + len(path)
        if entry is not None and entry.xattrs:
            self._held += sum(len(name) + len(value) for name, value in entry.xattrs.items())
        if self._held > _MAX_HELD:
            raise Untrusted("the layer has more directories and whiteouts than any real one")
        if entry is not None:
            self.entries[path] = entry
        else:
            self.entries.setdefault(path, None)

    def hide(self, path: bytes) -> None:
        """Remember that there is a whiteout at `path`."""
        self._held += len(path) + _HELD_EACH
        self.whiteouts.add(path)

    def _reach(self, path: bytes, entry: tar.Entry) -> int:
        """Open the directory `path`; make it, and what is missing above it, as an archive without their entries means it."""
        if not path:
            return os.dup(self.root)
        try:
            return open_in_root(self.root, path, os.O_PATH | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            pass
        parts = path.split(b"/")
        here = os.dup(self.root)
        try:
            for depth, part in enumerate(parts, 1):
                step = self._step(here, b"/".join(parts[:depth]), part)
                os.close(here)
                here = step
        except FileExistsError:
            os.close(here)
            raise Untrusted(f"{tar.shown_name(entry)}: it goes through a symlink that leads to nothing in its layer") from None
        except BaseException:
            os.close(here)
            raise
        return here

    def _step(self, parent: int, path: bytes, name: bytes) -> int:
        try:
            return open_in_root(self.root, path, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            os.mkdir(name, 0o700, dir_fd=parent)
        except NotADirectoryError:
            if path not in self.whiteouts:
                raise
            self.replace_whiteout(path, parent, name)
        self.hold(path, None)
        return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)

    def replace_whiteout(self, path: bytes, parent: int, name: bytes) -> None:
        """Make a directory where the same layer says that the one below is gone: it hides all of it, so it is opaque."""
        os.unlink(name, dir_fd=parent)
        os.mkdir(name, 0o700, dir_fd=parent)
        self.whiteouts.discard(path)
        self.opaque[path] = b"y"

    def clear(self, above: bytes, parent: int, name: bytes, entry: tar.Entry) -> None:
        """Make way for an entry that replaces an earlier one. A link or a directory may be on the way to open ones."""
        kind = os.lstat(name, dir_fd=parent).st_mode & _S_IFMT
        tree.remove(parent, name)
        path = join(normal(above, entry), name)
        self.whiteouts.discard(path)
        if kind in (_S_IFDIR, _S_IFLNK):
            self.close()
        if kind == _S_IFDIR:
            self._forget(path)

    def _forget(self, path: bytes) -> None:
        inside = path + b"/"
        for table in (self.entries, self.opaque):
            self._work += len(table)
            if self._work > _MAX_WORK:
                raise Untrusted("the layer replaces its directories again and again")
            for key in [key for key in table if key == path or key.startswith(inside)]:
                del table[key]


def normal(path: bytes, entry: tar.Entry) -> bytes:
    """Return `path` without empty parts and dots. Raises Untrusted for one that climbs."""
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise Untrusted(f"{tar.shown_name(entry)}: a path with .. in it")
    return b"/".join(parts)


def join(directory: bytes, name: bytes) -> bytes:
    """Return the path of `name` in `directory`, which may be the root."""
    return directory + b"/" + name if directory else name
