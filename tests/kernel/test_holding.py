"""What is on its way to a log is there once, wherever a supervisor is killed, and however small its pipes are (holding.py)."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cratebox.engine import holding
from cratebox.engine.holding import Holds
from cratebox.engine.log_reading import Wanted, read
from cratebox.engine.logs import LogWish, LogWriter

SAID = {
    "stdout": b"one\ntwo\nthree\n" + b"a line that goes on and on " * 4 + b"\nfour\nand no end",
    "stderr": b"first\nsecond\n\nthird " + b"1.2.3." * 9,
}
FATAL = ("read", "write", "pread", "pwrite", "splice", "rename", "truncate", "ftruncate", "unlink")
LIMIT = Path("/proc/sys/fs/pipe-user-pages-soft")
NOBODY_ELSE = 1_900_000_000  # from this ID on, one for each process: a user who has no pipes but those of one test


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


class Output:
    """A container's pipes and holds, which outlive its supervisors, and its log."""

    def __init__(self, directory: Path, wish: LogWish) -> None:
        self.directory, self.wish = directory, wish
        self.sources = {name: os.pipe() for name in SAID}
        self.holds = {name: os.pipe() for name in SAID}

    def say(self, said: dict[str, bytes]) -> None:
        """Say all that it ever says."""
        for name, data in said.items():
            os.write(self.sources[name][1], data)
            os.close(self.sources[name][1])

    def supervise(self, most: int) -> None:
        """Do as a supervisor does until the container has nothing more to say: `most` bytes at a time."""
        log = LogWriter(f"{self.directory}/log", self.wish)
        holds = Holds(f"{self.directory}/log.at", log, self.holds)
        speaking = {source: name for name, (source, _) in self.sources.items()}
        poll = select.poll()
        for source in speaking:
            poll.register(source, select.POLLIN)
        while speaking:
            for source, _ in poll.poll():
                if data := holds.take(speaking[source], source, most):
                    holds.log(speaking[source], data)
                else:
                    poll.unregister(source)
                    del speaking[source]
        log.close()
        holds.close()

    def logged(self) -> dict[str, bytes]:
        said = dict.fromkeys(SAID, b"")
        for entries in read(f"{self.directory}/log", Wanted()):
            for stream, _when, data, _more in entries:
                said[stream] += data
        return said

    def close(self) -> None:
        for source, _ in self.sources.values():
            os.close(source)
        for ends in self.holds.values():
            _close(list(ends))


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Callable[..., Output]]:
    """A function that returns a container's output, whose log is kept as it says."""
    made: list[Output] = []

    def make(**wish: object) -> Output:
        directory = tmp_path / str(len(made))
        directory.mkdir()
        made.append(Output(directory, LogWish(**wish)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


def _in_a_child(act: Callable[[], object]) -> int:
    """Return the exit code of a process that does that: 0 where it is done, 1 where it raised something."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _killed_at(fatal: int) -> None:
    """Have this process end in place of its system call of that number, counted from 1."""
    left = fatal

    def instead(call: Callable[..., object]) -> Callable[..., object]:
        def counted(*words: object) -> object:
            nonlocal left
            left -= 1
            if not left:
                os._exit(9)
            return call(*words)

        return counted

    for name in FATAL:
        setattr(os, name, instead(getattr(os, name)))
    holding.pipes.tee = instead(holding.pipes.tee)  # type: ignore[assignment]


@pytest.mark.parametrize("wish", [{}, {"driver": "k8s-file", "most": 300, "files": 20}])
def test_all_is_in_the_log_once_wherever_a_supervisor_is_killed(output, wish: dict[str, object]) -> None:
    """At its first system call, its second and so on; the one that comes after it is not."""
    for fatal in range(1, 2000):
        one = output(**wish)
        one.say(SAID)
        code = _in_a_child(lambda at=fatal, one=one: (_killed_at(at), one.supervise(11)))  # type: ignore[misc]
        if code == 0:
            break
        assert code == 9
        one.supervise(7)
        assert one.logged() == SAID, f"killed at its system call {fatal}"
    assert fatal > 80


# A user who has too many pipes for any new one to be of the usual size (pipe(7))


def _be_nobody_else(directory: Path) -> None:
    pages = int(LIMIT.read_text())
    resource.setrlimit(resource.RLIMIT_NOFILE, (pages, pages))
    user = NOBODY_ELSE + os.getpid()
    os.chown(directory, user, user)
    os.chdir(directory)  # the way to it is root's
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _too_many_pipes() -> list[int]:
    pipes = list(os.pipe())
    usual = fcntl.fcntl(pipes[0], fcntl.F_GETPIPE_SZ)
    while fcntl.fcntl(pipes[-1], fcntl.F_GETPIPE_SZ) == usual:
        pipes += os.pipe()
    return pipes


@pytest.mark.skipif(
    os.geteuid() != 0 or not 0 < int(LIMIT.read_text()) <= 16384, reason="needs root, and a machine that limits pipes"
)
@pytest.mark.parametrize("left", [0, 10])
@pytest.mark.parametrize("small", [("container",), ("supervisor",), ("container", "supervisor")])
def test_all_is_in_the_log_for_who_has_too_many_pipes(tmp_path: Path, small: tuple[str, ...], left: int) -> None:
    """The holds are smaller than their scratch, or larger, or both are small; `left` pieces are there already."""
    said = {"stdout": b"".join(b"%d\n" % number for number in range(9000)), "stderr": b"1." * 3000}

    def live() -> None:
        _be_nobody_else(tmp_path)
        many = _too_many_pipes() if "container" in small else []
        one = Output(Path(), LogWish())
        before = b"piece." * min(left, fcntl.fcntl(one.holds["stdout"][1], fcntl.F_GETPIPE_SZ) // os.sysconf("SC_PAGE_SIZE"))
        for piece in before.split(b".")[:-1]:
            os.write(one.holds["stdout"][1], piece + b".")
        if "supervisor" not in small:
            _close(many)
        elif not many:
            many = _too_many_pipes()
        threading.Thread(target=one.say, args=(said,), daemon=True).start()
        one.supervise(65536)
        assert one.logged() == {**said, "stdout": before + said["stdout"]}

    assert _in_a_child(live) == 0
