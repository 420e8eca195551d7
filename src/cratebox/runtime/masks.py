"""What is hidden from the container and what it may not write: linux.maskedPaths and linux.readonlyPaths.

`places` are the mounts at /proc/ and /sys/. What is below them is found from there and not from the root: somebody who has the
root as a volume could rename the directory /proc in the meantime, and the masks would lie on another one.
"""

from __future__ import annotations

import os
import stat

from cratebox.errors import RuntimeFailure
from cratebox.linux import const, mount
from cratebox.linux.beneath import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def hide(root: int, places: dict[str, int], paths: tuple[str, ...], null: int) -> None:
    """Put the device of descriptor `null` over files and an empty directory over directories (linux.maskedPaths).

    A path that is not there needs no hiding. Raises RuntimeFailure.
    """
    empty: list[int] = []

    def nothing(target: int) -> int:
        if stat.S_ISDIR(os.fstat(target).st_mode):
            if empty:  # one is enough for all of them; a further mount of it is made in a fifth of the time
                return mount.clone_tree("", recursive=False, directory=empty[0])
            empty.append(mount.new_filesystem("tmpfs", ("ro", "size=0", "nr_inodes=1"), const.MOUNT_ATTR_RDONLY))
            return os.dup(empty[0])
        tree = mount.clone_tree("", directory=null)
        mount.set_attributes(tree, const.MOUNT_ATTR_RDONLY)  # it is the host's node: its mode and owner must stay
        return tree

    try:
        for path in paths:
            _cover(_base(root, places, path), path, nothing, "mask")
    finally:
        for fd in empty:
            os.close(fd)


def make_readonly(root: int, places: dict[str, int], paths: tuple[str, ...]) -> None:
    """Make each of `paths` read-only, whatever is mounted on it included (linux.readonlyPaths). Raises RuntimeFailure."""

    def the_same(target: int) -> int:
        tree = mount.clone_tree("", directory=target)
        mount.set_attributes(tree, const.MOUNT_ATTR_RDONLY, recursive=True)
        return tree

    for path in paths:
        _cover(_base(root, places, path), path, the_same, "make read-only")


def _base(root: int, places: dict[str, int], path: str) -> tuple[int, str]:
    """Return the descriptor that `path` is to be found below, and the way from there."""
    clean = os.path.normpath(path)
    for place, fd in places.items():
        if clean.startswith(place):
            return fd, clean[len(place) :]
    return root, path


def _cover(base: tuple[int, str], path: str, make: Callable[[int], int], what: str) -> None:
    """Mount on `path` what `make` makes for a descriptor of it. A path that is not there is passed over.

    A symlink in it leads where it would lead a program of the container.
    """
    try:
        target = open_in_root(*base)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise RuntimeFailure(f"cannot {what} {ascii(path)[1:-1]}: {error.strerror}") from None
    try:
        tree = make(target)
        mount.attach(tree, target, f"{what} {path}")
        os.close(tree)
    except OSError as error:
        raise RuntimeFailure(f"cannot {what} {ascii(path)[1:-1]}: {error.strerror}") from None
    finally:
        os.close(target)
