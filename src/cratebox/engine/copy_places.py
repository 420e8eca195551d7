"""From where and to where `cp` copies: Docker's rules (docker cp, "Description"), for a container's tree and the host's alike.

    the source is          the destination is not there   is a file           is a directory
    a file                 is made so (not DIR/)          is replaced         gets it, by its name
    a directory            is made so                     an error            gets it, by its name
    a directory, as DIR/.  is made so                     an error            gets what is in it

Paths are resolved below the descriptor of the tree's root, as a process would whose root that is.
"""

from __future__ import annotations

import os
import stat

from cratebox.errors import Conflict, NotFound
from cratebox.linux import const
from cratebox.linux.beneath import open_in_root
from cratebox.runtime.targets import path_below
from cratebox.text import shown

_MOST_LINKS = 40
_ELOOP, _ENOTDIR = 40, 20


def is_explicit(path: str) -> bool:
    """Tell whether the path says by its end that it is a directory."""
    return path.endswith(("/", "/.")) or path == "."


def name_of(path: str) -> str:
    """Return the name by which the copy of `path` goes into a directory; "" for the contents of a directory (DIR/., /, ..)."""
    if path.endswith("/.") or path == ".":
        return ""
    name = os.path.basename(path.rstrip("/"))
    return "" if name in ("", ".", "..") else name


def source(root: int, path: str, follow: bool) -> int:
    """Return an O_PATH descriptor of what is to be copied; a symlink itself, unless `follow`.
    Raises NotFound, Conflict, OSError.
    """
    explicit = is_explicit(path)
    try:
        fd = open_in_root(root, path, const.O_PATH | (0 if follow or explicit else os.O_NOFOLLOW))
    except FileNotFoundError:
        raise NotFound(f"{shown(path)}: no such file or directory") from None
    except NotADirectoryError:
        raise _no_directory(path) from None
    if explicit and not stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise _no_directory(path)
    return fd


def _no_directory(path: str) -> Conflict:
    return Conflict(f"{shown(path)}: not a directory")


def destination(root: int, path: str, name: str, is_directory: bool) -> tuple[int, str]:
    """Return the directory (an O_PATH descriptor) in which the copy is made, and its name there, "" for the directory itself.

    `name` is the source's (`name_of`). Raises NotFound, Conflict, OSError.
    """
    typed = path
    for _ in range(_MOST_LINKS):
        there = _open(root, path)
        if there >= 0:
            return _existing(root, there, typed, name, is_directory)
        if is_explicit(path) and not is_directory:
            raise NotFound(f"{shown(typed)}: the directory must be there")
        parent = _open(root, os.path.dirname(path.rstrip("/")) or "/")
        if parent < 0 or not stat.S_ISDIR(os.fstat(parent).st_mode):
            raise NotFound(f"{shown(typed)}: the directory that it is to be in is not there")
        last = os.path.basename(path.rstrip("/"))
        try:
            path = os.path.join(path_below(root, parent), os.readlink(last, dir_fd=parent))  # a symlink to what is not there
        except OSError:
            return parent, last
        os.close(parent)
    raise OSError(_ELOOP, "too many symlinks", typed)


def _open(root: int, path: str) -> int:
    try:
        return open_in_root(root, path, const.O_PATH)
    except FileNotFoundError:
        return -1
    except NotADirectoryError:
        raise _no_directory(path) from None


def _existing(root: int, there: int, typed: str, name: str, is_directory: bool) -> tuple[int, str]:
    if stat.S_ISDIR(os.fstat(there).st_mode):
        return there, name
    try:
        if is_directory:
            raise Conflict(f"{shown(typed)}: cannot copy a directory to a file")
        if is_explicit(typed):
            raise _no_directory(typed)
        above, last = os.path.split(path_below(root, there))
        return open_in_root(root, above, const.O_PATH | os.O_DIRECTORY), last
    finally:
        os.close(there)
