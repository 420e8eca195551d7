"""Where a mount goes: a place below the container's root, found and made without leaving it.

A symlink of the image, or one that is swapped at the right moment, must not lead a mount to the host, nor over what
protects it. So every place is opened below the root's descriptor, and what is mounted is mounted on that descriptor.
"""

from __future__ import annotations

import os

from cratebox.errors import RuntimeFailure
from cratebox.linux import const, mount
from cratebox.linux.beneath import make_directories, open_beneath, open_in_root

_ELOOP = 40
_PROC_ROOT = 1  # the inode of every procfs's root
# What lxcfs and its like put into a container's /proc, so that it tells of the container. /proc/net leads into a process.
IN_PROC = frozenset(
    "/proc/" + name
    for name in (
        "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo",
        "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled",
    )
)  # fmt: skip


def shown(path: str) -> str:
    """Return a path of the spec as it may be printed."""
    return ascii(path)[1:-1]


def open_target(root: int, path: str, directory: bool) -> tuple[int, str, bool]:
    """Open the place of a mount, making a directory or an empty file where there is nothing.

    Return its descriptor, where it really is in the container, and whether it was there.

    A symlink of the image may lead it anywhere in the image, but not over /proc, /sys or /dev, where it would put what it
    likes in place of what protects the host (CVE-2019-16884): there only a mount that names the place itself may go.
    Raises OSError, RuntimeFailure.
    """
    target, found = _open_or_make(root, path, directory)
    inside = path_below(root, target)
    try:
        check_place(inside, path, "mount")
    except RuntimeFailure:
        os.close(target)
        raise
    return target, inside, found


def check_place(inside: str, path: str, verb: str) -> None:
    """Raise RuntimeFailure where `path` of the spec leads to /proc, /sys or /dev without naming it;
    `inside` is where it leads.
    """
    place, named = inside.split("/")[1:2], os.path.normpath(path).split("/")[1:2]
    if place != named and place in (["proc"], ["sys"], ["dev"]):
        raise RuntimeFailure(
            f"cannot {verb} at {shown(path)}: in this image it leads to {shown(inside)}",
            f"{verb} at another path, or fix the image",
        )


def path_below(root: int, target: int) -> str:
    """Return where `target` is, as the container will see it ("/" for the root itself)."""
    return os.readlink(f"/proc/self/fd/{target}").removeprefix(os.readlink(f"/proc/self/fd/{root}").rstrip("/")) or "/"


def check_proc(inside: str, tree: int, path: str) -> None:
    """Raise RuntimeFailure where the mount of descriptor `tree` may not go to `inside`, a path of the container.

    The runtime, and programs of the container's that are set-user-ID, write to /proc/self/attr and read much else: what
    stands there must be the kernel's own (CVE-2019-16884, CVE-2019-19921, CVE-2025-52881).
    """
    if not (inside + "/").startswith("/proc/"):
        return
    if inside == "/proc":
        if mount.filesystem_type(tree) == const.PROC_SUPER_MAGIC and os.fstat(tree).st_ino == _PROC_ROOT:
            return
        raise RuntimeFailure(f"cannot mount at {shown(path)}: it is not a procfs, and nothing else may be at /proc")
    if inside not in IN_PROC:
        raise RuntimeFailure(
            f"cannot mount at {shown(path)}: it is inside /proc, which must be the kernel's own",
            "allowed are, for lxcfs: " + ", ".join(sorted(IN_PROC)),
        )


def _open_or_make(root: int, path: str, directory: bool) -> tuple[int, bool]:
    try:
        return open_in_root(root, path, const.O_PATH), True
    except FileNotFoundError:
        pass
    if directory:
        return make_directories(root, path), False
    return _make_file(root, path), False


def _make_file(root: int, path: str) -> int:
    """Make an empty file at `path`; a symlink that leads nowhere (/etc/resolv.conf often) is followed inside the root."""
    for _ in range(8):
        parent = make_directories(root, os.path.dirname(path))
        name = os.path.basename(path)
        try:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=parent))
            return open_in_root(root, path, const.O_PATH)
        except FileExistsError:
            path = os.path.join(os.path.dirname(path), os.readlink(name, dir_fd=parent))
        finally:
            os.close(parent)
    raise OSError(_ELOOP, f"too many symlinks at {path!a}")


def open_kernel_place(root: int, path: str) -> int:
    """Open the directory `path` below `root`, making it where it is missing; no symlink may stand anywhere in it."""
    relative = path.strip("/") or "."
    try:
        return open_beneath(root, relative, const.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        os.close(make_directories(root, path))
        return open_beneath(root, relative, const.O_PATH | os.O_DIRECTORY)
