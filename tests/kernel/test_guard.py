"""The guardian: a few kilobytes that wait for one process, and execute a program where it is killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cratebox.linux import guard, process, stub

REPORT = 300  # the descriptor that it reports to


@pytest.fixture
def guarded() -> Iterator[Callable[..., tuple[int, socket.socket]]]:
    """A function that runs `child()` in a process with a guardian, and returns that one's pid and where it reports to."""
    opened: list[socket.socket] = []

    def run(child, argv=("/bin/sh", "-c", "exit 7"), become=None):  # type: ignore[no-untyped-def]
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        opened.extend((ours, theirs))
        program = stub.sealed(guard.build(REPORT))
        guardian = os.fork()
        if guardian == 0:
            try:
                process.set_subreaper(True)
                os.dup2(theirs.fileno(), REPORT)
                pid = os.fork()
                if pid == 0:
                    child()
                if become:
                    become(pid)
                guard.execute(program, pid, argv, ["X=1"])
            finally:
                os._exit(99)
        os.close(program)
        return guardian, ours

    yield run
    for one in opened:
        one.close()


def code_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_oneself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave_an_orphan() -> None:
    """Have a grandchild that ends with 42 as soon as somebody else is its parent, and stay."""
    middle = os.fork()
    if middle == 0:
        parent = os.getpid()
        if os.fork() == 0:
            while os.getppid() == parent:
                pass
            os._exit(42)
        os._exit(0)
    os.waitpid(middle, 0)
    signal.pause()


def child_of(pid: int) -> int:
    """Return the child of the guardian `pid`, once it is that."""
    while b"crate-guardian" not in Path(f"/proc/{pid}/comm").read_bytes():
        pass
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_it_ends_with_a_child_that_ends_by_itself(guarded) -> None:  # type: ignore[no-untyped-def]
    guardian, _ = guarded(lambda: os._exit(3))
    assert code_of(guardian) == 0


def test_it_becomes_the_program_where_its_child_is_killed(guarded) -> None:  # type: ignore[no-untyped-def]
    guardian, _ = guarded(kill_oneself)
    assert code_of(guardian) == 7


def test_a_program_that_is_not_there_ends_it(guarded) -> None:  # type: ignore[no-untyped-def]
    guardian, _ = guarded(kill_oneself, ("/no/such/program",))
    assert code_of(guardian) == 126


def test_the_program_has_its_arguments_its_environment_and_the_guardians_pid(guarded, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    script = 'echo $0 $X $$ >"$1"'
    guardian, _ = guarded(kill_oneself, ("/bin/sh", "-c", script, "zero", str(tmp_path / "told")))
    assert code_of(guardian) == 0
    assert (tmp_path / "told").read_text().split() == ["zero", "1", str(guardian)]


def test_it_reports_how_orphans_ended(guarded) -> None:  # type: ignore[no-untyped-def]
    guardian, reports = guarded(leave_an_orphan)
    _pid, status = guard.REPORT.unpack(reports.recv(guard.REPORT.size))
    assert os.waitstatus_to_exitcode(status) == 42
    os.kill(child_of(guardian), signal.SIGKILL)
    assert code_of(guardian) == 7


def test_signals_do_not_end_it(guarded) -> None:  # type: ignore[no-untyped-def]
    guardian, _ = guarded(signal.pause)
    child = child_of(guardian)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        os.kill(guardian, number)
    os.kill(child, signal.SIGKILL)
    assert code_of(guardian) == 7


def test_it_takes_a_few_kilobytes(guarded) -> None:  # type: ignore[no-untyped-def]
    guardian, _ = guarded(signal.pause)
    child = child_of(guardian)
    rollup = Path(f"/proc/{guardian}/smaps_rollup").read_text().split()
    os.kill(child, signal.SIGTERM)
    code_of(guardian)
    assert int(rollup[rollup.index("Pss:") + 1]) <= 32


@pytest.mark.skipif(not shutil.which("qemu-aarch64-static"), reason="qemu-user-static is not installed")
@pytest.mark.parametrize(("child", "code"), [(kill_oneself, 7), (lambda: os._exit(5), 0)])
def test_the_code_for_arm64_does_the_same(guarded, tmp_path: Path, child, code: int) -> None:  # type: ignore[no-untyped-def]
    image = tmp_path / "guardian"
    image.write_bytes(guard.build(REPORT, "aarch64"))
    image.chmod(0o755)
    emulator = str(shutil.which("qemu-aarch64-static"))

    def become(pid: int) -> None:
        os.execv(emulator, [emulator, "-0", "crate-guardian", str(image), str(pid), "/bin/sh", "-c", "exit 7"])

    assert code_of(guarded(child, become=become)[0]) == code
