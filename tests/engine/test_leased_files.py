"""A container may hold leases on its files (fcntl(2), F_SETLEASE): whoever opens one would wait 45 seconds for its end."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root, who takes the leases in the place of the container's root"
)


@contextmanager
def leased(box, name: str, path: str) -> Iterator[None]:
    """Hold a lease, and let nobody have it who asks."""
    pid = box.crate.json("inspect", name)[0]["State"]["Pid"]
    fd = os.open(f"/proc/{pid}/root{path}", os.O_RDWR)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield
    finally:
        os.close(fd)
        signal.signal(signal.SIGIO, before)


def test_nobody_waits_for_the_files_that_say_who_a_user_is(root_box) -> None:
    name = root_box.detached("@", "sleep", "1000")
    with leased(root_box, name, "/etc/passwd"):
        said = root_box.crate.fails("exec", "-u", "nobody", name, "true", timeout=40)
        assert "/etc/passwd" in said
        assert "lease" in said
    root_box.crate.ok("exec", name, "true")


def test_nobody_waits_for_a_file_that_is_copied(root_box, tmp_path) -> None:
    name = root_box.detached("-v", "data:/data", "@", "sh", "-c", "echo some > /data/file; echo more > /file; exec sleep 1000")
    root_box.crate.ok("exec", name, "sh", "-c", "until [ -s /file ]; do sleep 0.1; done")
    for path, words in (
        ("/file", ("cp", f"{name}:/file", tmp_path)),
        ("/data/file", ("volume", "export", "data", "-o", tmp_path / "x")),
    ):
        with leased(root_box, name, path):
            said = root_box.crate.fails(*words, timeout=40)
            assert "a process holds a lease on this file" in said
        root_box.crate.ok(*words)
