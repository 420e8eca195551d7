"""Security modules that label processes: whether they are there, and the file of a procfs that takes a label for execve(2).

AppArmor: apparmor.d(5), aa_change_onexec(2); SELinux: setexeccon(3), selinux(8). The file belongs to the thread that writes: it
holds for its next execve(2), and is taken from nobody else.
"""

from __future__ import annotations

import os

from cratebox.linux import const, mount
from cratebox.linux.procfs import read_text

_SELINUXFS = "/sys/fs/selinux"


def has_apparmor() -> bool:
    """Say whether AppArmor is in this kernel and on."""
    try:
        return read_text("/sys/module/apparmor/parameters/enabled").strip() == "Y"
    except OSError:
        return False


def has_selinux() -> bool:
    """Say whether SELinux is on: its file system is mounted where it belongs."""
    try:
        fd = os.open(_SELINUXFS, const.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return mount.filesystem_type(fd) == const.SELINUX_MAGIC
    finally:
        os.close(fd)


def apparmor_exec(profile: str) -> tuple[str, str]:
    """Return the file in a procfs, and what to write to it, for a profile. Older kernels have one file for all modules."""
    own = os.path.exists("/proc/thread-self/attr/apparmor/exec")
    return f"thread-self/attr/{'apparmor/' if own else ''}exec", f"exec {profile}"


def selinux_exec(label: str) -> tuple[str, str]:
    """Return the file in a procfs, and what to write to it, for a label."""
    return "thread-self/attr/exec", label
