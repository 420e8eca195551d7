"""Terminals: making one, its size, its raw mode (pty(7), tty_ioctl(2), termios(3))."""

from __future__ import annotations

import fcntl
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TIOCGPTN, TIOCSPTLCK, TIOCSWINSZ, TIOCGWINSZ, TIOCSCTTY, TIOCGPTPEER = 0x80045430, 0x40045431, 0x5414, 0x5413, 0x540E, 0x5441


def open_pair(ptmx: int | str) -> tuple[int, int, int]:
    """Make a terminal of the devpts instance that `ptmx` (a path, or an open master) belongs to.

    Return the master, the slave and the slave's number. The slave is opened through the master (TIOCGPTPEER), so no path
    that another could have replaced is used. Raises OSError.
    """
    master = os.open(ptmx, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC) if isinstance(ptmx, str) else ptmx
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    number: int = struct.unpack("I", fcntl.ioctl(master, TIOCGPTN, b"\0\0\0\0"))[0]
    slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return master, slave, number


def size(fd: int) -> tuple[int, int]:
    """Return (rows, columns) of the terminal `fd`. Raises OSError where it is none."""
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, TIOCGWINSZ, b"\0" * 8))
    return rows, columns


def set_size(fd: int, rows: int, columns: int) -> None:
    """Set the size of the terminal `fd`; its foreground processes get SIGWINCH. Raises OSError."""
    fcntl.ioctl(fd, TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def make_controlling(fd: int) -> None:
    """Make `fd` the controlling terminal of this session leader. Raises OSError."""
    fcntl.ioctl(fd, TIOCSCTTY, 0)


def enter_raw_mode(fd: int) -> Any:
    """Let every key typed at the terminal `fd` through as it is, and what is written too, as cfmakeraw(3);
    what was typed before stays.

    Return its settings as they were, for `restore_mode`; None where it is no terminal.
    """
    import termios

    try:
        before = termios.tcgetattr(fd)
    except termios.error:
        return None
    raw: list[Any] = [list(one) if isinstance(one, list) else one for one in before]
    raw[0] &= ~(termios.BRKINT | termios.ICRNL | termios.INPCK | termios.ISTRIP | termios.IXON | termios.IGNBRK
                | termios.PARMRK | termios.INLCR | termios.IGNCR)  # fmt: skip
    raw[1] &= ~termios.OPOST
    raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    raw[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN | termios.ISIG)
    raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSADRAIN, raw)
    return before


def restore_mode(fd: int, before: Any) -> None:
    """Undo `enter_raw_mode`. A terminal that is gone needs nothing."""
    if before is None:
        return
    import termios

    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
    except termios.error:
        pass
