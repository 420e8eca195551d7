"""Terminals: making one, its size, its raw mode (pty(7), tty_ioctl(2), termios(3))."""

from __future__ import annotations

import fcntl
import os
import struct

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
