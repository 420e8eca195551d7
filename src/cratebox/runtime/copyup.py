"""tmpcopyup: a tmpfs that begins with what the image has in the directory that it covers.

The image is hostile: everything is opened below a descriptor, no symlink is followed, and nothing but regular files is read.
"""

from __future__ import annotations

import os
import stat

from cratebox.linux import const
from cratebox.linux.regular import open_again

_CHUNK = 1 << 20
_BLOCK = 512  # bytes, of st_blocks (stat(2))
_ENOTSUP, _ENODATA, _EPERM, _ENAMETOOLONG, _ENXIO = 95, 61, 1, 36, 6
_DEEPEST = 128


def copy_directory(source: int, target: int, keep_top: bool) -> None:
    """Copy what is in the directory `source` into the empty directory `target`, with modes, owners, times, extended attributes
    and hard links. What is mounted below `source` is copied as well; sockets are not. With `keep_top`, `target` itself keeps
    its mode and owner. Raises OSError.
    """
    before = os.stat(".", dir_fd=target)
    _copy(source, target, {}, target)
    if keep_top:
        os.chown(".", before.st_uid, before.st_gid, dir_fd=target)
        os.chmod(".", stat.S_IMODE(before.st_mode), dir_fd=target)


def _copy(source: int, target: int, seen: dict[tuple[int, int], str], top: int, path: str = "") -> None:
    check_depth(path)
    reading = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
    writing = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=target)
    try:
        for name in os.listdir(reading):
            _entry(reading, writing, name, seen, top, path + name)
        attributes(reading, writing)
        identity(writing, os.fstat(reading))
    finally:
        os.close(reading)
        os.close(writing)


def check_depth(path: str) -> None:
    """Raise OSError for a path too deep: each level costs descriptors, and an image may have any number of them."""
    if path.count("/") > _DEEPEST:
        raise OSError(_ENAMETOOLONG, f"more than {_DEEPEST} directories in each other")


def _entry(reading: int, writing: int, name: str, seen: dict[tuple[int, int], str], top: int, path: str) -> None:
    held = os.open(name, const.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=reading)
    try:
        info = os.fstat(held)
        if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
            first = seen.setdefault((info.st_dev, info.st_ino), path)
            if first != path:
                os.link(first, name, src_dir_fd=top, dst_dir_fd=writing, follow_symlinks=False)
                return
        if stat.S_ISDIR(info.st_mode):
            os.mkdir(name, 0o700, dir_fd=writing)
            _below(held, writing, name, seen, top, path)
        elif stat.S_ISREG(info.st_mode):
            file(held, writing, name, info)
        elif not stat.S_ISSOCK(info.st_mode):
            _node(held, writing, name, info)
    finally:
        os.close(held)


def _below(held: int, writing: int, name: str, seen: dict[tuple[int, int], str], top: int, path: str) -> None:
    made = os.open(name, const.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=writing)
    try:
        _copy(held, made, seen, top, path + "/")
    finally:
        os.close(made)


def file(held: int, writing: int, name: str, info: os.stat_result) -> None:
    """Copy the file of descriptor `held`, which `info` is of, to `name` in the directory `writing`, where none is yet.
    Raises OSError.
    """
    reading = open_again(held, name)
    made = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=writing)
    try:
        content(reading, made)
        identity(made, info)
        attributes(reading, made)
    finally:
        os.close(reading)
        os.close(made)


def content(reading: int, made: int) -> None:
    """Copy what one descriptor gives to another. Holes stay holes: some bytes of an image may be a file of terabytes.
    Raises OSError.
    """
    about = os.fstat(reading)
    if about.st_blocks * _BLOCK < about.st_size:
        _pieces(reading, made, about.st_size)
        return
    while part := os.read(reading, _CHUNK):
        _write(made, part)


def _pieces(reading: int, made: int, size: int) -> None:
    """Copy the parts of a file that are not holes (lseek(2), SEEK_DATA)."""
    os.ftruncate(made, size)
    at = 0
    while True:
        try:
            at = os.lseek(reading, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == _ENXIO:
                return  # nothing but a hole is left
            raise
        end = os.lseek(reading, at, os.SEEK_HOLE)
        os.lseek(reading, at, os.SEEK_SET)
        os.lseek(made, at, os.SEEK_SET)
        while at < end and (part := os.read(reading, min(_CHUNK, end - at))):
            _write(made, part)
            at += len(part)


def _write(made: int, part: bytes) -> None:
    while part:
        part = part[os.write(made, part) :]


def _node(held: int, writing: int, name: str, info: os.stat_result) -> None:
    """Make a symlink, a FIFO or a device. Nobody else sees the new file system yet, so its names stay what they are."""
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink("", dir_fd=held), name, dir_fd=writing)
    else:
        os.mknod(name, info.st_mode, info.st_rdev, dir_fd=writing)
    os.chown(name, info.st_uid, info.st_gid, dir_fd=writing, follow_symlinks=False)
    if not stat.S_ISLNK(info.st_mode):
        os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=writing)
    os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=writing, follow_symlinks=False)


def identity(fd: int, info: os.stat_result) -> None:
    """Give what `fd` refers to the owner, mode and times of `info`. Raises OSError."""
    os.fchown(fd, info.st_uid, info.st_gid)
    os.fchmod(fd, stat.S_IMODE(info.st_mode))
    os.utime(fd, ns=(info.st_atime_ns, info.st_mtime_ns))


def attributes(reading: int, made: int) -> None:
    """Copy extended attributes. A tmpfs takes user.* since Linux 6.6, and trusted.* of root alone:
    those that it does not take stay behind. Raises OSError.
    """
    for name in os.listxattr(reading):
        try:
            os.setxattr(made, name, os.getxattr(reading, name))
        except OSError as error:
            if error.errno not in (_ENOTSUP, _ENODATA, _EPERM):
                raise
