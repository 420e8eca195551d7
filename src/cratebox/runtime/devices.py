"""The container's /dev: the nodes every container has (config-linux.md, Default Devices), those of the spec, the links.

Without the right to make device nodes (in a user namespace) those of the host are bound in instead.
"""

from __future__ import annotations

import os
import stat

from cratebox.errors import RuntimeFailure
from cratebox.linux import const, mount
from cratebox.linux.beneath import make_directories, open_beneath
from cratebox.linux.procfs import read_text
from cratebox.runtime.mount_options import is_new, place_of
from cratebox.runtime.spec import Device, Mount

DEFAULT = (
    Device(path="/dev/null", type="c", major=1, minor=3, file_mode=0o666),
    Device(path="/dev/zero", type="c", major=1, minor=5, file_mode=0o666),
    Device(path="/dev/full", type="c", major=1, minor=7, file_mode=0o666),
    Device(path="/dev/random", type="c", major=1, minor=8, file_mode=0o666),
    Device(path="/dev/urandom", type="c", major=1, minor=9, file_mode=0o666),
    Device(path="/dev/tty", type="c", major=5, minor=0, file_mode=0o666),
)
_LINKS = (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"))
_KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def are_ours(mounts: tuple[Mount, ...]) -> bool:
    """Tell whether /dev is the container's own: one that is bound from the host is not ours to fill."""
    return not any(
        not is_new(one) and "remount" not in one.options and os.path.normpath(place_of(one)) == "/dev" for one in mounts
    )


def make(root: int, devices: tuple[Device, ...]) -> None:
    """Make the default devices, those of the spec, and the links of /dev below the descriptor `root`.

    What stands there already stays, where it is what was asked for. Raises RuntimeFailure that names the device.
    """
    named = {device.path for device in devices}
    for device in (*(one for one in DEFAULT if one.path not in named), *devices):
        try:
            _make_one(root, device)
        except OSError as error:
            raise RuntimeFailure(f"cannot make {_shown(device)}: {error.strerror}") from None
    dev = open_beneath(root, "dev", const.O_PATH | os.O_DIRECTORY)
    for name, target in (*_LINKS, ("ptmx", "pts/ptmx")):
        try:
            os.symlink(target, name, dir_fd=dev)
        except OSError:
            pass  # the spec's own /dev, or a read-only one: the specification asks for the links only where they can be
    os.close(dev)


def _shown(device: Device) -> str:
    number = "" if device.type == "p" else f" {device.major}:{device.minor}"
    return f"{ascii(device.path)[1:-1]} ({device.type}{number})"


def _make_one(root: int, device: Device) -> None:
    kind, number = _identity(device)
    directory, name = os.path.split(device.path)
    parent = make_directories(root, directory)
    try:
        mode = 0o666 if device.file_mode is None else device.file_mode & 0o7777  # some write the kind into it as well
        # mknod obeys the umask; a chmod afterwards could be led through a symlink that took the node's place.
        umask = os.umask(0)
        try:
            os.mknod(name, kind | mode, number, dir_fd=parent)
        finally:
            os.umask(umask)
        if device.uid or device.gid:
            os.chown(name, device.uid or 0, device.gid or 0, dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        _check_existing(parent, name, device)
    except PermissionError:
        _bind(parent, name, device)
    finally:
        os.close(parent)


def _identity(device: Device) -> tuple[int, int]:
    """Return the kind of file and the device number (0 for a FIFO) of the node."""
    kind = _KINDS[device.type]
    return kind, 0 if kind == stat.S_IFIFO else os.makedev(device.major, device.minor)


def _is_it(info: os.stat_result, device: Device) -> bool:
    return (stat.S_IFMT(info.st_mode), info.st_rdev) == _identity(device)


def _check_existing(parent: int, name: str, device: Device) -> None:
    """What is there must match what was asked for (config-linux.md, Devices)."""
    if not _is_it(os.stat(name, dir_fd=parent, follow_symlinks=False), device):
        raise RuntimeFailure(
            f"cannot make {_shown(device)}: something else is there already", "the image or a mount brings a file of that name"
        )


def _bind(parent: int, name: str, device: Device) -> None:
    """Bind the host's node, where a user namespace forbids to make one; its mode and owner are the host's."""
    source = _host_node(device)
    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666, dir_fd=parent))
    target = open_beneath(parent, name)
    tree = mount.clone_tree("", directory=source)
    mount.attach(tree, target, device.path)
    for fd in (tree, target, source):
        os.close(fd)


def _host_node(device: Device) -> int:
    """Open the host's node: that of the same path, or the one that the kernel names for the number. Raises RuntimeFailure.

    Kind and number are checked, for on a strange host the path may be something else.
    """
    for path in (device.path, _name_by_number(device)):
        try:
            source = os.open(path, const.O_PATH | os.O_CLOEXEC) if path else -1
        except OSError:
            continue
        if source >= 0 and _is_it(os.fstat(source), device):
            return source
        if source >= 0:
            os.close(source)
    raise RuntimeFailure(
        f"cannot make {_shown(device)}: a user namespace may not make device nodes, and this machine has none to bind",
        "it must be in the host's /dev, with that number",
    )


def _name_by_number(device: Device) -> str:
    """Return the path that the kernel gives a device of this number, from DEVNAME in sysfs; empty where it knows none."""
    kind = "block" if device.type == "b" else "char"
    try:
        text = read_text(f"/sys/dev/{kind}/{device.major}:{device.minor}/uevent")
    except OSError:
        return ""
    return next(("/dev/" + line[8:] for line in text.splitlines() if line.startswith("DEVNAME=")), "")


def is_null(fd: int) -> bool:
    """Tell whether `fd` is the null device, of whatever file system."""
    info = os.fstat(fd)
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == os.makedev(1, 3)


def open_own_null(root: int) -> int:
    """Open the container's own /dev/null below the descriptor `root`, or return -1 where it has none.

    A process that had the host's node as a standard stream could change that node's mode and owner. It is looked at before it
    is opened, and again after that: a container may exchange the name, or have a /proc of its own, which is not asked.
    """
    try:
        found = open_beneath(root, "dev/null")
        genuine = is_null(found)
        os.close(found)
        opened = open_beneath(root, "dev/null", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK) if genuine else -1
    except OSError:
        return -1
    if opened < 0 or not is_null(opened):
        if opened >= 0:
            os.close(opened)
        return -1
    os.set_blocking(opened, True)
    return opened


def open_null() -> int:
    """Open the host's /dev/null for masks, sure that it is the device. Raises RuntimeFailure."""
    fd = os.open("/dev/null", const.O_PATH | os.O_CLOEXEC)
    if not is_null(fd):
        os.close(fd)
        raise RuntimeFailure("/dev/null of this machine is not the null device")
    return fd
