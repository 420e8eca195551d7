"""Capabilities: their names, and the sets of the calling thread (capabilities(7), capset(2))."""

from __future__ import annotations

import struct

from cratebox.linux import const
from cratebox.linux._libc import buffer, checked, syscall
from cratebox.linux.procfs import read_text

# In the kernel's order: a name's place is its number (linux/capability.h).
NAMES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
    "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip

_NUMBERS = {name: number for number, name in enumerate(NAMES)}
_VERSION_3 = 0x20080522


def mask(names: tuple[str, ...] | frozenset[str]) -> int:
    """Return the bits of `names` ("CAP_CHOWN"); a name that the kernel's headers do not have has none."""
    return sum(1 << _NUMBERS[name] for name in {*names} & _NUMBERS.keys())


def get() -> tuple[int, int, int]:
    """Return the (effective, permitted, inheritable) sets of this thread. Raises OSError."""
    data = buffer(24)
    checked("capget", const.SYS_capget, struct.pack("=Ii", _VERSION_3, 0), data)
    low_e, low_p, low_i, high_e, high_p, high_i = struct.unpack("=6I", data.raw)
    return low_e | high_e << 32, low_p | high_p << 32, low_i | high_i << 32


def set_(effective: int, permitted: int, inheritable: int) -> None:
    """Set the three sets of this thread. Raises OSError."""
    words = [part & 0xFFFFFFFF for part in (effective, permitted, inheritable)]
    words += [part >> 32 for part in (effective, permitted, inheritable)]
    checked("capset", const.SYS_capset, struct.pack("=Ii", _VERSION_3, 0), struct.pack("=6I", *words))


def last() -> int:
    """Return the number of the last capability this kernel knows."""
    return int(read_text("/proc/sys/kernel/cap_last_cap"))


def drop_bounding(keep: int, last_cap: int) -> None:
    """Leave only the bits of `keep` in the bounding set: no execve(2) can bring the others back. Raises OSError."""
    for number in range(last_cap + 1):
        if not keep >> number & 1:
            checked(f"prctl(PR_CAPBSET_DROP, {NAMES[number] if number < len(NAMES) else number})",
                    const.SYS_prctl, const.PR_CAPBSET_DROP, number, 0, 0, 0)  # fmt: skip


def set_ambient(bits: int) -> None:
    """Make `bits` the ambient set; they must be permitted and inheritable. Raises OSError."""
    syscall(const.SYS_prctl, const.PR_CAP_AMBIENT, const.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    number = 0
    while bits >> number:
        if bits >> number & 1:
            checked(f"prctl(PR_CAP_AMBIENT_RAISE, {number})", const.SYS_prctl, const.PR_CAP_AMBIENT,
                    const.PR_CAP_AMBIENT_RAISE, number, 0, 0)  # fmt: skip
        number += 1
