"""The container's file system: its root, what is mounted below it, what is hidden, and pivot_root(2).

All of it happens in the container's own mount namespace, so no mount of it is ever seen on the host, and the kernel undoes
it when the last process ends. Every target is opened below the root's descriptor and mounted on by descriptor: a symlink
in the image, or one that is swapped at the right moment, cannot lead a mount out of the container.
"""

from __future__ import annotations

import os
import stat

from cratebox.errors import OverlayRefused, RuntimeFailure
from cratebox.linux import const, mount
from cratebox.linux.beneath import make_directories, open_beneath, open_in_root
from cratebox.runtime.mount_options import PROPAGATION, is_new, split
from cratebox.runtime.spec import Mount, Spec
from cratebox.runtime.wish import Overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Their place decides what they hide or show, so it must be a directory of that very name.
_KERNEL_TYPES = ("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue")
_EINVAL, _EPERM, _ELOOP = 22, 1, 40


def mount_root(spec: Spec, bundle: str, overlay: Overlay | None) -> int:
    """Mount the container's root at root.path of `bundle`; return its descriptor. Raises RuntimeFailure."""
    # Nothing mounted here may ever reach the host; what the host mounts later reaches us only where that was asked for.
    kind = const.MS_SLAVE if _kind_of_root(spec) in (const.MS_SLAVE, const.MS_SHARED) else const.MS_PRIVATE
    mount.mount("none", "/", "", const.MS_REC | kind)
    path = os.path.join(bundle, spec.root.path if spec.root else "rootfs")
    try:
        if overlay and not overlay.upper:
            return _overlay_in_memory(overlay, path)
        return _put(_new_overlay(overlay) if overlay else mount.clone_tree(path), path)
    except OSError as error:
        raise RuntimeFailure(f"cannot mount the root file system at {path}: {error.strerror}") from None


