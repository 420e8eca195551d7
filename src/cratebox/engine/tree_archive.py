"""A file, a symlink or a whole directory as a tar archive, read below one descriptor.

The tree may be that of a container that runs and means harm. No symlink is followed, what is opened is looked at before
(O_PATH): a device or a FIFO that takes a file's place meanwhile is never opened.
"""

from __future__ import annotations

import os
import stat

from cratebox.engine import archiving
from cratebox.engine.layered import Entry
from cratebox.linux import const
from cratebox.linux.beneath import openat2
from cratebox.linux.regular import open_again

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_WITHIN = const.RESOLVE_BENEATH | const.RESOLVE_NO_SYMLINKS | const.RESOLVE_NO_MAGICLINKS
_GONE = (2, 20, 40)  # ENOENT, ENOTDIR, ELOOP: of what was replaced meanwhile
_ELOOP = 40


class Tree:
    """What the descriptor `top` (O_PATH) refers to, and all below it."""

    def __init__(self, top: int) -> None:
        self._top = top
        self.is_directory = stat.S_ISDIR(os.fstat(top).st_mode)

    def archive(self, name: str) -> Iterator[bytes]:
        """Yield the archive; its first member is called `name`, and the others begin with it. Raises OSError."""
        return archiving.archive(self, self._files(name))

    def _files(self, name: str) -> Iterator[tuple[str, Entry]]:
        info = os.fstat(self._top)
        pending = [(name, Entry(info.st_dev, "", info, None))]
        while pending:
            name, entry = pending.pop()
            yield name, entry
            if entry.is_directory:
                pending += ((f"{name}/{below}", one) for below, one in sorted(self._children(entry), reverse=True))

    def _children(self, directory: Entry) -> Iterator[tuple[str, Entry]]:
        try:
            fd = self.open(directory)
        except OSError as error:
            if error.errno in _GONE and directory.path:
                return
            raise
        try:
            with os.scandir(fd) as found:
                for one in found:
                    try:
                        info = one.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # deleted meanwhile
                    path = f"{directory.path}/{one.name}" if directory.path else one.name
                    yield one.name, Entry(info.st_dev, path, info, None)
        finally:
            os.close(fd)

    def open(self, entry: Entry) -> int:
        """Open a directory, or a regular file for reading; return the descriptor. Raises OSError."""
        held = self._hold(entry)
        try:
            mode = os.fstat(held).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise OSError(_ELOOP, "it is no file any more", entry.path)
            return open_again(held, entry.path)
        finally:
            os.close(held)

    def link_target(self, entry: Entry) -> str:
        """Return what a symlink says. Raises OSError."""
        held = self._hold(entry)
        try:
            return os.readlink("", dir_fd=held)
        finally:
            os.close(held)

    def _hold(self, entry: Entry) -> int:
        if not entry.path:
            return os.dup(self._top)
        return openat2(self._top, entry.path, const.O_PATH | os.O_NOFOLLOW, resolve=_WITHIN)
