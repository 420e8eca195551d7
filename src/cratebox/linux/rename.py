"""renameat2(2), where its flags are needed."""

from __future__ import annotations

import errno
import os

from cratebox.linux import const
from cratebox.linux._libc import checked, path_bytes

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def replace_unflushed(new: str, path: str) -> None:
    """Put the file `new` in the place of `path`, in one step, and do not wait for a disk.

    ext4 begins to write a file out that is renamed over another (its mount option auto_da_alloc), which takes milliseconds. Two
    that change their names are left alone. For what a reboot forgets. Raises OSError.
    """
    try:
        checked(
            f"renameat2({new}, {path}, RENAME_EXCHANGE)",
            const.SYS_renameat2,
            _AT_FDCWD,
            path_bytes(new),
            _AT_FDCWD,
            path_bytes(path),
            _RENAME_EXCHANGE,
        )
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.EINVAL}:  # there is none to replace, or a file system that cannot
            raise
        os.rename(new, path)
    else:
        os.unlink(new)
