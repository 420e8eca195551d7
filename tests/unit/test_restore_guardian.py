"""The process that clears away behind a restore that was killed."""

from __future__ import annotations

import os

import pytest

from cratebox.runtime import restore


def test_one_that_was_killed_itself_fails_no_restore() -> None:
    reading, writing = os.pipe()
    pid = os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_CLOSE, reading)])
    os.close(reading)
    restore._dismiss(restore.Guardian(writing, pid))
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)
