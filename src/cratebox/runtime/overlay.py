"""A root made of an image's layers: overlayfs (Documentation/filesystems/overlayfs)."""

from __future__ import annotations

import os

from cratebox.errors import OverlayRefused, RuntimeFailure
from cratebox.linux import const, mount
from cratebox.runtime.wish import Overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_EINVAL, _EPERM = 22, 1
_MOST_OF_VALUE, _PAGE = 255, 4096  # bytes


def mount_overlay(overlay: Overlay, path: str) -> int:
    """Mount `overlay` at `path`; return its descriptor. Raises OSError, RuntimeFailure, OverlayRefused."""
    return _mount(overlay, path) if overlay.upper else _in_memory(overlay, path)


def mount_for_reading(directories: Sequence[str], path: str) -> None:
    """Mount the `directories`, two at least and the lowest first, over each other at `path`, without a writable side. No device
    of theirs is one there, and no set-user-ID bit counts. Raises OSError, OverlayRefused, RuntimeFailure.
    """
    fds: list[int] = []
    try:
        fds.append(_attach([_by_descriptor(one, fds) for one in reversed(directories)], (), path))
        attributes = const.MOUNT_ATTR_RDONLY | const.MOUNT_ATTR_NOSUID | const.MOUNT_ATTR_NODEV
        try:
            mount.set_attributes(fds[-1], attributes, propagation=const.MS_PRIVATE)
        except BaseException:
            mount.unmount(path, const.MNT_DETACH)
            raise
    except OSError as error:
        raise _refusal(error) from None
    finally:
        for fd in fds:
            os.close(fd)


def put(tree: int, path: str) -> int:
    """Attach the mount of descriptor `tree` at `path`; return it. Raises OSError."""
    target = os.open(path, const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mount.attach(tree, target, f"root file system -> {path}")
    os.close(target)
    return tree


def _in_memory(overlay: Overlay, path: str) -> int:
    """Put the writable side into a tmpfs. It is mounted where the root will be, which covers it."""
    tree = put(mount.new_filesystem("tmpfs", ("mode=700",), const.MOUNT_ATTR_NOSUID | const.MOUNT_ATTR_NODEV), path)
    for name, mode in (("upper", 0o755), ("work", 0o700)):
        os.mkdir(name, mode, dir_fd=tree)
    os.close(tree)
    try:
        return _mount(overlay.replace(upper=path + "/upper", work=path + "/work"), path)
    except OverlayRefused:
        return _pieces(overlay, path)


def _pieces(overlay: Overlay, path: str) -> int:
    from cratebox.runtime.patchwork import mount_pieces  # imported by whoever gave us such an overlay, before the fork

    def one(lower: str, upper: str, work: str) -> int:
        return mount.new_filesystem(
            "overlay", ("lowerdir=" + lower, "upperdir=" + upper, "workdir=" + work, *overlay.options), source="overlay"
        )

    return mount_pieces(overlay.lower[0], path, one)


def _mount(overlay: Overlay, path: str) -> int:
    """Directories go in by descriptor: the layers' paths together would soon be longer than the kernel takes."""
    fds: list[int] = []
    try:
        lower = [_by_descriptor(one, fds) for one in reversed(overlay.lower)]
        sides = (f"upperdir={_side(overlay.upper, fds)}", f"workdir={_side(overlay.work, fds)}", *overlay.options)
        return _attach(lower, sides, path)
    except OSError as error:
        raise _refusal(error) from None
    finally:
        for fd in fds:
            os.close(fd)


def _refusal(error: OSError) -> OverlayRefused | RuntimeFailure:
    kind = OverlayRefused if error.errno in (_EINVAL, _EPERM, 19, 95) else RuntimeFailure
    return kind(f"cannot mount the image's layers: {error.strerror}")


def _attach(lower: list[str], sides: tuple[str, ...], path: str) -> int:
    """fsconfig(2) takes values of up to 255 bytes, some fifteen layers; mount(2) takes a page of options; and since Linux 6.7
    layers can be given one by one.
    """
    layers = "lowerdir=" + ":".join(lower)
    if len(layers) - len("lowerdir=") <= _MOST_OF_VALUE:
        return put(mount.new_filesystem("overlay", (layers, *sides), source="overlay"), path)
    together = ",".join((layers, *sides))
    if len(together) < _PAGE:
        mount.mount("overlay", path, "overlay", 0, together)
        return os.open(path, const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return put(mount.new_filesystem("overlay", (*("lowerdir+=" + one for one in lower), *sides), source="overlay"), path)


def _by_descriptor(path: str, fds: list[int]) -> str:
    fds.append(os.open(path, const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    return f"/proc/self/fd/{fds[-1]}"


def _side(path: str, fds: list[int]) -> str:
    """Return the writable side's path as an option's value: by descriptor where it is long, or has what separates options."""
    plain = len(path) <= _MOST_OF_VALUE and not {",", "\\", ":"} & set(path)
    return path if plain else _by_descriptor(path, fds)
