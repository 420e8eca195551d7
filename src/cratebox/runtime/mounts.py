"""What the spec mounts below the container's root: new file systems, binds of the host's, changes of what is there.

File systems are made, given their attributes, and only then attached to a directory that is already open (targets.py).
"""

from __future__ import annotations

import os
import stat

from cratebox.errors import RuntimeFailure
from cratebox.linux import const, mount
from cratebox.linux.beneath import open_beneath, open_in_root, openat2
from cratebox.runtime.mount_options import PROPAGATION, SHARED, SLAVE, Options, is_mapped, is_new, place_of, split, words_of_all
from cratebox.runtime.spec import Mount, Spec
from cratebox.runtime.targets import check_place, check_proc, open_kernel_place, open_target, path_below, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.runtime.wish import Bind

# Their place decides what they hide or show, so it must be a directory of that very name.
_KERNEL_TYPES = ("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue")
# A file system of which others, the host among them, have mounts as well: whether it can be written is for each mount to say.
_COMMON = ("sysfs", "cgroup2", "mqueue")
# A new one of these is the container's own and nobody else's, so that its options may be changed later.
_OWN = ("tmpfs", "ramfs", "proc", "devpts")
# SELinux does not label these by an option of the mount.
_UNLABELLED = ("proc", "sysfs", "cgroup", "cgroup2", "mqueue")
_HEARING = SLAVE | SHARED
_MOST_OF_OPTION = 255  # bytes that fsconfig(2) takes for a value
_EPERM, _ENOENT, _EACCES, _EXDEV, _ENODEV, _EINVAL, _ENOTDIR, _ELOOP = 1, 2, 13, 18, 19, 22, 20, 40


