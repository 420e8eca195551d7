"""openat2(2): opening what a container or an image names, without leaving the directory it belongs to.

A path that comes from outside is never handed to the kernel as it is: a symlink in it, swapped at the right moment, would
lead to the host. Below a directory's descriptor, with RESOLVE_IN_ROOT or RESOLVE_BENEATH, the kernel itself refuses that.
"""

from __future__ import annotations

import os
import struct

from cratebox.linux import const, mount
from cratebox.linux._libc import failure, path_bytes, syscall

_EAGAIN, _ELOOP, _EXDEV = 11, 40, 18
_PROC_ROOT_INO = 1
_MOST_LINKS = 40  # as the kernel's own limit for a path


def openat2(directory: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Call openat2(2), close-on-exec; return the descriptor. Raises OSError.

    A rename anywhere on the machine may make the kernel answer EAGAIN, for it cannot tell whether the path escaped: asked
    again it succeeds, save where somebody renames without end.
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(128):
        fd = syscall(const.SYS_openat2, directory, path_bytes(path), how, len(how))
        if fd >= 0:
            return fd
        error = failure(f"openat2({os.fsdecode(path)})")
        if error.errno != _EAGAIN:
            break
    raise error


def open_in_root(root: int, path: str | bytes, flags: int = const.O_PATH, mode: int = 0) -> int:
    """Open `path` as a process would whose root directory is `root`: absolute symlinks stay inside. Raises OSError."""
    return openat2(root, path, flags, mode, const.RESOLVE_IN_ROOT | const.RESOLVE_NO_MAGICLINKS)


def open_beneath(root: int, path: str | bytes, flags: int = const.O_PATH, mode: int = 0) -> int:
    """Open `path` below `root` following no symlink at all. Raises OSError (ELOOP for a symlink, EXDEV for an escape)."""
    return openat2(root, path, flags, mode, const.RESOLVE_BENEATH | const.RESOLVE_NO_SYMLINKS)


def make_directories(root: int, path: str, mode: int = 0o755) -> int:
    """Open the directory `path` below `root` as if `root` were /, making what is missing; return an O_PATH descriptor.

    Each part is made and opened below the one before it, so nothing is ever made outside of `root`. A symlink that leads
    nowhere is followed, inside, and what it names is made. Raises OSError.
    """
    here = os.open(".", const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    done, rest, links = "", path.split("/"), 0
    while rest:
        part = rest.pop(0)
        if part in ("", "."):
            continue
        try:
            step = _step(root, here, done + "/" + part, part, mode)
        except FileNotFoundError:
            links += 1
            if links > _MOST_LINKS:
                os.close(here)
                raise OSError(_ELOOP, f"too many symlinks in {os.fsdecode(path)!a}") from None
            target = os.readlink(part, dir_fd=here)
            rest = target.split("/") + rest
            if target.startswith("/"):
                os.close(here)
                here, done = os.open(".", const.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root), ""
            continue
        except BaseException:
            os.close(here)
            raise
        os.close(here)
        here, done = step, done + "/" + part
    return here


def _step(root: int, here: int, path: str, part: str, mode: int) -> int:
    """Open the directory `path` below `root`, `part` of it being the last and `here` what it is in; make it if it is missing.

    Raises FileNotFoundError where `part` is a symlink that leads nowhere.
    """
    try:
        return open_in_root(root, path, const.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        try:
            os.mkdir(part, mode, dir_fd=here)
        except FileExistsError:
            pass  # made meanwhile, or a symlink that leads nowhere: the open below tells
        return open_in_root(root, path, const.O_PATH | os.O_DIRECTORY)


def trusted_procfs(options: tuple[str, ...] = ()) -> int:
    """Return a descriptor of a procfs that is one: of the caller's pid namespace, or the one at /proc. Raises OSError.

    A new one is attached nowhere, so nothing can be mounted on it. A user namespace may make one only where all of the outer
    one can be seen; elsewhere it is looked at what /proc is, and `write_trusted` refuses to enter any mount on it. `options`
    are for a new one.
    """
    try:
        return mount.new_filesystem("proc", options)
    except OSError:
        proc = os.open("/proc", const.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if mount.filesystem_type(proc) != const.PROC_SUPER_MAGIC or os.fstat(proc).st_ino != _PROC_ROOT_INO:
        os.close(proc)
        raise OSError(_EXDEV, "what is mounted at /proc is not the kernel's")
    return proc


def write_trusted(proc: int, path: str, text: str) -> None:
    """Write `text` to the file `path` of the procfs `proc`, all at once, as the kernel's files want it. Raises OSError.

    Only symlinks that are text are followed (`self`, `thread-self`), and no mount is entered.
    """
    resolve = const.RESOLVE_BENEATH | const.RESOLVE_NO_XDEV | const.RESOLVE_NO_MAGICLINKS
    fd = openat2(proc, path, os.O_WRONLY, resolve=resolve)
    try:
        os.write(fd, os.fsencode(text))
    finally:
        os.close(fd)
