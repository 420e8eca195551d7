"""clone3(2), unshare(2), setns(2): new namespaces and the way into those that exist."""

from __future__ import annotations

import os
import struct

from cratebox.linux import const
from cratebox.linux._libc import after_fork_child, after_fork_parent, before_fork, checked, failure, pinned, syscall

# By their names in /proc/PID/ns, in the order in which they are joined one by one: the first gives the rights over the others, and
# with the last the host's /proc is out of sight.
KINDS = {
    "user": const.CLONE_NEWUSER,
    "pid": const.CLONE_NEWPID,
    "net": const.CLONE_NEWNET,
    "ipc": const.CLONE_NEWIPC,
    "uts": const.CLONE_NEWUTS,
    "cgroup": const.CLONE_NEWCGROUP,
    "time": const.CLONE_NEWTIME,
    "mnt": const.CLONE_NEWNS,
}
_SIGCHLD = 17


def clone(flags: int, cgroup_fd: int = -1) -> tuple[int, int]:
    """Fork into the namespaces named by `flags` (CLONE_NEW*): (0, -1) in the child; its pid and a pidfd in the parent.

    With CLONE_PARENT it is a child of the caller's parent. With `cgroup_fd`, a directory of cgroup v2, the child is born in
    that cgroup. Raises OSError: EPERM or ENOSPC where namespaces are forbidden or used up, EMFILE, EBUSY and others for the
    cgroup; there is no child then.
    """
    if cgroup_fd >= 0:
        flags |= const.CLONE_INTO_CGROUP
    pidfd, address = pinned(bytes(4))
    at_exit = 0 if flags & const.CLONE_PARENT else _SIGCHLD  # a sibling tells its end as we do
    args = struct.pack("=11Q", flags | const.CLONE_PIDFD, address, 0, 0, at_exit, 0, 0, 0, 0, 0, max(cgroup_fd, 0))
    before_fork()
    pid = syscall(const.SYS_clone3, args, len(args))
    if pid == 0:
        after_fork_child()
        return 0, -1
    error = failure(f"clone3({name_flags(flags)})") if pid < 0 else None
    after_fork_parent()
    if error:
        raise error
    return pid, struct.unpack("=i", pidfd.raw)[0]


def unshare(flags: int) -> None:
    """Call unshare(2): leave the caller's namespaces of these kinds for new ones. Raises OSError."""
    checked(f"unshare({name_flags(flags)})", const.SYS_unshare, flags)


def setns(fd: int, kind: int) -> None:
    """Call setns(2): enter the namespace that `fd` refers to; `kind` is its CLONE_NEW* flag, or 0 for any.

    With a pidfd: those of that process's namespaces whose flags `kind` has, all at once or none. Raises OSError.
    """
    checked(f"setns({os.readlink(f'/proc/self/fd/{fd}')}, {name_flags(kind)})", const.SYS_setns, fd, kind)


def name_flags(flags: int) -> str:
    """Return the names of CLONE_* flags, joined by |."""
    names = [name for name, bit in vars(const).items() if name.startswith("CLONE_") and bit & flags]
    return "|".join(names) or "0"
