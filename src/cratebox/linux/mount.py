"""Mounts: mount(2) and the calls of Linux 5.2 that name file systems and targets by descriptor.

With fsopen, open_tree and move_mount a file system is made, given its attributes and only then attached to a directory
that is already open. No path of the container is walked twice, so nothing can be swapped in between.
"""

from __future__ import annotations

import os
import struct

from cratebox.linux import const
from cratebox.linux._libc import buffer, checked, failure, path_bytes, syscall


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """Call mount(2); an empty string stands for NULL. Raises OSError."""
    first, second, third, last = (path_bytes(word) if word else None for word in (source, target, fstype, data))
    if syscall(const.SYS_mount, first, second, third, flags, last) == -1:
        shown = ",".join(map(shown_option, data.split(",")))
        raise failure(f"mount({source or fstype} -> {target}, {name_flags(flags, 'MS_')}{', ' + shown if data else ''})")


def unmount(target: str, flags: int = 0) -> None:
    """Call umount2(2). Raises OSError."""
    if syscall(const.SYS_umount2, path_bytes(target), flags) == -1:
        raise failure(f"umount2({target}, {name_flags(flags, 'MNT_')})")


def pivot_root(new_root: str, put_old: str) -> None:
    """Call pivot_root(2). Raises OSError (EINVAL where the current root is the initramfs)."""
    checked(f"pivot_root({new_root}, {put_old})", const.SYS_pivot_root, path_bytes(new_root), path_bytes(put_old))


def new_filesystem(fstype: str, options: tuple[str, ...] = (), attributes: int = 0, source: str = "") -> int:
    """Make a mount of a new `fstype` file system, attached nowhere yet; return its descriptor.

    `options` are those of mount(8), "key" or "key=value"; `attributes` are MOUNT_ATTR_*. Raises OSError whose text has
    the kernel's own diagnosis where it gave one.
    """
    context = checked(f"fsopen({fstype})", const.SYS_fsopen, path_bytes(fstype), const.FSOPEN_CLOEXEC)
    try:
        if source:
            _configure(context, fstype, "source=" + source)
        for option in options:
            _configure(context, fstype, option)
        if syscall(const.SYS_fsconfig, context, const.FSCONFIG_CMD_CREATE, 0, 0, 0) == -1:
            raise _diagnosed(failure(f"mount a new {fstype} ({','.join(map(shown_option, options))})"), context)
        fd = syscall(const.SYS_fsmount, context, const.FSMOUNT_CLOEXEC, attributes)
        if fd == -1:
            raise _diagnosed(failure(f"fsmount({fstype}, {name_flags(attributes, 'MOUNT_ATTR_')})"), context)
        return fd
    finally:
        os.close(context)


def reconfigure(fd: int, options: tuple[str, ...]) -> None:
    """Give the file system of the mount `fd` other options (fspick(2), FSCONFIG_CMD_RECONFIGURE). Raises OSError."""
    flags = const.FSPICK_CLOEXEC | const.FSPICK_EMPTY_PATH
    context = checked(f"fspick({fd})", const.SYS_fspick, fd, b"", flags)
    try:
        for option in options:
            _configure(context, "the file system", option)
        if syscall(const.SYS_fsconfig, context, const.FSCONFIG_CMD_RECONFIGURE, 0, 0, 0) == -1:
            raise _diagnosed(failure(f"reconfigure ({','.join(map(shown_option, options))})"), context)
    finally:
        os.close(context)


def _configure(context: int, fstype: str, option: str) -> None:
    key, equals, value = option.partition("=")
    command = const.FSCONFIG_SET_STRING if equals else const.FSCONFIG_SET_FLAG
    if syscall(const.SYS_fsconfig, context, command, path_bytes(key), path_bytes(value) if equals else None, 0) == -1:
        raise _diagnosed(failure(f"mount option {shown_option(option)} of {fstype}"), context)


def shown_option(option: str) -> str:
    """Return an option as it may be printed: network file systems take passwords by some."""
    key = option.partition("=")[0]
    return key + "=..." if option != key and any(word in key for word in ("pass", "secret", "cred")) else option


def _diagnosed(error: OSError, context: int) -> OSError:
    """The kernel keeps a log in the context of fsopen, a line a read: "e overlay: ..." for an error."""
    said = []
    try:
        for _ in range(16):
            said.append(os.read(context, 4096).decode(errors="replace").strip()[2:])
    except OSError:
        pass
    text = f"{error.strerror} ({'; '.join(said)})" if said else error.strerror
    return OSError(error.errno, text)


def clone_tree(path: str, recursive: bool = True, directory: int = const.AT_FDCWD) -> int:
    """Copy the mount at `path` (with what is mounted below it), attached nowhere yet; an empty path is `directory` itself.

    Return its descriptor. Raises OSError.
    """
    flags = const.OPEN_TREE_CLONE | const.OPEN_TREE_CLOEXEC | (const.AT_RECURSIVE if recursive else 0)
    flags |= 0 if path else const.AT_EMPTY_PATH
    return checked(f"open_tree({path or directory})", const.SYS_open_tree, directory, path_bytes(path), flags)


def attach(tree: int, target: int, what: str = "") -> None:
    """Attach the mount of descriptor `tree` at the file or directory of descriptor `target`. Raises OSError."""
    flags = const.MOVE_MOUNT_F_EMPTY_PATH | const.MOVE_MOUNT_T_EMPTY_PATH
    checked(f"move_mount({what or tree})", const.SYS_move_mount, tree, b"", target, b"", flags)


def set_attributes(
    fd: int, set_: int = 0, clear: int = 0, propagation: int = 0, recursive: bool = False, userns_fd: int = -1, path: str = ""
) -> None:
    """Call mount_setattr(2) on the mount of `fd` (or at `path` below it). Raises OSError."""
    attr = struct.pack("=QQQQ", set_, clear, propagation, max(userns_fd, 0))
    flags = (const.AT_RECURSIVE if recursive else 0) | (0 if path else const.AT_EMPTY_PATH)
    if syscall(const.SYS_mount_setattr, fd, path_bytes(path), flags, attr, len(attr)) == -1:
        raise failure(f"mount_setattr({path or fd}, {_name_change(set_, clear, propagation)})")


def _name_change(set_: int, clear: int, propagation: int) -> str:
    parts = (("+", set_, "MOUNT_ATTR_"), ("-", clear, "MOUNT_ATTR_"), ("", propagation, "MS_"))
    return ", ".join(sign + name_flags(bits, prefix) for sign, bits, prefix in parts if bits)


def filesystem_type(fd: int) -> int:
    """Return the magic number of the file system that `fd` is on (f_type of fstatfs(2)). Raises OSError."""
    answer = buffer(120)  # struct statfs, the same on x86-64 and arm64; f_type is its first word
    checked("fstatfs", const.SYS_fstatfs, fd, answer)
    return int.from_bytes(answer.raw[:8], "little")


def name_flags(flags: int, prefix: str) -> str:
    """Return the names of the bits of `flags` among the constants that begin with `prefix`, joined by |."""
    names = [name for name, bit in vars(const).items() if name.startswith(prefix) and bit and bit & flags == bit]
    return "|".join(names) or "0"
