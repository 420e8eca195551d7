"""Mounts that are made before the container, each in a process of its own that ends with it, and attached to the container as they are.

    /dev/shm of another container     copied in that one's mount namespace, which is the only place where it can be (open_tree(2))
    secrets                           files in a tmpfs, which never were on a disk and are gone with the container

They come back as descriptors of mounts that are attached nowhere: nobody else sees them, and nothing has to be removed.
"""

from __future__ import annotations

import os

from cratebox.errors import RuntimeFailure
from cratebox.linux import beneath, const, fdpass, mount, namespaces, process, userns
from cratebox.runtime import program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.engine.config import SecretWish
    from cratebox.engine.idmaps import Identity
    from cratebox.runtime.state import State

_TMPFS_MAGIC = 0x01021994  # linux/magic.h


def shared_memory(state: State, name: str) -> int:
    """Return a copy of the mount at /dev/shm of a container that runs. Raises RuntimeFailure."""
    try:
        target = process.open_pidfd(state.pid, state.started)
        foreign = os.readlink(f"/proc/{state.pid}/ns/user") != os.readlink("/proc/self/ns/user")
    except OSError:
        raise RuntimeFailure(f"cannot share /dev/shm of {name}: it has just ended") from None
    kinds = const.CLONE_NEWNS | (const.CLONE_NEWUSER if foreign else 0)

    def copy() -> int:
        # What is there is the container's: nothing of it is followed, and nothing is imported any more.
        namespaces.setns(target, kinds)
        root = os.open("/", const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        place = beneath.open_beneath(root, "dev/shm", const.O_PATH | os.O_DIRECTORY)
        if mount.filesystem_type(place) != _TMPFS_MAGIC:
            raise OSError(22, "it is no tmpfs any more")
        return mount.clone_tree("", recursive=False, directory=place)

    try:
        return _made(lambda: (copy(),), f"cannot share /dev/shm of {name}")[0]
    finally:
        os.close(target)


def secret_files(files: tuple[tuple[SecretWish, bytes], ...], place: str, identity: Identity) -> tuple[int, ...]:
    """Return a mount of a file for each of `files`, which has what it is to hold; `place` is an empty directory of ours.

    They are made in a user namespace where the container will be in one: there its IDs mean what they mean to it. Raises RuntimeFailure.
    """

    def make() -> tuple[int, ...]:
        mount.mount("none", "/", "", const.MS_REC | const.MS_PRIVATE)
        mount.mount("tmpfs", place, "tmpfs", const.MS_NOSUID | const.MS_NODEV | const.MS_NOEXEC, "mode=700")
        made = []
        for number, (wish, data) in enumerate(files):
            path = f"{place}/{number}"
            with open(path, "xb", 0) as file:
                file.write(data)
                os.fchmod(file.fileno(), wish.mode)
                os.fchown(file.fileno(), wish.uid, wish.gid)
            made.append(mount.clone_tree(path, recursive=False))
        return tuple(made)

    flags = const.CLONE_NEWNS | (const.CLONE_NEWUSER if identity.uids else 0)
    return _made(make, "cannot make the container's secrets", flags, identity, len(files))


def _made(
    make: Callable[[], tuple[int, ...]], what: str, flags: int = 0, owner: Identity | None = None, most: int = 1
) -> tuple[int, ...]:
    """Return the descriptors that `make` returns in a process that nobody can look into, in new namespaces of the kinds `flags`.

    Raises RuntimeFailure.
    """
    ours, theirs = fdpass.pair()
    pid, pidfd = namespaces.clone(flags)
    if pid == 0:
        try:
            if flags & const.CLONE_NEWUSER:
                fdpass.receive(theirs)
                program.become_root()
            process.set_dumpable(False)
            fdpass.send(theirs, b"T", make())
        except OSError as error:
            fdpass.send(theirs, str(error.strerror).encode())
        finally:
            os._exit(0)
    theirs.close()
    os.close(pidfd)
    try:
        if owner and flags & const.CLONE_NEWUSER:
            userns.map_ids(pid, owner.uids, owner.gids)
            fdpass.send(ours, b"M")
        message, fds = fdpass.receive(ours, most_fds=most)
    except OSError as error:
        raise RuntimeFailure(f"{what}: {error.strerror}") from None
    finally:
        ours.close()
        os.waitpid(pid, 0)
    if not fds:
        raise RuntimeFailure(f"{what}: {message.decode(errors='replace') or 'its process was killed'}")
    return fds
