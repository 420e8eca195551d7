"""The directory of criu's images: root's alone, and what criu itself does not look at.

criu does as root what the images say: whoever can write them is root. What is in them is criu's to judge, save that it would
wait for ever for pages that a file which was cut short has not.
"""

from __future__ import annotations

import os
import stat

from cratebox.errors import NotFound, RuntimeFailure, StorageError
from cratebox.linux.regular import read_regular
from cratebox.runtime.criu_messages import numbers

_PARENT = "parent"  # a link of criu's own to the images before
_LAZY = "lazy-pages.socket"  # where `criu lazy-pages` listens, if it works in the directory of the images
_MOST_PARENTS = 64
_MOST_OF_PAGEMAP = 256 << 20  # bytes
_MAGIC = 8  # bytes that each image begins with; then the size of a message, in 4 bytes, and the message, again and again
_PAGES_ID, _COUNT, _FLAGS, _LONG_COUNT = 1, 2, 4, 5  # of pagemap_head and pagemap_entry (criu's pagemap.proto)
_PRESENT = 4


def make_directory(path: str) -> int:
    """Make the directory `path` for images or a log, root's alone, and return its descriptor. Raises StorageError."""
    try:
        os.makedirs(path, 0o700, exist_ok=True)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"cannot use {path}: {(error.strerror or '').lower()}") from None
    try:
        _check_owner(path, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_images(path: str) -> int:
    """Open the directory of the images to restore from.

    Raises NotFound, RuntimeFailure, StorageError where somebody else could have written them.

    criu does as root what they say: who can change them is root.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(
            f"there are no images: {path} does not exist", "--image-path says where checkpoint has put them"
        ) from None
    except OSError as error:
        raise StorageError(f"cannot use {path}: {(error.strerror or '').lower()}") from None
    try:
        names = _check_files(path, fd)
        if "inventory.img" not in names:
            raise NotFound(f"there are no images in {path}", "--image-path says where checkpoint has put them")
        _check_pages(path, names)
        if _PARENT in names:
            _check_parent(path, fd, _MOST_PARENTS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_files(path: str, fd: int) -> list[str]:
    """Return what is in a directory of images. Raises StorageError where somebody else could have written it."""
    _check_owner(path, os.fstat(fd))
    names = os.listdir(fd)
    for name in names:
        info = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if name == _LAZY and stat.S_ISSOCK(info.st_mode) and info.st_uid == os.geteuid():
            continue
        if name != _PARENT or not stat.S_ISLNK(info.st_mode):
            _check_owner(f"{path}/{name}", info)
    return names


def _check_parent(path: str, fd: int, most: int) -> None:
    """Look at the images before those of `fd` as at these: criu takes memory from where the link leads. Raises StorageError."""
    where = f"{path}/{_PARENT}"
    if not most:
        raise StorageError(f"the links parent lead round in a circle, or too far, to {os.readlink(f'/proc/self/fd/{fd}')}")
    _check_above(fd)
    try:
        inner = os.open(_PARENT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    except OSError as error:
        raise StorageError(f"cannot use {where}: {(error.strerror or '').lower()}") from None
    try:
        _check_above(inner)
        if _PARENT in _check_files(where, inner):
            _check_parent(where, inner, most - 1)
    finally:
        os.close(inner)


def _check_above(fd: int) -> None:
    """Raise StorageError where others could put another directory in place of `fd`, which is opened by its name again."""
    path = os.readlink(f"/proc/self/fd/{fd}")
    while path != "/":
        path = os.path.dirname(path)
        info = os.stat(path)
        if info.st_uid not in (0, os.geteuid()) or (info.st_mode & 0o022 and not info.st_mode & stat.S_ISVTX):
            raise StorageError(
                f"{path} can be changed by others, who could exchange the images in it that these lean on",
                "keep images with a parent where each directory is root's",
            )


def _check_owner(path: str, info: os.stat_result) -> None:
    kind = info.st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise StorageError(f"{path} is neither a file nor a directory, as criu's images are")
    if info.st_uid != os.geteuid() or kind & 0o022:
        raise StorageError(
            f"{path} can be written by others, and criu does as root what it says",
            f"make it root's: chown root {path}; chmod go-w {path}",
        )


def _check_pages(path: str, names: list[str]) -> None:
    """Raise StorageError where a file of pages has fewer than the image that tells where in memory they go."""
    size = os.sysconf("SC_PAGE_SIZE")
    for name in names:
        if not name.startswith("pagemap-"):
            continue
        try:
            head, *entries = [numbers(one) for one in _messages(read_regular(f"{path}/{name}", _MOST_OF_PAGEMAP))]
            pages = f"pages-{head[_PAGES_ID]}.img"
            wanted = sum(one.get(_LONG_COUNT, one.get(_COUNT, 0)) for one in entries if one.get(_FLAGS, _PRESENT) & _PRESENT)
            if wanted * size > (os.stat(f"{path}/{pages}").st_size if wanted else 0):
                raise StorageError(f"damaged: {path}/{pages} is shorter than {name} says")
        except (ValueError, KeyError, IndexError, OSError, RuntimeFailure):
            raise StorageError(f"damaged: {path}/{name} is no image of criu's, or its pages are gone") from None


def _messages(raw: bytes) -> list[bytes]:
    found, at = [], _MAGIC
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 4], "little")
        if at + 4 + length > len(raw):
            raise ValueError
        found.append(raw[at + 4 : at + 4 + length])
        at += 4 + length
    return found