def _put(tree: int, path: str) -> int:
    target = os.open(path, const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mount.attach(tree, target, f"root file system -> {path}")
    os.close(target)
    return tree


def _overlay_in_memory(overlay: Overlay, path: str) -> int:
    """Put the writable side into a tmpfs. It is mounted where the root will be, which covers it."""
    tree = _put(mount.new_filesystem("tmpfs", ("mode=700",), const.MOUNT_ATTR_NOSUID | const.MOUNT_ATTR_NODEV), path)
    for name, mode in (("upper", 0o755), ("work", 0o700)):
        os.mkdir(name, mode, dir_fd=tree)
    os.close(tree)
    try:
        return _put(_new_overlay(overlay.replace(upper=path + "/upper", work=path + "/work")), path)
    except OverlayRefused:
        return _pieces(overlay, path)


def _pieces(overlay: Overlay, path: str) -> int:
    from cratebox.runtime.patchwork import mount_pieces  # imported by whoever gave us such an overlay, before the fork

    def one(lower: str, upper: str, work: str) -> int:
        return mount.new_filesystem(
            "overlay", ("lowerdir=" + lower, "upperdir=" + upper, "workdir=" + work, *overlay.options), source="overlay"
        )

    return mount_pieces(overlay.lower[0], path, one)


def _new_overlay(overlay: Overlay) -> int:
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


def mount_all(root: int, mounts: tuple[Mount, ...], cgroup: Callable[[Mount], None] | None = None) -> None:
    """Mount what the spec lists, in its order, below the descriptor `root`. Raises RuntimeFailure that names the mount.

    `cgroup` does the one mount that is many, that of type cgroup.
    """
    for one in mounts:
        try:
            if one.type == "cgroup" and cgroup:
                cgroup(one)
            elif is_new(one):
                _new(root, one)
            else:
                _bind(root, one)
        except OSError as error:
            raise RuntimeFailure(
                f"cannot mount {one.source or one.type} at {ascii(one.destination)[1:-1]}: {error.strerror}", _hint(one, error)
            ) from None


def _hint(one: Mount, error: OSError) -> str | None:
    if one.type == "proc" and error.errno == _EPERM:
        return "the kernel lets a user namespace mount /proc only where all of the outer one is visible: not inside of a container that masks it"
    if error.errno in (_ELOOP, 20) and one.type in _KERNEL_TYPES:
        return f"in this image {one.destination} is a symlink or a file; crate mounts {one.type} on a real directory alone"
    return None


def _finish(tree: int, one: Mount, target: int) -> None:
    options = split(one)
    if options.deep_plus or options.deep_minus:
        mount.set_attributes(tree, options.deep_plus, options.deep_minus, recursive=True)
    if options.plus or options.minus:
        mount.set_attributes(tree, options.plus, options.minus)
    mount.attach(tree, target, f"{one.source} -> {one.destination}")
    for kind, deep in options.propagation:
        mount.set_attributes(tree, propagation=kind, recursive=deep)


def _bind(root: int, one: Mount) -> None:
    tree = mount.clone_tree(one.source, recursive="rbind" in one.options or "bind" not in one.options)
    try:
        directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        target = _target(root, one.destination, directory)
        if stat.S_ISDIR(os.fstat(target).st_mode) != directory:
            raise _mismatch(one, directory)
        _finish(tree, one, target)
        os.close(target)
    finally:
        os.close(tree)


def _mismatch(one: Mount, directory: bool) -> RuntimeFailure:
    ours, theirs = ("a directory", "a file") if directory else ("a file", "a directory")
    return RuntimeFailure(
        f"cannot mount {one.source} at {ascii(one.destination)[1:-1]}: the one is {ours}, the other {theirs} in the image"
    )


def _target(root: int, path: str, directory: bool) -> int:
    """Open the place of a mount, making a directory or an empty file where there is nothing.

    A symlink of the image may lead it anywhere in the image, but not over /proc, /sys or /dev, where it would put what it
    likes in place of what protects the host (CVE-2019-16884): there only a mount that names the place itself may go.
    """
    target = _open_or_make(root, path, directory)
    inside = os.readlink(f"/proc/self/fd/{target}").removeprefix(os.readlink(f"/proc/self/fd/{root}").rstrip("/"))
    place, named = inside.split("/")[1:2], os.path.normpath(path).split("/")[1:2]
    if place != named and place in (["proc"], ["sys"], ["dev"]):
        os.close(target)
        raise RuntimeFailure(
            f"cannot mount at {ascii(path)[1:-1]}: in this image it leads to {ascii(inside)[1:-1]}",
            "mount at another path, or fix the image",
        )
    return target


def _open_or_make(root: int, path: str, directory: bool) -> int:
    try:
        return open_in_root(root, path, const.O_PATH)
    except FileNotFoundError:
        pass
    if directory:
        return make_directories(root, path)
    return _make_file(root, path)


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


def _new(root: int, one: Mount) -> None:
    options = split(one)
    readonly = ("ro",) if options.plus & const.MOUNT_ATTR_RDONLY and one.type != "sysfs" else ()
    tree = mount.new_filesystem(one.type, (*readonly, *options.rest), 0, one.source)
    try:
        target = open_kernel_place(root, one.destination) if _own_place(one) else _target(root, one.destination, True)
        _finish(tree, one, target)
        os.close(target)
    finally:
        os.close(tree)


def _own_place(one: Mount) -> bool:
    return one.type in _KERNEL_TYPES or one.destination == "/dev"


def open_kernel_place(root: int, path: str) -> int:
    """Open the directory `path` below `root`, making it where it is missing; no symlink may stand anywhere in it."""
    relative = path.strip("/")
    try:
        return open_beneath(root, relative, const.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        os.close(make_directories(root, path))
        return open_beneath(root, relative, const.O_PATH | os.O_DIRECTORY)


def hide(root: int, paths: tuple[str, ...], null: int) -> None:
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
            _cover(root, path, nothing, "mask")
    finally:
        for fd in empty:
            os.close(fd)


def make_readonly(root: int, paths: tuple[str, ...]) -> None:
    """Make each of `paths` read-only, whatever is mounted on it included (linux.readonlyPaths). Raises RuntimeFailure."""

    def the_same(target: int) -> int:
        tree = mount.clone_tree("", directory=target)
        mount.set_attributes(tree, const.MOUNT_ATTR_RDONLY, recursive=True)
        return tree

    for path in paths:
        _cover(root, path, the_same, "make read-only")


def _cover(root: int, path: str, make: Callable[[int], int], what: str) -> None:
    """Mount on `path` what `make` makes for a descriptor of it. A path that is not there is passed over."""
    try:
        target = open_beneath(root, path.strip("/") or ".")
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


def _kind_of_root(spec: Spec) -> int:
    word = spec.linux.rootfs_propagation if spec.linux else ""
    return PROPAGATION[word or "rprivate"][0]


def set_propagation(root: int, spec: Spec) -> None:
    """Do the part of linux.rootfsPropagation that comes last: a root that is shared, or that cannot be bound.

    A shared root is in a peer group of its own, so that what is mounted on it reaches the containers inside of this one, never
    the host. Before pivot_root(2) it must not be shared. Raises RuntimeFailure.
    """
    if _kind_of_root(spec) not in (const.MS_SHARED, const.MS_UNBINDABLE):
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
            "the kernel refuses pivot_root where / is the initramfs" if error.errno == _EINVAL else None,
        ) from None
