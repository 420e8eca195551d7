"""Deleting trees whose names are hostile: of any depth, with any mode, following no symlink, below a descriptor."""

from __future__ import annotations

import os

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(parent: int, name: str | bytes) -> None:
    """Delete the file or the whole directory `name` in the directory `parent`. Raises OSError.

    At any time one directory is open, and the way back is "..": a tree may be deeper than there are descriptors or stack
    frames, and longer than a path may be. Nobody else may move directories in it meanwhile.
    """
    if not _is_directory(parent, name):
        os.unlink(name, dir_fd=parent)
        return
    here = _enter(parent, name)
    above: list[tuple[str | bytes, list[str]]] = []
    todo = _empty_of_files(here)
    while True:
        if todo:
            child = todo.pop()
            below = _enter(here, child)
            os.close(here)
            above.append((child, todo))
            here, todo = below, _empty_of_files(below)
        elif above:
            upper = os.open("..", _DIRECTORY, dir_fd=here)
            os.close(here)
            done, todo = above.pop()
            here = upper
            os.rmdir(done, dir_fd=here)
        else:
            os.close(here)
            os.rmdir(name, dir_fd=parent)
            return


def _is_directory(parent: int, name: str | bytes) -> bool:
    return os.lstat(name, dir_fd=parent).st_mode & 0o170000 == 0o040000


def _enter(parent: int, name: str | bytes) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        return os.open(name, _DIRECTORY, dir_fd=parent)


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
