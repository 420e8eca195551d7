"""Being told when something changes in a directory (inotify(7)), in place of looking again and again."""

from __future__ import annotations

import os
import select

from cratebox.linux import const
from cratebox.linux._libc import checked, path_bytes

_IN_MODIFY, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE_SELF, _IN_MOVE_SELF = 0x2, 0x80, 0x100, 0x400, 0x800
_WANTED = _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE_SELF | _IN_MOVE_SELF
_EVENTS = 4096  # bytes of events that are read at once


class Watch:
    """Changes of the files in one directory: written to, made, renamed into it; and its own end."""

    def __init__(self, directory: str) -> None:
        """Raises OSError: EMFILE where the user has too many watches (fs.inotify.max_user_instances), ENOENT."""
        self._fd = checked("inotify_init1()", const.SYS_inotify_init1, os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            words = (self._fd, path_bytes(directory), _WANTED)
            checked(f"inotify_add_watch({directory})", const.SYS_inotify_add_watch, *words)
        except BaseException:
            os.close(self._fd)
            raise
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        """Wait for a change, at most so long; tell whether there was one since the last call."""
        if not self._poll.poll(int(seconds * 1000)):
            return False
        try:
            while len(os.read(self._fd, _EVENTS)) > _EVENTS // 2:
                pass
        except BlockingIOError:
            pass
        return True

    def close(self) -> None:
        """Watch no more."""
        os.close(self._fd)
