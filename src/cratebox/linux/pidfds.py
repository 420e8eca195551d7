"""Processes as they are held: by pidfd, and by start time and boot.
Without the C library, for commands that need nothing else of it.
"""

from __future__ import annotations

import _signal
import os

from cratebox.linux.procfs import read_text


def start_time(pid: int) -> int:
    """Return when process `pid` started, in clock ticks since boot (proc(5), field 22 of stat); 0 where there is none.

    With the boot's ID it tells a process from a later one that was given the same number.
    """
    try:
        text = read_text(f"/proc/{pid}/stat")
    except OSError:
        return 0
    fields = text[text.rindex(")") + 2 :].split()
    return 0 if fields[0] in ("Z", "X") else int(fields[19])


def boot_id() -> str:
    """Return the random ID of this boot (random(4))."""
    return read_text("/proc/sys/kernel/random/boot_id").strip()


def open_pidfd(pid: int, started: int = 0) -> int:
    """Return a pidfd of process `pid`; where `started` is given, only if the process is still the one that started then.

    Raises ProcessLookupError otherwise.
    """
    fd = os.pidfd_open(pid)
    if started and start_time(pid) != started:
        os.close(fd)
        raise ProcessLookupError(3, f"process {pid} is another one than it was")
    return fd


def send_signal(pidfd: int, signal: int) -> None:
    """Send `signal` to the process of `pidfd`. Raises ProcessLookupError where it has ended, PermissionError."""
    _signal.pidfd_send_signal(pidfd, signal)
