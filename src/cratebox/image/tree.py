"""Deleting trees whose names are hostile: of any depth, with any mode, below a descriptor.

No symlink is followed and no mount is entered, whatever is swapped in meanwhile: what is mounted in a tree is somebody
else's, be it of the same file system (a bind mount), so it is an error and nothing behind it is touched.
"""

from __future__ import annotations

import os

from cratebox.linux import const
from cratebox.linux.beneath import openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    Identity = tuple[int, int]  # of a directory: device and inode

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WITHIN = const.RESOLVE_BENEATH | const.RESOLVE_NO_SYMLINKS | const.RESOLVE_NO_XDEV
_EBUSY, _EXDEV = 16, 18


def remove(parent: int, name: str | bytes) -> None:
    """Delete the file or the whole directory `name` in the directory `parent`.

    Raises OSError: EBUSY where something is mounted in it, or where a directory of it is moved away meanwhile.

    At any time one directory is open, and the way back is "..": a tree may be deeper than there are descriptors or stack
    frames, and longer than a path may be. So "..", where somebody moves directories, may be another than the one that was
    left; it is gone on only where it is the same.
    """
    if not _is_directory(parent, name):
        os.unlink(name, dir_fd=parent)
        return
    here = _enter(parent, name)
    try:
        above: list[tuple[str | bytes, Identity, list[str]]] = []
        todo = _empty_of_files(here)
        while todo or above:
            if todo:
                child = todo.pop()
                above.append((child, _identity(here), todo))
                here = _instead(here, _enter(here, child))
                todo = _empty_of_files(here)
            else:
                done, identity, todo = above.pop()
                here = _instead(here, os.open("..", _DIRECTORY, dir_fd=here))
                if _identity(here) != identity:
                    _refuse(done, "its directory is moved while it is being deleted")
                os.rmdir(done, dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(name, dir_fd=parent)


def _instead(old: int, new: int) -> int:
    os.close(old)
    return new


def _is_directory(parent: int, name: str | bytes) -> bool:
    return os.lstat(name, dir_fd=parent).st_mode & 0o170000 == 0o040000


def _identity(directory: int) -> Identity:
    info = os.fstat(directory)
    return info.st_dev, info.st_ino


def _enter(parent: int, name: str | bytes) -> int:
    try:
        try:
            return openat2(parent, name, _DIRECTORY, resolve=_WITHIN)
        except PermissionError:
            return _enter_closed(parent, name)
    except OSError as error:
        if error.errno == _EXDEV:
            _refuse(name, "something is mounted there")
        raise


def _enter_closed(parent: int, name: str | bytes) -> int:
    """Open a directory whose mode forbids it. chmod(2) would follow a symlink, so the mode goes to what is held already."""
    held = openat2(parent, name, const.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, resolve=_WITHIN)
    try:
        os.chmod(f"/proc/self/fd/{held}", 0o700)
        return os.open(".", _DIRECTORY, dir_fd=held)
    finally:
        os.close(held)


def _refuse(name: str | bytes, why: str) -> NoReturn:
    raise OSError(_EBUSY, f"{os.fsdecode(name)!a}: {why}")


def _empty_of_files(directory: int) -> list[str]:
    """Delete what is not a directory; return the names of those that are."""
    info = os.fstat(directory)
    if info.st_mode & 0o700 != 0o700 and info.st_uid == os.geteuid() != 0:
        os.fchmod(directory, 0o700)
    directories = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=directory)
    return directories