class Mounter:
    """Mounts what `spec` lists, in its order, below the descriptor `root`.

    `trees` are mounts that had to be opened before the fork, by their number in the list (sources.py), `given` those that are
    to be attached as they are, `binds` what some bind mounts are beyond the spec.
    """

    def __init__(
        self,
        root: int,
        spec: Spec,
        trees: dict[int, int],
        given: dict[int, int] | None = None,
        binds: dict[int, Bind] | None = None,
    ) -> None:
        self.root = root
        self._mounts = spec.mounts
        self._label = spec.linux.mount_label if spec.linux else ""
        self._trees = trees
        self._given = given or {}
        self._binds = binds or {}
        self._quiet = not root_hears(spec)
        self._heard = kind_of_all(spec)
        self._changes = "remount" in words_of_all(spec.mounts)
        self._own: set[int] = set()  # the devices of file systems that are the container's alone
        self._late: list[int] = []  # mounts that become read-only when all that is below them has been made
        self.places: dict[str, int] = {}  # what is mounted at /proc/ and /sys/, for masks.py

    def mount(self, first: int, end: int, cgroup: Callable[[Mount], None] | None = None) -> None:
        """Mount numbers `first` to before `end` of the list. Raises RuntimeFailure that names the mount.

        `cgroup` does the one mount that is many, that of type cgroup.
        """
        for number in range(first, end):
            one = self._mounts[number]
            try:
                if "remount" in one.options:
                    self._change(one)
                elif one.type == "cgroup" and cgroup and is_new(one):
                    cgroup(one)
                elif is_new(one):
                    self._new(one)
                else:
                    self._bind(one, self._tree(one, number), self._binds.get(number))
            except OSError as error:
                raise _failed(one, error) from None

    def finish(self) -> None:
        """Make read-only what had to be written to until now. Raises OSError."""
        for tree in self._late:
            mount.set_attributes(tree, const.MOUNT_ATTR_RDONLY)
            os.close(tree)
        self._late.clear()

    def close(self) -> None:
        """Close what `places` holds."""
        for tree in self.places.values():
            os.close(tree)
        self.places.clear()

    def _new(self, one: Mount) -> None:
        options, path = split(one), place_of(one)
        inside = os.path.normpath(path)
        if one.type in _KERNEL_TYPES or inside == "/dev":
            target, found = open_kernel_place(self.root, path), True
        else:
            target, inside, found = open_target(self.root, path, True)
        try:
            if one.type not in _KERNEL_TYPES and not stat.S_ISDIR(os.fstat(target).st_mode):
                raise NotADirectoryError(_ENOTDIR, "a file is there in the image")
            data = self._data(one, options, target if found else -1)
            if data and len(max(data, key=len)) > _MOST_OF_OPTION:
                tree = _staged(one, data, target)
            else:
                tree = mount.new_filesystem(one.type, data, 0, one.source)
            try:
                if found and ("tmpcopyup" in one.options or self._label):
                    self._fill(one, tree, target)
                if self._changes and one.type in _OWN:
                    self._own.add(os.fstat(tree).st_dev)
                if one.type != "proc" or inside != "/proc":
                    check_proc(inside, tree, path)
                self._put(tree, one, options, target, inside)
            finally:
                os.close(tree)
        finally:
            os.close(target)

    def _data(self, one: Mount, options: Options, found: int) -> tuple[str, ...]:
        """Return the options of the file system itself. A tmpfs has the mode of the directory that it covers, `found`."""
        data = options.rest
        if one.type == "tmpfs":
            if found >= 0 and not any(word[:5] == "mode=" for word in data):
                data = (f"mode={stat.S_IMODE(os.fstat(found).st_mode):o}", *data)
        elif options.plus & const.MOUNT_ATTR_RDONLY and one.type not in _COMMON:
            data = ("ro", *data)
        if self._label and one.type not in _UNLABELLED:
            data = (*data, "context=" + self._label)
        return data

    def _fill(self, one: Mount, tree: int, target: int) -> None:
        if "tmpcopyup" in one.options:
            from cratebox.runtime.copyup import copy_directory  # sources.py has loaded it before the fork

            given = any(word.startswith(("mode=", "uid=", "gid=")) for word in one.options)
            copy_directory(target, tree, keep_top=given)
        if self._label and one.type == "mqueue":
            os.setxattr(f"/proc/self/fd/{tree}", "security.selinux", os.fsencode(self._label))

    def _bind(self, one: Mount, tree: int, bind: Bind | None) -> None:
        options, path = split(one), place_of(one)
        try:
            directory = stat.S_ISDIR(os.fstat(tree).st_mode)
            target, inside, found = open_target(self.root, path, directory)
            try:
                if stat.S_ISDIR(os.fstat(target).st_mode) != directory:
                    raise _mismatch(one, directory)
                check_proc(inside, tree, path)
                if bind and bind.fill and found and directory and self._is_of_image(target):
                    from cratebox.runtime import filling  # create.py has loaded it before the fork

                    filling.fill(target, tree, bind.resume)
                self._put(tree, one, options, target, inside)
            finally:
                os.close(target)
        finally:
            os.close(tree)

    def _is_of_image(self, target: int) -> bool:
        """Tell whether a directory is in the root's own file system:
        an image may wish for a volume at /sys, or in what the user mounts.
        """
        return os.fstat(target).st_dev == os.fstat(self.root).st_dev

    def _tree(self, one: Mount, number: int) -> int:
        """Return a copy of the mount at the source, which hears of the host's later mounts only where that was asked for."""
        if number in self._given:
            return os.dup(self._given[number])
        opened = self._trees.get(number, -1)
        shared = not SHARED.isdisjoint(one.options)
        if opened >= 0 and (shared or is_mapped(one)):
            tree, kind = os.dup(opened), const.MS_SHARED
        else:
            try:
                tree, kind = tree_of(one, self._binds.get(number)), self._heard
            except PermissionError as error:
                # Only the host's root reaches the source. What it has opened comes second, for the flags of a mount that is
                # copied in a user namespace are locked.
                if opened < 0 or error.errno != _EACCES:
                    raise
                tree, kind = os.dup(opened), const.MS_SHARED
        asked = shared or not self._quiet or not SLAVE.isdisjoint(one.options)
        wanted = const.MS_SLAVE if asked else const.MS_PRIVATE
        if wanted != kind and not (shared and kind == const.MS_SHARED):
            mount.set_attributes(tree, propagation=wanted, recursive=True)
        return tree

    def _put(self, tree: int, one: Mount, options: Options, target: int, inside: str) -> None:
        plus = options.plus
        late = plus & const.MOUNT_ATTR_RDONLY and is_new(one) and (one.type == "tmpfs" or inside == "/dev")
        if late:  # places in it, and nodes of /dev, are still to be made
            plus &= ~const.MOUNT_ATTR_RDONLY
        if options.deep_plus or options.deep_minus:
            mount.set_attributes(tree, options.deep_plus, options.deep_minus, recursive=True)
        if plus or options.minus:
            mount.set_attributes(tree, plus, options.minus)
        mount.attach(tree, target, f"{one.source} -> {one.destination}")
        _propagate(tree, options)
        if late:
            self._late.append(os.dup(tree))
        if inside == "/":
            os.dup2(tree, self.root, inheritable=False)  # what is mounted on / is the root from here on
            self.close()
        elif inside in ("/proc", "/sys"):
            if inside + "/" in self.places:
                os.close(self.places[inside + "/"])
            self.places[inside + "/"] = os.dup(tree)

    def _change(self, one: Mount) -> None:
        """Do `remount`: give other options to what is mounted at the place,
        to the mount alone or to its file system as well.
        """
        options = split(one)
        path = place_of(one)
        tree = open_in_root(self.root, path)
        try:
            check_place(path_below(self.root, tree), path, "remount")
            if options.deep_plus or options.deep_minus:
                mount.set_attributes(tree, options.deep_plus, options.deep_minus, recursive=True)
            if is_new(one) and os.fstat(tree).st_dev in self._own and options.rest:
                mount.reconfigure(tree, options.rest)
            elif is_new(one) and options.rest:
                raise RuntimeFailure(
                    f"cannot remount {shown(one.destination)} with {','.join(map(mount.shown_option, options.rest))}: the file system is not the container's alone",
                    "remount with bind changes nothing but this mount",
                )
            mount.set_attributes(tree, options.plus, options.minus)
            _propagate(tree, options)
        finally:
            os.close(tree)


