"""A volume that is empty begins with what the image has at its place.

The image is hostile, and so may be who has the volume already: another container that runs, and renames, replaces and deletes
in it while it is filled. So nothing of either is reached but below a descriptor, no symlink is followed, and of names that may
have been exchanged no more is asked than that they are in the volume.

A file appears under its name whole: until then it has another, which no image needs (TEMPORARY). So what was filled by halves,
by a process that was killed, is filled further by adding what is missing.
"""

from __future__ import annotations

import os
import stat

from cratebox.linux import const
from cratebox.linux.beneath import open_beneath
from cratebox.runtime.copyup import attributes, check_depth, file, identity

TEMPORARY = ".crate-filling"
_ENOENT, _EXDEV, _ELOOP, _ENOTDIR = 2, 18, 40, 20


def fill(source: int, target: int, resume: bool) -> None:
    """Copy the directory `source` into the directory `target`, as `copyup.copy_directory` does; nothing where that is not
    empty, save to `resume` where somebody was killed. Raises OSError.
    """
    writing = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=target)
    try:
        there = os.listdir(writing)
        if resume or not there:
            _Filling(source, target).directory(source, target, "")
    finally:
        os.close(writing)


class _Filling:
    """One filling of the volume `top`. `_names`: where a file of the image with several names is."""

    def __init__(self, source: int, top: int) -> None:
        self._top = top
        self._device = os.fstat(source).st_dev
        self._names: dict[tuple[int, int], str] = {}

    def directory(self, source: int, target: int, path: str) -> None:
        """Fill a directory, whose `path` in the volume ends with a slash save for the top one."""
        check_depth(path)
        reading = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
        writing = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=target)
        try:
            for name in os.listdir(reading):
                if name != TEMPORARY:
                    self._entry(reading, writing, name, path + name)
            attributes(reading, writing)
            identity(writing, os.fstat(reading))
        finally:
            os.close(reading)
            os.close(writing)

    def _entry(self, reading: int, writing: int, name: str, path: str) -> None:
        held = os.open(name, const.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=reading)
        try:
            info = os.fstat(held)
            if stat.S_ISDIR(info.st_mode):
                if info.st_dev == self._device:  # of others, as what is mounted in there, the volume gets nothing
                    self._below(held, writing, name, path)
            elif not stat.S_ISSOCK(info.st_mode) and not _is_there(writing, name):
                first = self._names.setdefault((info.st_dev, info.st_ino), path) if info.st_nlink > 1 else path
                if first == path or not self._linked(first, writing, name):
                    self._make(held, writing, name, info)
        finally:
            os.close(held)

    def _below(self, held: int, writing: int, name: str, path: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=writing)
        except FileExistsError:
            pass
        try:
            made = os.open(name, const.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=writing)
        except OSError as error:
            if error.errno in (_ELOOP, _ENOTDIR, _ENOENT):
                return  # somebody wants something else there
            raise
        try:
            self.directory(held, made, path + "/")
        finally:
            os.close(made)

    def _linked(self, first: str, writing: int, name: str) -> bool:
        """Give a file of the volume another name; False where it has gone, and must be copied again."""
        try:
            there = open_beneath(self._top, first)
        except OSError as error:
            if error.errno in (_ENOENT, _EXDEV, _ELOOP, _ENOTDIR):
                return False
            raise
        try:
            os.link(f"/proc/self/fd/{there}", name, dst_dir_fd=writing, follow_symlinks=True)
        except FileExistsError:
            pass
        except OSError:
            return False  # a file system without links, or a symlink with several names
        finally:
            os.close(there)
        return True

    def _make(self, held: int, writing: int, name: str, info: os.stat_result) -> None:
        _delete(writing)
        if stat.S_ISREG(info.st_mode):
            file(held, writing, TEMPORARY, info)
        else:
            _node(held, writing, info)
        os.rename(TEMPORARY, name, src_dir_fd=writing, dst_dir_fd=writing)


def _is_there(writing: int, name: str) -> bool:
    try:
        os.lstat(name, dir_fd=writing)
    except FileNotFoundError:
        return False
    return True


def _delete(writing: int) -> None:
    try:
        os.unlink(TEMPORARY, dir_fd=writing)
    except FileNotFoundError:
        pass


def _node(held: int, writing: int, info: os.stat_result) -> None:
    """Make a symlink, a FIFO or a device. What is changed is what was made, or what somebody has put there of his own."""
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink("", dir_fd=held), TEMPORARY, dir_fd=writing)
    else:
        os.mknod(TEMPORARY, info.st_mode, info.st_rdev, dir_fd=writing)
    os.chown(TEMPORARY, info.st_uid, info.st_gid, dir_fd=writing, follow_symlinks=False)
    made = os.open(TEMPORARY, const.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=writing)
    try:
        if not stat.S_ISLNK(os.fstat(made).st_mode):
            os.chmod(f"/proc/self/fd/{made}", stat.S_IMODE(info.st_mode))
    finally:
        os.close(made)
    os.utime(TEMPORARY, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=writing, follow_symlinks=False)
