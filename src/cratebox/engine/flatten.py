"""The layers of an image merged into one directory: the root of a container where overlayfs cannot be used (NFS, old kernels).

Whiteouts and opaque directories are those that image/layer.py writes, in either form (overlayfs.rst). Runs where the IDs of
the user's containers are real ones: as root, or in his user namespace.
"""

from __future__ import annotations

import os
import stat

from cratebox.image import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Shifts = tuple[Callable[[int], int], Callable[[int], int]]

_CHUNK = 1 << 20


def flatten(layers: tuple[str, ...], to: str, shifts: Shifts | None = None) -> None:
    """Make the directory `to`, whole or not at all: what an overlay of `layers` (lowest first) would show. Raises OSError.

    `shifts`: functions from the owner and the group of a layer's file to those of the copy.
    """
    new = to + ".new"
    _remove(new)
    os.mkdir(new, 0o755)
    for layer in layers:
        _Layer(layer, shifts or (_same, _same)).merge_into(new)
    os.rename(new, to)


def _remove(path: str) -> None:
    parent = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        tree.remove(parent, os.path.basename(path))
    except FileNotFoundError:
        pass
    finally:
        os.close(parent)


class _Layer:
    def __init__(self, root: str, shifts: Shifts) -> None:
        self.root, self.shifts = root, shifts
        self.linked: dict[int, str] = {}  # where the first name of a file with several names went, by inode

    def merge_into(self, target: str) -> None:
        """Lay this layer over what is in `target`. Directories get their times last, for filling them changes those."""
        pending, directories = [(self.root, target)], []
        while pending:
            source, into = pending.pop()
            directories.append((source, into))
            with os.scandir(source) as entries:
                for entry in entries:
                    if self._entry(entry.path, f"{into}/{entry.name}"):
                        pending.append((entry.path, f"{into}/{entry.name}"))
        for source, into in reversed(directories):
            _copy_attributes(source, into, os.lstat(source), self.shifts)

    def _entry(self, source: str, target: str) -> bool:
        """Copy one entry; True for a directory, whose own entries are still to come."""
        info = os.lstat(source)
        if _is_whiteout(source, info):
            _remove(target)
            return False
        if stat.S_ISDIR(info.st_mode):
            if not _is_directory(target) or _attribute(source, "opaque") == b"y":
                _remove(target)
                os.mkdir(target, 0o700)
            return True
        _remove(target)
        if info.st_nlink > 1 and info.st_ino in self.linked:
            os.link(self.linked[info.st_ino], target, follow_symlinks=False)
            return False
        if _copy(source, target, info):
            self.linked[info.st_ino] = target
            _copy_attributes(source, target, info, self.shifts)
        return False


def _is_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _is_whiteout(path: str, info: os.stat_result) -> bool:
    if stat.S_ISCHR(info.st_mode):
        return info.st_rdev == 0
    return stat.S_ISREG(info.st_mode) and info.st_size == 0 and _attribute(path, "whiteout") is not None


def _attribute(path: str, name: str) -> bytes | None:
    for namespace in ("trusted", "user"):
        try:
            return os.getxattr(path, f"{namespace}.overlay.{name}", follow_symlinks=False)
        except OSError:
            continue
    return None


def _copy(source: str, target: str, info: os.stat_result) -> bool:
    """Copy what is not a directory; False where it cannot be: a device without the right to make one, a socket."""
    kind = stat.S_IFMT(info.st_mode)
    if kind == stat.S_IFREG:
        _copy_data(source, target, info.st_size)
    elif kind == stat.S_IFLNK:
        os.symlink(os.readlink(source), target)
    elif kind in {stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK}:
        try:
            os.mknod(target, info.st_mode, info.st_rdev)
        except PermissionError:
            return False
    else:
        return False
    return True


def _copy_data(source: str, target: str, size: int) -> None:
    """Copy a file's data, holes left as holes (lseek(2), SEEK_DATA)."""
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(writing, size)
        position = 0
        while position < size:
            try:
                position = os.lseek(reading, position, os.SEEK_DATA)
            except OSError:
                break  # ENXIO: nothing but a hole follows
            end = os.lseek(reading, position, os.SEEK_HOLE)
            os.lseek(writing, position, os.SEEK_SET)
            while position < end:
                copied = os.sendfile(writing, reading, position, min(_CHUNK, end - position))
                if copied == 0:
                    return
                position += copied
    finally:
        os.close(reading)
        os.close(writing)


def _same(number: int) -> int:
    return number


def _copy_attributes(source: str, target: str, info: os.stat_result, shifts: Shifts) -> None:
    try:
        os.chown(target, shifts[0](info.st_uid), shifts[1](info.st_gid), follow_symlinks=False)
    except PermissionError:
        pass  # a map of one ID: everything belongs to it
    if not stat.S_ISLNK(info.st_mode):
        os.chmod(target, stat.S_IMODE(info.st_mode))
    for name in os.listxattr(source, follow_symlinks=False):
        if ".overlay." not in name:
            try:
                os.setxattr(target, name, os.getxattr(source, name, follow_symlinks=False), follow_symlinks=False)
            except OSError:
                pass  # the file system of the copy may not have them
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)