def tree_of(one: Mount, bind: Bind | None) -> int:
    """Return a copy of the mount at the source of a bind mount, or at a path below that. Raises OSError, RuntimeFailure."""
    deep = "rbind" in one.options
    if not bind or not bind.subpath:
        return mount.clone_tree(one.source, recursive=deep)
    base = os.open(one.source, const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        place = open_subpath(base, bind.subpath, one)
    finally:
        os.close(base)
    try:
        return mount.clone_tree("", recursive=deep, directory=place)
    finally:
        os.close(place)


def open_subpath(base: int, path: str, one: Mount) -> int:
    """Open `path` below the directory `base`; a symlink may lead anywhere in it, but not out of it.
    Raises OSError, RuntimeFailure.
    """
    try:
        return openat2(base, path, const.O_PATH, resolve=const.RESOLVE_BENEATH | const.RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        if error.errno not in (_ENOENT, _EXDEV, _ENOTDIR, _ELOOP):
            raise
        why = "it leads out of it" if error.errno == _EXDEV else os.strerror(error.errno).lower()
    raise RuntimeFailure(
        f"cannot mount {shown(path)} of {shown(one.source)} at {shown(one.destination)}: {why}",
        "a path in a volume must be there before it is mounted",
    )


def _staged(one: Mount, data: tuple[str, ...], target: int) -> int:
    """Make a file system with options that fsconfig(2) has no room for, as an overlay's directories, by mount(2), which takes a
    page of them. That wants a path: one in a tmpfs that is mounted at `target` meanwhile. Raises OSError.
    """
    words = ",".join(word for word in data if word != "ro")  # the mount itself will be that
    stage = mount.new_filesystem("tmpfs", ("mode=700", "size=4k"))
    try:
        mount.attach(stage, target, one.destination)
        os.mkdir("here", 0o700, dir_fd=stage)
        mount.mount(one.source, f"/proc/self/fd/{stage}/here", one.type, 0, words)
        made = open_beneath(stage, "here")
        try:
            return mount.clone_tree("", recursive=False, directory=made)
        finally:
            os.close(made)
            mount.unmount(f"/proc/self/fd/{stage}", const.MNT_DETACH)
    finally:
        os.close(stage)


def kind_of_root(spec: Spec) -> int:
    """Return what linux.rootfsPropagation makes of the root: MS_PRIVATE, MS_SLAVE, MS_SHARED or MS_UNBINDABLE."""
    word = spec.linux.rootfs_propagation if spec.linux else ""
    return PROPAGATION[word or "rprivate"][0]


def root_hears(spec: Spec) -> bool:
    """Tell whether the root, and whatever is bound into it, is to hear of what the host mounts later."""
    return kind_of_root(spec) in (const.MS_SLAVE, const.MS_SHARED)


def kind_of_all(spec: Spec) -> int:
    """Return what all mounts of the host become in the container's mount namespace: MS_SLAVE where one of them is asked for."""
    asked = root_hears(spec) or not _HEARING.isdisjoint(words_of_all(spec.mounts))
    return const.MS_SLAVE if asked else const.MS_PRIVATE


def _propagate(tree: int, options: Options) -> None:
    for kind, deep in options.propagation:
        mount.set_attributes(tree, propagation=kind, recursive=deep)


def _failed(one: Mount, error: OSError) -> RuntimeFailure:
    what = "remount" if "remount" in one.options else "mount"
    source = "" if what == "remount" else f"{shown(one.source or one.type)} at "
    cause = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    words = f" (options {shown(','.join(map(mount.shown_option, one.options)))})" if one.options else ""
    return RuntimeFailure(f"cannot {what} {source}{shown(one.destination)}: {cause}{words}", _hint(one, error))


def _hint(one: Mount, error: OSError) -> str | None:
    number = error.errno
    if number in (_ELOOP, _ENOTDIR) and is_new(one) and one.type in _KERNEL_TYPES:
        return f"in this image {one.destination} is a symlink or a file; crate mounts {one.type} on a real directory alone"
    if number == _EPERM and is_new(one):
        return _WITHOUT_RIGHT.get(one.type)
    if number == _EPERM:
        return "in a user namespace the host's read-only, nodev, nosuid, noexec and atime flags cannot be taken away"
    if number == _EINVAL and "remount" in one.options:
        return "nothing is mounted there"
    if number == _EINVAL and one.type == "devpts":
        return "gid= and uid= must be IDs that the container has"
    if number == _EINVAL and not is_new(one) and "rbind" not in one.options:
        return "an unbindable mount cannot be bound, nor, in a user namespace, one alone of those that lie on each other: rbind can"
    if number == _ENODEV and is_new(one):
        return "the kernel has no such file system: see /proc/filesystems"
    return None


_WITHOUT_RIGHT = {
    "proc": "the kernel lets a user namespace mount /proc only where all of the outer one is visible, not inside of a container that"
    " masks it, and for a pid namespace of its own",
    "sysfs": "a new sysfs shows the network namespace, so that must be the container's own: else bind /sys (rbind, ro)",
    "mqueue": "a new mqueue shows the ipc namespace, so that must be the container's own: else bind /dev/mqueue",
    "cgroup2": "a new cgroup2 takes a cgroup namespace of the container's own: type cgroup shows its cgroup without one",
}


def _mismatch(one: Mount, directory: bool) -> RuntimeFailure:
    ours, theirs = ("a directory", "a file") if directory else ("a file", "a directory")
    return RuntimeFailure(
        f"cannot mount {shown(one.source)} at {shown(one.destination)}: the one is {ours}, the other {theirs} in the image"
    )
