"""The caller's side of a terminal: what `run` does while it copies, and what an image may have put at /dev/pts."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cratebox.runtime import console

SOURCE = Path(__file__).resolve().parents[2] / "src"


def _terminal(oci, script: str):
    bundle = oci.bundle(script=script)
    bundle.process["terminal"] = True
    return bundle.write()


def _read_until(master: int, word: bytes, seconds: float = 10) -> bytes:
    found, deadline = b"", time.monotonic() + seconds
    while word not in found and time.monotonic() < deadline:
        if select.select([master], [], [], 0.1)[0]:
            try:
                found += os.read(master, 4096)
            except OSError:
                break
    assert word in found
    return found


@pytest.fixture
def pidfd():
    running = subprocess.Popen(["sleep", "900"])
    held = os.pidfd_open(running.pid)
    yield held
    os.close(held)
    running.kill()
    running.wait()


def _stay(oci, script: str, **streams: object) -> subprocess.Popen[bytes]:
    return oci.start("run", "--bundle", _terminal(oci, script).directory, oci.name(), **streams)


def test_what_is_typed_and_not_taken_costs_no_processor(root_oci):
    """A program that reads nothing, and more typed than its terminal holds."""
    typed, writing = os.pipe()
    running = _stay(root_oci, "stty raw; echo up; exec sleep 900", stdin=typed, stdout=subprocess.PIPE)
    assert running.stdout
    assert running.stdout.readline().strip() == b"up"
    os.set_blocking(writing, False)
    _fill(writing)
    time.sleep(0.3)
    before = _processor_time(running.pid)
    time.sleep(1)
    spent = _processor_time(running.pid) - before
    running.terminate()
    root_oci.ok("delete", "--force", root_oci.ids[-1])
    running.wait(60)
    running.stdout.close()
    os.close(typed)
    os.close(writing)
    assert spent < 0.3, f"{spent} s of one second"


def _fill(pipe: int) -> None:
    try:
        while True:
            os.write(pipe, b"x" * 4096)
    except BlockingIOError:
        pass


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_standard_output_that_nobody_reads_is_no_error(root_oci):
    reading, writing = os.pipe()
    os.close(reading)
    running = _stay(root_oci, "seq 100000; exit 5", stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert running.wait(60) == 5
    assert running.stderr
    assert running.stderr.read() == b""
    running.stderr.close()


def test_a_terminal_of_ours_that_hangs_up_is_the_end_of_what_is_typed(root_oci):
    ours, theirs = os.openpty()
    running = _stay(root_oci, "echo up; sleep 1; exit 5", stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    _read_until(ours, b"up")
    os.close(ours)
    assert running.wait(60) == 5
    assert running.stderr
    assert running.stderr.read() == b""
    running.stderr.close()


def test_a_standard_output_that_does_not_block_gets_all(root_oci):
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    running = _stay(root_oci, "seq 50000; exit 5", stdin=subprocess.DEVNULL, stdout=writing)
    os.close(writing)
    time.sleep(0.5)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read().split()[-1] == b"50000"
    assert running.wait(60) == 5


def test_what_was_taken_over_is_given_back_where_it_fails(pidfd, monkeypatch):
    def broken(*_args: object) -> None:
        raise ZeroDivisionError

    before = {number: signal.getsignal(number) for number in console._FORWARDED}
    open_before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(console, "release_signals", broken)
    with pytest.raises(ZeroDivisionError):
        console.stay_at(pidfd, -1, ())
    assert {number: signal.getsignal(number) for number in before} == before
    assert len(os.listdir("/proc/self/fd")) == open_before


_ENDS_BADLY = """
import os, sys
sys.path.insert(0, sys.argv[1])
from cratebox.errors import RuntimeFailure
from cratebox.runtime import create, lifecycle
opened = []
def keep(created):
    opened.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(8))
    raise RuntimeFailure("gone")
create.keep = keep
_, where, root, name, path = sys.argv[1:]
try:
    lifecycle.create(root, name, where, console_socket=path)
except RuntimeFailure as error:
    assert error.message == "gone", error
for fd in opened:
    os.fstat(fd)
"""


def test_a_master_that_was_sent_away_is_closed_once(root_oci):
    """What was opened since, under the same number, is somebody else's."""
    import socket

    path = root_oci.directory / "console.sock"
    bundle = _terminal(root_oci, "true")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        argv = [sys.executable, "-c", _ENDS_BADLY, str(SOURCE), str(bundle.directory), str(root_oci.root), root_oci.name()]
        done = root_oci.person.run([*argv, str(path)])
    assert done.returncode == 0, done.stderr


def test_run_leaves_no_descriptor_behind(root_oci):
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from cratebox.runtime import lifecycle\n"
        "os.close(0); os.open('/dev/null', os.O_RDONLY); before = len(os.listdir('/proc/self/fd'))\n"
        "assert lifecycle.run(*sys.argv[2:]) == 3; print(len(os.listdir('/proc/self/fd')) - before)"
    )
    bundle = _terminal(root_oci, "exit 3")
    argv = [sys.executable, "-c", program, str(SOURCE), str(root_oci.root), root_oci.name(), str(bundle.directory)]
    done = root_oci.person.run(argv)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


