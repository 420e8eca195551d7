"""Copies of whole trees, made for each test: a busybox has hundreds of names."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path


def copy_tree(source: Path, target: Path) -> None:
    """Copy a tree with owners, modes, times and extended attributes; `target` is not there yet.

    A symlink becomes one more name of the same inode: nobody can write into one, and hundreds of new inodes would take longer
    than all the rest. What has several names in the tree has them in the copy.
    """
    _copy_directory(str(source), str(target), {})


def _copy_directory(source: str, target: str, seen: dict[int, str]) -> None:
    os.mkdir(target)
    with os.scandir(source) as entries:
        for entry in entries:
            name = f"{target}/{entry.name}"
            if entry.is_symlink():
                _link(entry.path, name)
            elif entry.is_dir(follow_symlinks=False):
                _copy_directory(entry.path, name, seen)
            else:
                _copy_file(entry.path, name, entry.stat(follow_symlinks=False), seen)
    _copy_attributes(source, target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        os.symlink(os.readlink(source), target)  # another file system, another owner's, or too many names


def _copy_file(source: str, target: str, about: os.stat_result, seen: dict[int, str]) -> None:
    if about.st_ino in seen:
        os.link(seen[about.st_ino], target)
        return
    if about.st_nlink > 1:
        seen[about.st_ino] = target
    if stat.S_ISREG(about.st_mode):
        shutil.copyfile(source, target)
    else:
        os.mknod(target, about.st_mode, about.st_rdev)
    _copy_attributes(source, target)


def _copy_attributes(source: str, target: str) -> None:
    about = os.stat(source)
    os.chown(target, about.st_uid, about.st_gid)  # first: it takes set-user-ID bits and capabilities away
    shutil.copystat(source, target)
