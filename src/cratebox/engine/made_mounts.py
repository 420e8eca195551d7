"""Mounts that are made before the container, each in a process of its own that ends with it,
and attached to the container as they are.

    /dev/shm of another container     copied in that one's mount namespace, which is the only place where it can be (open_tree(2))
    the root, with its IDs mapped     an overlay of layers that are bound over themselves with other IDs (mount_setattr(2))
    secrets                           files in a tmpfs, which never were on a disk and are gone with the container
    volumes that are no directory     made_volumes.py: a new file system, or a copy of the tmpfs that another container has

They come back as descriptors of mounts that are attached nowhere: nobody else sees them, and nothing has to be removed.
"""

from __future__ import annotations

import os

from cratebox.errors import CrateError, RuntimeFailure, Unsupported
from cratebox.linux import beneath, const, fdpass, mount, namespaces, process, userns
from cratebox.runtime import program
from cratebox.runtime.overlay import mount_overlay, put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.engine.config import SecretWish
    from cratebox.engine.idmaps import Identity
    from cratebox.runtime.state import State
    from cratebox.runtime.wish import Overlay

_TMPFS_MAGIC = 0x01021994  # linux/magic.h
_PR_SET_SECUREBITS, _NO_SETUID_FIXUP = 28, 1 << 2  # linux/prctl.h, linux/securebits.h: changing IDs takes no capability away
_SAFE = const.MOUNT_ATTR_NOSUID | const.MOUNT_ATTR_NODEV | const.MOUNT_ATTR_NOEXEC


def shared_memory(state: State, name: str) -> int:
    """Return a copy of the mount at /dev/shm of a container that runs. Raises RuntimeFailure."""
    return memory_of_another(state, name, "/dev/shm")  # noqa: S108  the container's


def memory_of_another(state: State, name: str, path: str) -> int:
    """Return a copy of the mount of a tmpfs that a container which runs has at `path`. Raises RuntimeFailure."""
    what = f"cannot share {path} of {name}"
    try:
        target = process.open_pidfd(state.pid, state.started)
        foreign = os.readlink(f"/proc/{state.pid}/ns/user") != os.readlink("/proc/self/ns/user")
    except OSError:
        raise RuntimeFailure(f"{what}: it has just ended") from None
    kinds = const.CLONE_NEWNS | (const.CLONE_NEWUSER if foreign else 0)

    def copy() -> tuple[int, ...]:
        # What is there is the container's: nothing of it leads out of its root, and nothing is imported any more.
        namespaces.setns(target, kinds)
        root = os.open("/", const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        place = beneath.open_in_root(root, path, const.O_PATH | os.O_DIRECTORY)
        if mount.filesystem_type(place) != _TMPFS_MAGIC:
            raise OSError(22, "it is no tmpfs any more")
        return (mount.clone_tree("", recursive=False, directory=place),)

    try:
        return made(copy, what)[0]
    finally:
        os.close(target)


def secret_files(files: tuple[tuple[SecretWish, bytes], ...], identity: Identity) -> tuple[int, ...]:
    """Return a mount of a file for each of `files`, which has what it is to hold.

    They are made in a user namespace where the container will be in one: there its IDs mean what they mean to it.
    Raises RuntimeFailure.
    """

    def make() -> tuple[int, ...]:
        mount.mount("none", "/", "", const.MS_REC | const.MS_PRIVATE)
        tree = put(mount.new_filesystem("tmpfs", ("mode=700",), _SAFE), "/")  # our / is what lies below it
        made = []
        for number, (wish, data) in enumerate(files):
            fd = os.open(str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=tree)
            with open(fd, "wb", 0) as file:
                file.write(data)
                os.fchmod(fd, wish.mode)
                os.fchown(fd, wish.uid, wish.gid)
            made.append(mount.clone_tree(str(number), recursive=False, directory=tree))
        return tuple(made)

    flags = const.CLONE_NEWNS | (const.CLONE_NEWUSER if identity.uids else 0)
    return made(make, "cannot make the container's secrets", flags, identity, len(files))


def mapped_root(overlay: Overlay | None, directory: str, place: str, identity: Identity) -> int:
    """Return a mount of the root that a container's user namespace sees as its own: `overlay`, or the copy in `directory`.

    What is on the disk keeps its IDs. `place` is an empty directory of ours. Raises Unsupported, RuntimeFailure.
    """
    space = userns.open_new(identity.uids, identity.gids)

    def mapped(path: str) -> int:
        tree = mount.clone_tree(path, recursive=False)
        mount.set_attributes(tree, const.MOUNT_ATTR_IDMAP, userns_fd=space)
        return tree

    def make() -> tuple[int, ...]:
        mount.mount("none", "/", "", const.MS_REC | const.MS_PRIVATE)
        if overlay is None:
            return (mapped(directory),)
        for path in (*overlay.lower, os.path.dirname(overlay.upper)):
            os.close(put(mapped(path), path))
        _become_owner(identity)
        return (mount.clone_tree("", recursive=False, directory=mount_overlay(overlay, place)),)

    try:
        return made(make, "cannot map the IDs of the image's layers", const.CLONE_NEWNS)[0]
    except RuntimeFailure as error:
        hint = "it takes Linux 5.19, and a file system for the store whose IDs can be mapped (ext4, xfs, btrfs)"
        raise Unsupported(error.message, hint) from None
    finally:
        os.close(space)


def _become_owner(identity: Identity) -> None:
    """Become the container's root, with all rights of ours: overlayfs writes as whoever mounted it,
    and root has no ID below.
    """
    process.prctl("PR_SET_SECUREBITS", _PR_SET_SECUREBITS, _NO_SETUID_FIXUP)
    uid, gid = identity.uids[0].outside, identity.gids[0].outside
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def made(
    make: Callable[[], tuple[int, ...]], what: str, flags: int = 0, owner: Identity | None = None, most: int = 1
) -> tuple[int, ...]:
    """Return the `most` descriptors that `make` returns in a process that nobody can look into,
    in new namespaces of the kinds `flags`.

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
        except (OSError, CrateError) as error:
            said = error.message if isinstance(error, CrateError) else str(error.strerror)
            fdpass.send(theirs, said.encode())
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
