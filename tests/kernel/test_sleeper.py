"""The sleeper: a few kilobytes that sleep until a descriptor has something to say, and then execute a program."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cratebox.linux import sleeper, stub


def asleep(fds: list[int], become: Callable[[], None] | None = None) -> int:
    """Fork a sleeper that executes sh; return its pid."""
    for fd in fds:
        os.set_inheritable(fd, True)
    program = stub.sealed(sleeper.build(fds))
    pid = os.fork()
    if pid == 0:
        try:
            if become:
                become()
            sleeper.execute(program, "crate-supervisor", ["/bin/sh", "-c", "exit $X"], ["X=7"])
        finally:
            os._exit(99)
    os.close(program)
    return pid


@pytest.mark.parametrize("which", [0, 1, 2])
def test_it_wakes_for_any_of_its_descriptors(which: int) -> None:
    pipes = [os.pipe() for _ in range(3)]
    pid = asleep([read for read, _ in pipes])
    while Path(f"/proc/{pid}/comm").read_text() != "crate-superviso\n":
        pass
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    os.kill(pid, signal.SIGTERM)
    os.write(pipes[which][1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    for pipe in pipes:
        os.close(pipe[0])
        os.close(pipe[1])


@pytest.mark.skipif(not shutil.which("qemu-aarch64-static"), reason="qemu-user-static is not installed")
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_code_for_arm64_does_the_same(tmp_path: Path, count: int) -> None:
    pipes = [os.pipe() for _ in range(count)]
    image = tmp_path / "sleeper"
    image.write_bytes(sleeper.build([read for read, _ in pipes], "aarch64"))
    image.chmod(0o755)
    emulator = str(shutil.which("qemu-aarch64-static"))
    words = [emulator, "-0", "crate-supervisor", str(image), "/bin/sh", "-c", "exit 7"]
    pid = asleep([read for read, _ in pipes], lambda: os.execv(emulator, words))
    os.write(pipes[-1][1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    for pipe in pipes:
        os.close(pipe[0])
        os.close(pipe[1])
