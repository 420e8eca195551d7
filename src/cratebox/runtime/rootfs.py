"""The container's root: made, and then changed to with pivot_root(2).

All of it happens in the container's own mount namespace, so no mount of it is ever seen on the host, and the kernel undoes
it when the last process ends. What is mounted below is in mounts.py, what is hidden in masks.py.
"""

from __future__ import annotations

import os

from cratebox.errors import RuntimeFailure
from cratebox.linux import const, mount
from cratebox.linux.procfs import read_text
from cratebox.runtime.mount_options import PROPAGATION
from cratebox.runtime.mounts import kind_of_all, kind_of_root, root_hears
from cratebox.runtime.overlay import mount_overlay, put
from cratebox.runtime.spec import Spec
from cratebox.runtime.wish import Overlay

_EINVAL = 22


def mount_root(spec: Spec, bundle: str, overlay: Overlay | None, made: int = -1) -> int:
    """Mount the container's root at root.path of `bundle`; return its descriptor. Raises RuntimeFailure.

    One that is `made` already lies on / until it is changed to: in a user namespace no directory of the bundle may be reached.
    """
    # Nothing mounted here may ever reach the host; what the host mounts later reaches us only where that was asked for. That
    # also makes the mount that the root is in private, without which pivot_root is refused.
    kind = kind_of_all(spec)
    mount.mount("none", "/", "", const.MS_REC | kind)
    path = os.path.join(bundle, spec.root.path if spec.root else "rootfs")
    try:
        if made >= 0:
            return put(made, "/")
        if overlay:
            return mount_overlay(overlay, path)
        tree = mount.clone_tree(path)
        if kind == const.MS_SLAVE and not root_hears(spec):
            mount.set_attributes(tree, propagation=const.MS_PRIVATE, recursive=True)
        return put(tree, path)
    except OSError as error:
        raise RuntimeFailure(f"cannot mount the root file system at {path}: {error.strerror}") from None


def set_propagation(root: int, spec: Spec) -> None:
    """Do the part of linux.rootfsPropagation that comes last: a root that is shared, or that cannot be bound.

    A shared root is in a peer group of its own, so that what is mounted on it reaches the containers inside of this one, never
    the host. Before pivot_root(2) it must not be shared. Raises RuntimeFailure.
    """
    if kind_of_root(spec) not in (const.MS_SHARED, const.MS_UNBINDABLE):
        return
    assert spec.linux
    word = spec.linux.rootfs_propagation
    kind, deep = PROPAGATION[word]
    try:
        mount.set_attributes(root, propagation=kind, recursive=deep)
    except OSError as error:
        raise RuntimeFailure(f"cannot make the root file system {word}: {error.strerror}") from None


def pivot(root: int) -> None:
    """Make `root` the root of this mount namespace and let go of all that was mounted before. Raises RuntimeFailure.

    pivot_root(".", ".") stacks the old root on the new one, so no directory for it is needed in the image; detaching "."
    then removes it, whole.
    """
    try:
        os.fchdir(root)
        mount.pivot_root(".", ".")
        mount.unmount(".", const.MNT_DETACH)
        os.chdir("/")
    except OSError as error:
        raise RuntimeFailure(
            f"cannot change to the container's root: {error.strerror}",
            "the kernel refuses pivot_root where / is the initramfs: --no-pivot does without"
            if error.errno == _EINVAL
            else None,
        ) from None


def move(root: int) -> None:
    """Do what `pivot` does where / is a ramdisk, which pivot_root(2) refuses (--no-pivot). Raises RuntimeFailure.

    The root is moved over /, every other mount on / is detached, and chroot(2) enters. Whoever leaves a chroot by one of the
    known ways arrives at /, on which the container's root still lies; only who may unmount (CAP_SYS_ADMIN) comes to what the
    ramdisk itself holds. In a user namespace the host's mounts could not be detached: there it is refused beforehand.
    """
    try:
        old = os.open("/", const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        places = _mounts_on_root(root)
        mount.attach(root, old, "root file system -> /")
        os.fchdir(old)
        for place in places:
            mount.unmount(place, const.MNT_DETACH | const.UMOUNT_NOFOLLOW)
        os.fchdir(root)
        os.chroot(".")
        os.chdir("/")
        os.close(old)
    except OSError as error:
        raise RuntimeFailure(f"cannot change to the container's root without pivot_root: {error.strerror}") from None


def _mounts_on_root(root: int) -> list[str]:
    """Return the places of the mounts that lie directly on that of /, relative to it, save the one of descriptor `root`.

    From /proc/self/mountinfo and fdinfo (proc(5)).
    """
    own = next(line.split()[1] for line in read_text(f"/proc/self/fdinfo/{root}").splitlines() if line.startswith("mnt_id:"))
    rows = [line.split(" ", 5) for line in read_text("/proc/self/mountinfo").splitlines()]
    top = next(row[0] for row in reversed(rows) if row[4] == "/")
    return [os.fsdecode(_unescaped(row[4])).lstrip("/") for row in rows if row[1] == top and row[4] != "/" and row[0] != own]


def _unescaped(word: str) -> bytes:
    """Return what an entry of mountinfo stands for: space, tab, line feed and backslash are written in octal."""
    raw = os.fsencode(word)
    for code in (b"040", b"011", b"012", b"134"):
        raw = raw.replace(b"\\" + code, bytes((int(code, 8),)))
    return raw
