"""HOME of a process whose environment does not say it, as runc sets it: engines rely on that.

It is looked up inside of the container, in a file that is the image's: a regular one, opened without waiting, of at most 1 MiB.
Format: passwd(5). Runs where nothing can be imported any more.
"""

from __future__ import annotations

import os
import stat

from cratebox.linux.beneath import open_in_root

_MOST = 1 << 20
_FALLBACK = "/"


def with_home(env: tuple[str, ...], uid: int) -> tuple[str, ...]:
    """Return `env` with HOME: as it is there, else that of the user `uid` in /etc/passwd, else /. Never fails."""
    for entry in reversed(env):
        if entry.startswith("HOME="):
            if entry != "HOME=":
                return env
            break
    return (*(entry for entry in env if not entry.startswith("HOME=")), f"HOME={_home_of(uid)}")


def _home_of(uid: int) -> str:
    number = str(uid).encode()
    for line in _passwd().split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == number and fields[5] and b"\0" not in fields[5]:
            return os.fsdecode(fields[5])
    return _FALLBACK


def _passwd() -> bytes:
    root = fd = -1
    try:
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        fd = open_in_root(root, "etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b""
        found = b""
        while len(found) < _MOST and (part := os.read(fd, 65536)):
            found += part
    except OSError:
        return b""
    else:
        return found
    finally:
        for one in (root, fd):
            if one >= 0:
                os.close(one)
