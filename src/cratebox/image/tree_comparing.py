"""Two trees that should be alike: the first thing in which they are not."""

from __future__ import annotations

import os
import stat

from cratebox.linux import const
from cratebox.linux.beneath import openat2
from cratebox.text import shown

_WITHIN = const.RESOLVE_BENEATH | const.RESOLVE_NO_SYMLINKS | const.RESOLVE_NO_XDEV
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_CHUNK = 1 << 20
_LONGEST = 1000  # characters of a path that is opened at once, each of at most four bytes


def first_difference(one: int, other: int) -> str:
    """Return "/PATH: what differs" for the trees of two directories' descriptors, "" where they are alike. Raises OSError.

    `one` is what is looked at, `other` what it should be. Times of access and of change of the inode do not count.
    """
    pending = ["."]
    while pending:
        path = pending.pop()
        here, there = (_directory(root, path) for root in (one, other))
        try:
            found = _directories(here, there, path)
            if isinstance(found, str):
                return found.removeprefix(".")
            pending += found
        finally:
            os.close(here)
            os.close(there)
    return ""


def _directory(root: int, path: str) -> int:
    """Open a directory of a tree, which may lie deeper than a path for the kernel can be long (PATH_MAX)."""
    fd = os.dup(root)
    while path:
        cut = len(path) if len(path) < _LONGEST else path.rindex("/", 0, _LONGEST)
        part, path = path[:cut], path[cut + 1 :]
        try:
            deeper = openat2(fd, part, _DIRECTORY, resolve=_WITHIN)
        finally:
            os.close(fd)
        fd = deeper
    return fd


def _directories(here: int, there: int, path: str) -> str | list[str]:
    """Return what differs in two directories, or the paths of those that are in both."""
    if _attributes(here) != _attributes(there):
        return f"{path}: its extended attributes differ"
    names, wanted = set(os.listdir(here)), set(os.listdir(there))
    for name in sorted(names ^ wanted):
        return f"{path}/{_shown(name)} " + ("is gone" if name in wanted else "is not in its archive")
    below = []
    for name in sorted(names):
        info, other = os.lstat(name, dir_fd=here), os.lstat(name, dir_fd=there)
        why = _differs(info, other) or _content(name, here, there, other)
        if why:
            return f"{path}/{_shown(name)}: {why}"
        if stat.S_ISDIR(info.st_mode):
            below.append(f"{path}/{name}")
    return below


def _shown(name: str) -> str:
    return shown(name)[1:-1]


def _differs(info: os.stat_result, other: os.stat_result) -> str:
    if stat.S_IFMT(info.st_mode) != stat.S_IFMT(other.st_mode):
        return "it is of another kind"
    for what, field in (("mode", "st_mode"), ("owner", "st_uid"), ("group", "st_gid"), ("device", "st_rdev")):
        if getattr(info, field) != getattr(other, field):
            return f"its {what} differs"
    if stat.S_ISDIR(info.st_mode):
        return ""
    if info.st_size != other.st_size:
        return f"it has {info.st_size} bytes, not {other.st_size}"
    return "its names differ in number" if info.st_nlink != other.st_nlink else ""


def _content(name: str, here: int, there: int, info: os.stat_result) -> str:
    if stat.S_ISLNK(info.st_mode):
        same = os.readlink(name, dir_fd=here) == os.readlink(name, dir_fd=there)
        return "" if same else "it leads somewhere else"
    if not stat.S_ISREG(info.st_mode):
        return ""
    one, other = (openat2(directory, name, _FILE, resolve=_WITHIN) for directory in (here, there))
    try:
        if _attributes(one) != _attributes(other):
            return "its extended attributes differ"
        while True:
            chunk = os.read(one, _CHUNK)
            if chunk != os.read(other, _CHUNK):
                return "its content differs"
            if not chunk:
                return ""
    finally:
        os.close(one)
        os.close(other)


def _attributes(fd: int) -> dict[str, bytes]:
    try:
        return {name: os.getxattr(fd, name) for name in os.listxattr(fd)}
    except OSError:
        return {}
