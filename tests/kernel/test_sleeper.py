"""The sleeper: a few kilobytes that sleep until a descriptor has something to say, and then execute a program."""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cratebox.linux import sleeper, stub

READ, WRITE = select.POLLIN, select.POLLOUT


def asleep(fds: dict[int, int], milliseconds: int = -1, become: Callable[[], None] | None = None) -> int:
    """Fork a sleeper that executes sh; return its pid."""
    for fd in fds:
        os.set_inheritable(fd, True)
    program = stub.sealed(sleeper.build(fds, milliseconds))
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
    pid = asleep({read: READ for read, _ in pipes})
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
    polled = {read: READ for read, _ in pipes}
    image = tmp_path / "sleeper"
    image.write_bytes(sleeper.build(polled, -1, "aarch64"))
    image.chmod(0o755)
    emulator = str(shutil.which("qemu-aarch64-static"))
    words = [emulator, "-0", "crate-supervisor", str(image), "/bin/sh", "-c", "exit 7"]
    pid = asleep(polled, become=lambda: os.execv(emulator, words))
    os.write(pipes[-1][1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    for pipe in pipes:
        os.close(pipe[0])
        os.close(pipe[1])


def test_it_wakes_when_its_time_is_over_and_not_before() -> None:
    read, write = os.pipe()
    begun = time.monotonic()
    pid = asleep({read: READ}, 300)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert time.monotonic() - begun >= 0.3
    os.close(read)
    os.close(write)


def test_it_wakes_for_the_event_that_is_asked_for() -> None:
    read, write = os.pipe()
    silent = os.pipe()
    pid = asleep({silent[0]: READ, write: WRITE})
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    for fd in (read, write, *silent):
        os.close(fd)


@pytest.mark.skipif(not shutil.which("qemu-aarch64-static"), reason="qemu-user-static is not installed")
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_code_for_arm64_wakes_in_time_as_well(tmp_path: Path, count: int) -> None:
    pipes = [os.pipe() for _ in range(count)]
    polled = {read: READ for read, _ in pipes}
    image = tmp_path / "sleeper"
    image.write_bytes(sleeper.build(polled, 1300, "aarch64"))
    image.chmod(0o755)
    emulator = str(shutil.which("qemu-aarch64-static"))
    words = [emulator, "-0", "crate-supervisor", str(image), "/bin/sh", "-c", "exit 7"]
    begun = time.monotonic()
    pid = asleep(polled, become=lambda: os.execv(emulator, words))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert time.monotonic() - begun >= 1.3
    for pipe in pipes:
        os.close(pipe[0])
        os.close(pipe[1])
