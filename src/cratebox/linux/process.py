"""Processes: prctl(2), close_range(2), how they end; how they are held is in pidfds.py."""

from __future__ import annotations

import fcntl
import os
import struct
import sys

from cratebox.linux import const
from cratebox.linux._libc import checked, pinned, syscall
from cratebox.linux.pidfds import boot_id, open_pidfd, send_signal, start_time
from cratebox.linux.procfs import read_text

__all__ = (
    "boot_id", "children", "close_from", "close_on_exec_from", "is_main_thread", "load_seccomp", "new_session_keyring",
    "open_pidfd", "parent", "prctl", "reaped_status", "send_signal", "set_domainname", "set_dumpable", "set_hostname",
    "set_name", "set_no_new_privileges", "set_subreaper", "start_time", "waited_status", "zombie_status",
)  # fmt: skip
_PIDFD_INFO_SIZE = 64  # bytes of struct pidfd_info, PIDFD_INFO_SIZE_VER0


def prctl(what: str, option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
    """Call prctl(2); `what` names the option in the error. Raises OSError."""
    return checked(f"prctl({what}, {a})", const.SYS_prctl, option, a, b, c, d)


def set_dumpable(value: bool) -> None:
    """Say whether others may look into this process (ptrace, /proc/PID/exe, /proc/PID/fd)."""
    prctl("PR_SET_DUMPABLE", const.PR_SET_DUMPABLE, int(value))


def set_no_new_privileges() -> None:
    """From here on execve(2) grants nothing: set-user-ID bits and file capabilities are inert."""
    prctl("PR_SET_NO_NEW_PRIVS", const.PR_SET_NO_NEW_PRIVS, 1)


def set_subreaper(value: bool) -> None:
    """Say whether descendants of this process that lose their parent become its children."""
    prctl("PR_SET_CHILD_SUBREAPER", const.PR_SET_CHILD_SUBREAPER, int(value))


def set_name(name: str) -> None:
    """Set the name that ps shows for this process; the kernel keeps 15 bytes."""
    checked(f"prctl(PR_SET_NAME, {name})", const.SYS_prctl, const.PR_SET_NAME, name.encode()[:15] + b"\0")


def close_from(first: int, keep: tuple[int, ...] = ()) -> None:
    """Close every descriptor from `first` on, save those of `keep`, whatever their number. Raises OSError."""
    for fd in sorted(keep):
        if fd >= first:
            if fd > first:
                checked("close_range", const.SYS_close_range, first, fd - 1, 0)
            first = fd + 1
    checked("close_range", const.SYS_close_range, first, 0xFFFFFFFF, 0)


def close_on_exec_from(first: int) -> None:
    """Mark every descriptor from `first` on to be closed by execve(2). Raises OSError."""
    checked("close_range", const.SYS_close_range, first, 0xFFFFFFFF, const.CLOSE_RANGE_CLOEXEC)


def new_session_keyring() -> None:
    """Leave the session keyring of the caller for a new one, where the kernel has keyrings (keyctl(2))."""
    syscall(const.SYS_keyctl, const.KEYCTL_JOIN_SESSION_KEYRING, 0)


def load_seccomp(program: bytes, flags: int) -> int:
    """Load a filter of system calls (seccomp(2), an array of struct sock_filter) for good. Raises OSError.

    Return the descriptor of its listener, close-on-exec, where `flags` ask for one, else 0.
    It takes CAP_SYS_ADMIN or no_new_privs.
    """
    copy, address = pinned(program)
    fprog = struct.pack("=H6xQ", len(copy) // 8, address)
    return checked("seccomp(SECCOMP_SET_MODE_FILTER)", const.SYS_seccomp, const.SECCOMP_SET_MODE_FILTER, flags, fprog)


def set_hostname(name: str) -> None:
    """Set the host name of this UTS namespace. Raises OSError."""
    raw = os.fsencode(name)
    checked(f"sethostname({name})", const.SYS_sethostname, raw, len(raw))


def set_domainname(name: str) -> None:
    """Set the NIS domain name of this UTS namespace. Raises OSError."""
    raw = os.fsencode(name)
    checked(f"setdomainname({name})", const.SYS_setdomainname, raw, len(raw))


def parent(pid: int) -> int:
    """Return the pid of the parent of process `pid` (proc(5), field 4 of stat); 0 where there is no such process."""
    try:
        text = read_text(f"/proc/{pid}/stat")
    except OSError:
        return 0
    return int(text[text.rindex(")") + 2 :].split()[1])


def children(pid: int) -> list[int]:
    """Return the pids of the children that the first thread of process `pid` has (proc(5), /proc/PID/task/TID/children); none
    where it has ended.
    """
    try:
        return [int(word) for word in read_text(f"/proc/{pid}/task/{pid}/children").split()]
    except OSError:
        return []


def reaped_status(pidfd: int) -> int | None:
    """Return the wait status of a process that its parent, whoever that is, has reaped; None where it is not yet, or where the
    kernel does not tell (before Linux 6.15): PIDFD_GET_INFO with PIDFD_INFO_EXIT, linux/pidfd.h.
    """
    info = bytearray(const.PIDFD_INFO_EXIT.to_bytes(8, sys.byteorder) + bytes(_PIDFD_INFO_SIZE - 8))
    try:
        fcntl.ioctl(pidfd, const.PIDFD_GET_INFO, info)
    except OSError:
        return None
    if not int.from_bytes(info[:8], sys.byteorder) & const.PIDFD_INFO_EXIT:
        return None
    return int.from_bytes(info[-4:], sys.byteorder, signed=True)


def zombie_status(pid: int, started: int) -> int | None:
    """Return the wait status of process `pid`, which started then, where it has ended and nobody has reaped it yet (proc(5),
    field 52 of stat: told to those who might trace it); else None.
    """
    try:
        text = read_text(f"/proc/{pid}/stat")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[49]) if fields[0] == "Z" and int(fields[19]) == started else None


def is_main_thread() -> bool:
    """Only the main thread may set signal handlers. Without the module threading there is no other."""
    threading = sys.modules.get("threading")
    return threading is None or threading.current_thread() is threading.main_thread()


def waited_status(status: int) -> int:
    """Return the exit code a shell gives for a wait status: the code itself, or 128 + N for signal N."""
    return 128 + (status & 0x7F) if status & 0x7F else status >> 8
