"""A root put together from pieces, where the kernel does not let an overlay be mounted over the whole.

In a user namespace the mounts below / are locked: an overlay over / would show what they cover, so the kernel refuses it
(mount_namespaces(7), Restrictions on mount namespaces). Each directory of / that has no such mount below can have an
overlay of its own; the others are bound, read-only, as they are.
"""

from __future__ import annotations

import os
import stat

from cratebox.linux import const, mount
from cratebox.linux.beneath import open_beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Every container has the first three from elsewhere; /run is where the sockets of the host's services are.
_LEFT_EMPTY = {"proc", "sys", "dev", "run"}
# Read-only does not keep anybody from connecting to a socket: where these cannot be overlaid they are not shown at all.
_NEVER_BOUND = {"tmp", "var"}


def mount_pieces(lower: str, memory: str, overlay: Callable[[str, str, str], int]) -> int:
    """Make a small file system whose entries are those of the directory `lower`; return its descriptor. Raises OSError.

    `memory` has the directories upper and work; `overlay(lower, upper, work)` makes an overlay and returns its descriptor.
    """
    root = mount.new_filesystem("tmpfs", ("mode=755", "size=1m"), const.MOUNT_ATTR_NODEV)
    target = os.open(memory, const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mount.attach(root, target, memory)  # what is mounted on it below must be in our namespace
    with os.scandir(lower) as entries:
        for entry in entries:
            info = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(info.st_mode):
                os.symlink(os.readlink(entry.path), entry.name, dir_fd=root)
            elif stat.S_ISDIR(info.st_mode):
                _directory(root, entry.path, entry.name, stat.S_IMODE(info.st_mode), (target, overlay))
    return root


def _directory(root: int, path: str, name: str, mode: int, how: tuple[int, Callable[[str, str, str], int]]) -> None:
    os.mkdir(name, mode, dir_fd=root)
    if name in _LEFT_EMPTY:
        return
    memory, overlay = how
    below = f"/proc/self/fd/{memory}"
    try:
        for kind in ("upper", "work"):
            os.mkdir(f"{kind}/{name}", mode, dir_fd=memory)
        tree = overlay(path, f"{below}/upper/{name}", f"{below}/work/{name}")
    except OSError:
        if name in _NEVER_BOUND:
            return
        try:
            tree = mount.clone_tree(path)
            mount.set_attributes(tree, const.MOUNT_ATTR_RDONLY, recursive=True)
        except OSError:
            return  # a directory that this user cannot see into stays empty
    place = open_beneath(root, name, const.O_PATH | os.O_DIRECTORY)
    mount.attach(tree, place, path)
    os.close(place)
    os.close(tree)
