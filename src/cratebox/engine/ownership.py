"""U, Podman's option of a mount: what is there is given to the container's user before it starts.

The tree may be in use by a container that means harm. Everything is opened below a descriptor, and no symlink is followed.
Files lose their set-user-ID bits, as with chown(1).
"""

from __future__ import annotations

import os

from cratebox.errors import StorageError, Unsupported
from cratebox.image import across
from cratebox.linux import const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.idmaps import Identity
    from cratebox.linux.userns import IDMap

_GONE = (2, 20, 40)  # ENOENT, ENOTDIR, ELOOP: of what is replaced meanwhile


def give(identity: Identity, path: str, uid: int, gid: int, mapped: bool) -> None:
    """Make `uid` and `gid`, of the container, the owner of all at `path`.
    `mapped`: on the disk IDs are as the container has them.

    Raises Unsupported for IDs that the container does not have, StorageError.
    """
    if identity.rootless:
        from cratebox.engine.userspace import runner

        across.run(runner(identity), lambda: _give(path, uid, gid))
        return
    if identity.uids and not mapped:
        uid, gid = _outside(identity.uids, uid), _outside(identity.gids, gid)
    _give(path, uid, gid)


def _outside(maps: tuple[IDMap, ...], number: int) -> int:
    for one in maps:
        if one.inside <= number < one.inside + one.size:
            return one.outside + number - one.inside
    raise Unsupported(f"the container has no ID {number}, so nothing can be given to it", "leave U out, or run as another user")


def _give(path: str, uid: int, gid: int) -> None:
    try:
        top = os.open(path, const.O_PATH | os.O_CLOEXEC)
        try:
            _tree(top, uid, gid)
        finally:
            os.close(top)
    except OSError as error:
        raise StorageError(
            f"cannot give {path} to {uid}:{gid}: {error.strerror}", "leave U out where its owner is to stay"
        ) from None


def _tree(top: int, uid: int, gid: int) -> None:
    """One directory after the other; open are those that lead to it."""
    os.chown(f"/proc/self/fd/{top}", uid, gid)
    pending = [(os.dup(top), iter(_names(top)))]
    try:
        while pending:
            here, names = pending[-1]
            name = next(names, None)
            if name is None:
                os.close(pending.pop()[0])
                continue
            try:
                os.chown(name, uid, gid, dir_fd=here, follow_symlinks=False)
                if os.lstat(name, dir_fd=here).st_mode & 0o170000 == 0o040000:
                    child = os.open(name, const.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                    pending.append((child, iter(_names(child))))
            except OSError as error:
                if error.errno not in _GONE:
                    raise
    finally:
        for fd, _left in pending:
            os.close(fd)


def _names(held: int) -> list[str]:
    try:
        reading = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=held)
    except NotADirectoryError:
        return []
    try:
        return os.listdir(reading)
    finally:
        os.close(reading)