_START_FAILS = """
import sys
sys.path.insert(0, sys.argv[1])
from cratebox.errors import RuntimeFailure
from cratebox.runtime import ending, lifecycle, starting
def broken(*_args, **_named):
    raise RuntimeFailure("cannot start")
deleted = ending.delete
def delete(*args, **named):
    deleted(*args, **named)
    raise RuntimeFailure("cannot delete")
starting.start, ending.delete = broken, delete
try:
    lifecycle.run(*sys.argv[2:])
except RuntimeFailure as error:
    print(error.message)
"""


def test_a_delete_that_fails_does_not_hide_why_the_start_did(root_oci):
    bundle = root_oci.bundle("/bin/true")
    argv = [sys.executable, "-c", _START_FAILS, str(SOURCE), str(root_oci.root), root_oci.name(), str(bundle.directory)]
    assert root_oci.person.run(argv).stdout == "cannot start\n"


def test_no_descriptor_is_left_where_the_gate_is_gone(root_oci):
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from cratebox.runtime import starting, state\n"
        "found = state.load(sys.argv[2]); os.unlink(sys.argv[2] + '/gate'); before = os.listdir('/proc/self/fd')\n"
        "try: starting._open_gate(sys.argv[2], found)\n"
        "except FileNotFoundError: print(len(os.listdir('/proc/self/fd')) - len(before))"
    )
    name = root_oci.create(root_oci.bundle("/bin/true"))
    done = root_oci.person.run([sys.executable, "-c", program, str(SOURCE), str(root_oci.root / name)])
    root_oci.ok("delete", "--force", name)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


# --- /dev/pts ---------------------------------------------------------------------------------------------------------


def _a_file(path: Path) -> None:
    path.write_text("canary")


def _a_fifo(path: Path) -> None:
    os.mkfifo(path)


def _the_hosts(path: Path) -> None:
    os.mknod(path, 0o20666, os.makedev(5, 2))


def _null(path: Path) -> None:
    os.mknod(path, 0o20666, os.makedev(1, 3))


def _a_link(path: Path) -> None:
    path.symlink_to("/dev/ptmx")


@pytest.mark.parametrize("trick", [_a_file, _a_fifo, _the_hosts, _null, _a_link])
def test_what_an_image_has_at_dev_pts_is_no_terminal(root_oci, trick):
    """CVE-2025-52565: without a devpts of the spec's, the image's own directory would be asked."""
    bundle = _terminal(root_oci, "tty").without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue").write()
    (bundle.rootfs / "dev/pts").mkdir()
    trick(bundle.rootfs / "dev/pts/ptmx")
    told = root_oci.fails("run", "--bundle", bundle.directory, root_oci.name(), timeout=60)
    assert "cannot make a terminal: " in told
    assert "the container needs a devpts at /dev/pts" in told
    assert root_oci.left() == []


def test_a_multiplexer_of_the_images_finds_no_devpts_beside_it(root_oci):
    """The kernel asks the directory "pts" beside a node 5:2 which is on no devpts itself."""
    bundle = _terminal(root_oci, "tty").without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    bundle.mount("/dev/pts/pts", "devpts", "newinstance", "ptmxmode=0666", kind="devpts").write()
    (bundle.rootfs / "dev/pts").mkdir()
    _the_hosts(bundle.rootfs / "dev/pts/ptmx")
    told = root_oci.fails("run", "--bundle", bundle.directory, root_oci.name(), timeout=60)
    assert "cannot make a terminal: /dev/pts/ptmx is not that of a devpts file system" in told


@pytest.mark.parametrize("kind", ["tmpfs", "proc"])
def test_another_file_system_at_dev_pts_is_no_terminal(root_oci, kind):
    bundle = _terminal(root_oci, "tty").without("/dev/pts")
    bundle.mount("/dev/pts", kind, "nosuid", kind=kind)
    if kind == "tmpfs":
        bundle.spec["linux"]["devices"] = [{"path": "/dev/pts/ptmx", "type": "c", "major": 5, "minor": 2}]
    told = root_oci.fails("run", "--bundle", bundle.write().directory, root_oci.name(), timeout=60)
    assert "cannot make a terminal: " in told
    assert root_oci.left() == []


def test_the_limit_of_open_files_is_said(root_oci):
    """As root in a container without descriptors to spare: an error of one line, and no process."""
    bundle = root_oci.bundle("/bin/true").write()
    for most in range(4, 24, 2):
        done = root_oci("create", "--bundle", bundle.directory, root_oci.name(), stdin=subprocess.DEVNULL, timeout=60,
                        preexec_fn=lambda most=most: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)),
                        capture_output=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        if done.returncode == 0:
            root_oci.ok("delete", root_oci.ids[-1])
            break
        assert root_oci.left() == [], most
