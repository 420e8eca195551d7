"""A root made of an image's layers: overlayfs (Documentation/filesystems/overlayfs)."""

from __future__ import annotations

import os

from cratebox.errors import OverlayRefused, RuntimeFailure
from cratebox.linux import const, mount
from cratebox.runtime.wish import Overlay

_EINVAL, _EPERM = 22, 1


def mount_overlay(overlay: Overlay, path: str) -> int:
    """Mount `overlay` at `path`; return its descriptor. Raises OSError, RuntimeFailure, OverlayRefused."""
    return put(_new(overlay), path) if overlay.upper else _in_memory(overlay, path)


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
        return put(_new(overlay.replace(upper=path + "/upper", work=path + "/work")), path)
    except OverlayRefused:
        return _pieces(overlay, path)


def _pieces(overlay: Overlay, path: str) -> int:
    from cratebox.runtime.patchwork import mount_pieces  # imported by whoever gave us such an overlay, before the fork

    def one(lower: str, upper: str, work: str) -> int:
        return mount.new_filesystem(
            "overlay", ("lowerdir=" + lower, "upperdir=" + upper, "workdir=" + work, *overlay.options), source="overlay"
        )

    return mount_pieces(overlay.lower[0], path, one)


def _new(overlay: Overlay) -> int:
    """Layers go in by descriptor: their paths together would soon be longer than the page the kernel takes."""
    fds = []
    try:
        for lower in reversed(overlay.lower):
            fds.append(os.open(lower, const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        options = (
            "lowerdir=" + ":".join(f"/proc/self/fd/{fd}" for fd in fds),
            "upperdir=" + overlay.upper.replace("\\", "\\\\"),  # the file system takes a backslash for an escape
            "workdir=" + overlay.work.replace("\\", "\\\\"),
            *overlay.options,
        )
        return mount.new_filesystem("overlay", options, source="overlay")
    except OSError as error:
        kind = OverlayRefused if error.errno in (_EINVAL, _EPERM, 19, 95) else RuntimeFailure
        raise kind(f"cannot mount the image's layers: {error.strerror}") from None
    finally:
        for fd in fds:
            os.close(fd)
