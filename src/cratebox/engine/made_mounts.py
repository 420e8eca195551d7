"""Mounts that are made before the container, each in a process of its own that ends with it, and attached to the container as they are.

    /dev/shm of another container     copied in that one's mount namespace, which is the only place where it can be (open_tree(2))

They come back as descriptors of mounts that are attached nowhere: nobody else sees them, and nothing has to be removed.
"""

from __future__ import annotations

import os

from cratebox.errors import RuntimeFailure
from cratebox.linux import beneath, const, fdpass, mount, namespaces, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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
        return _made(copy, f"cannot share /dev/shm of {name}")
    finally:
        os.close(target)


def _made(make: Callable[[], int], what: str) -> int:
    """Return the descriptor that `make` returns in a process that nobody can look into. Raises RuntimeFailure."""
    ours, theirs = fdpass.pair()
    pid, pidfd = namespaces.clone(0)
    if pid == 0:
        try:
            process.set_dumpable(False)
            fdpass.send(theirs, b"T", (make(),))
        except OSError as error:
            fdpass.send(theirs, str(error.strerror).encode())
        finally:
            os._exit(0)
    theirs.close()
    os.close(pidfd)
    try:
        message, fds = fdpass.receive(ours)
    finally:
        ours.close()
        os.waitpid(pid, 0)
    if not fds:
        raise RuntimeFailure(f"{what}: {message.decode(errors='replace') or 'its process was killed'}")
    return fds[0]
