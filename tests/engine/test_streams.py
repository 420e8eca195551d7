"""Standard streams and signals of an attached container that has no terminal."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import signal
import subprocess
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from cratebox.linux import _libc, const

BLOB = random.Random(1).randbytes(1 << 20)
PATIENCE = 30


def _communicate(process: subprocess.Popen[bytes], data: bytes | None = None) -> tuple[bytes, bytes]:
    try:
        return process.communicate(data, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()
        raise


def test_a_megabyte_of_any_bytes_goes_through_cat(box) -> None:
    process = box.start("-i", "@", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = _communicate(process, BLOB)
    assert (process.returncode, err) == (0, b"")
    assert out == BLOB


def test_ten_megabytes_of_output_come_byte_for_byte(box) -> None:
    script = "seq 1 1200000; seq 1 100000 >&2"
    process = box.start("sh", "-c", script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = _communicate(process)
    assert hashlib.sha256(out).hexdigest() == hashlib.sha256(_numbers(1_200_000)).hexdigest()
    assert err == _numbers(100_000)


def test_the_log_has_every_byte_as_well(root_box) -> None:
    root_box.crate("run", "--name", "web", "-i", root_box.image, "cat", stdin=None, input=BLOB, text=False, errors=None)
    done = root_box.crate("logs", "web", text=False, errors=None)
    assert done.stdout == BLOB


def _numbers(last: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, last + 1))


def test_output_into_a_file_is_whole(box, scratch: Path, word: str) -> None:
    path = box.crate.directory / "out"
    with open(path, "wb") as file:
        process = box.start("seq", "300000", stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        assert process.wait(PATIENCE) == 0
    assert path.read_bytes() == _numbers(300_000)


def test_both_streams_into_one_file_lose_nothing(box) -> None:
    path = box.crate.directory / "out"
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done"
    with open(path, "wb") as file:
        assert box.start("sh", "-c", script, stdin=subprocess.DEVNULL, stdout=file, stderr=file).wait(PATIENCE) == 0
    assert sorted(path.read_text().splitlines()) == sorted(f"{kind} {i}" for i in range(1, 10) for kind in ("out", "err"))


def test_without_i_standard_input_is_empty(box) -> None:
    assert box.run("sh", "-c", "cat; echo end", input="typed\n", timeout=90) == "end"


def test_the_end_of_standard_input_reaches_the_command(box) -> None:
    assert box.run("-i", "@", "wc", "-c", input="abc", timeout=90) == "3"


def test_a_file_as_standard_input_is_read_to_its_end(box) -> None:
    path = box.crate.directory / "in"
    path.write_bytes(BLOB)
    with open(path, "rb") as file:
        process = box.start("-i", "@", "sha256sum", stdin=file, stdout=subprocess.PIPE)
        out, _ = _communicate(process)
    assert out.split()[0].decode() == hashlib.sha256(BLOB).hexdigest()


def test_a_command_that_reads_nothing_ends_whatever_is_typed(box) -> None:
    process = box.start("-i", "@", "true", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.wait(PATIENCE) == 0
    process.stdin.close()
    process.stdout.close()


def test_a_command_that_stops_reading_holds_nobody_up(box) -> None:
    process = box.start("-i", "@", "head", "-c", "10", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = _communicate(process, BLOB)
    assert (out, err, process.returncode) == (BLOB[:10], b"", 0)


def test_a_command_that_closes_standard_input_and_goes_on_gets_its_end_awaited(box) -> None:
    script = "exec 0<&-; sleep 0.5; echo end"
    process = box.start("-i", "@", "sh", "-c", script, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert _communicate(process, BLOB)[0] == b"end\n"


def test_the_callers_standard_input_is_left_as_it_was(box) -> None:
    """A descriptor that was made non-blocking would break whoever shares it: the shell, or the next command of a pipe."""
    ours, theirs = os.pipe()
    done = box.crate("run", "--rm", "-i", box.image, "true", stdin=ours)
    assert done.returncode == 0
    assert not fcntl.fcntl(ours, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_caller_without_standard_streams_breaks_nothing(box, closed: tuple[int, ...]) -> None:
    shut = " ".join(f"{fd}<&-" if fd == 0 else f"{fd}>&-" for fd in closed)
    argv = box.crate.argv("run", "--rm", "-i", box.image, "sh", "-c", "cat; echo out; echo err >&2; exit 3")
    done = subprocess.run(
        ["sh", "-c", f'"$@" {shut}', "sh", *argv],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=box.crate.person.environment(box.crate.environment),
        cwd=box.crate.person.home,
        **box.crate.person.identity(),
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout == ("" if 1 in closed else "out\n")
    assert done.stderr == ("" if 2 in closed else "err\n")


def test_a_reader_that_goes_away_does_not_hold_the_container_up(box, until) -> None:
    identity = box.create("--name", "web", "@", "sh", "-c", "seq 1 200000; exit 5")
    process = box.crate.start("start", "-a", "web", stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    process.stdout.close()
    assert process.wait(PATIENCE) == 141  # as behind a shell's pipe
    until(lambda: box.status(identity) == "exited")
    assert box.crate.ok("logs", identity).endswith("\n200000")
    assert box.crate.json("inspect", identity)[0]["State"]["ExitCode"] == 5


def _is_full(pipe: IO[bytes]) -> bool:
    """Say whether a pipe holds half of what it can: more may not come, for a page of it need not be filled."""
    held = int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
    return held >= fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) // 2


def test_a_reader_that_sleeps_holds_the_container_back_and_loses_nothing(box, until) -> None:
    process = box.start("seq", "400000", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    until(lambda: _is_full(process.stdout))
    assert process.poll() is None
    assert _communicate(process)[0] == _numbers(400_000)
    assert process.returncode == 0


def test_a_full_standard_output_is_no_end_for_signals(box, until) -> None:
    script = "trap 'echo told >&2; exit 5' TERM; echo ready >&2; yes & wait"
    process = box.start("sh", "-c", script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr.readline() == b"ready\n"
    until(lambda: _is_full(process.stdout))
    process.terminate()
    assert process.stderr.readline() == b"told\n"
    _communicate(process)
    assert process.returncode == 5


def test_a_write_to_dev_full_ends_nothing_and_is_told_with_the_code(box) -> None:
    with open("/dev/full", "wb") as full:
        process = box.start("sh", "-c", "seq 1 100000; exit 4", stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE)
        errors = _communicate(process)[1]
    assert process.returncode == 125
    assert b"cannot write to standard output" in errors
    assert b"what was running ended with 4" in errors


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH", "ALRM"])
def test_a_signal_to_the_client_reaches_the_command(root_box, name: str) -> None:
    _signalled(root_box, name)


def test_a_signal_to_a_users_client_reaches_the_command(user_box) -> None:
    _signalled(user_box, "TERM")


def _signalled(box, name: str) -> None:  # type: ignore[no-untyped-def]
    script = f"trap 'echo {name}; exit 9' {name}; trap 'exit 1' ALRM; echo ready; while :; do sleep 0.05; done"
    if name == "ALRM":
        script = script.replace("trap 'exit 1' ALRM;", "")
    if name == "WINCH":  # the client's own: it is about its terminal
        script = script.replace("trap 'echo", "trap 'exit 0' USR1; trap 'echo pong' USR2; trap 'echo", 1)
    process = box.start("sh", "-c", script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(getattr(signal, f"SIG{name}"))
    if name == "WINCH":
        process.send_signal(signal.SIGUSR2)
        assert process.stdout.readline() == b"pong\n"  # what was sent before it would have come before it
        process.send_signal(signal.SIGUSR1)
        assert _communicate(process)[0] == b""
        assert process.returncode == 0
    else:
        assert _communicate(process)[0] == f"{name}\n".encode()
        assert process.returncode == 9


def test_a_signal_is_not_passed_on_where_that_was_asked_for(box, until) -> None:
    script = "trap 'echo got; exit 9' TERM; echo ready; sleep 1; echo end"
    process = box.start("--sig-proxy=false", "@", "sh", "-c", script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    out, _ = _communicate(process)
    assert b"got" not in out
    until(lambda: box.crate.ok("ps", "-aq") == "")


def _is_pending(pid: int, number: int) -> bool:
    rows = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool((int(rows["SigPnd"], 16) | int(rows["ShdPnd"], 16)) >> (number - 1) & 1)


def test_three_interrupts_let_go_of_a_command_that_does_not_listen(box, until) -> None:
    words = ("run", "--name", "deaf", box.image, "sh", "-c", "trap '' INT; echo ready; while :; do sleep 0.1; done")
    process = box.crate.start(*words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        until(lambda: process.poll() is not None or not _is_pending(process.pid, signal.SIGINT))  # two at once are one
    _communicate(process)
    assert process.returncode == 130
    assert box.status("deaf") == "running"
    box.crate.ok("rm", "-f", "deaf")


def test_a_signal_at_any_moment_of_the_start_is_never_lost(root_box) -> None:
    """Before the command runs it ends crate, after that the command (a sleep as PID 1 would not listen): no third way."""
    script = "trap 'exit 9' TERM; while :; do sleep 0.05; done"
    for delay in range(0, 100, 8):
        process = root_box.start("sh", "-c", script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(delay / 1000)
        process.terminate()
        time.sleep(0.15)
        if process.poll() is None:  # it came before the shell had its trap
            process.terminate()
        _communicate(process)
        assert process.returncode in {9, 130, 143, -15}, process.returncode
    left = root_box.crate.ok("ps", "-aq").split()
    if left:
        root_box.crate.ok("rm", "-f", *left)


def test_a_detached_container_holds_nothing_of_its_callers_open(box) -> None:
    ours, theirs = os.pipe()
    argv = box.crate.argv("run", "-d", box.image, "sleep", "100")
    process = box.crate.person.start(
        argv, env=box.crate.environment, stdin=theirs, stdout=theirs, stderr=theirs, pass_fds=[theirs]
    )
    os.close(theirs)
    with open(ours, "rb") as file:
        said = _read_to_end(file.fileno())
    assert process.wait(PATIENCE) == 0
    assert len(said) == 65
    box.crate.ok("rm", "-f", said.decode().strip())


def _read_to_end(fd: int) -> bytes:
    os.set_blocking(fd, False)
    deadline, said = time.monotonic() + 60, b""
    while time.monotonic() < deadline:
        try:
            data = os.read(fd, 4096)
        except BlockingIOError:
            time.sleep(0.02)
            continue
        if not data:
            return said
        said += data
    raise AssertionError(f"somebody keeps the pipe open; it said {said!r}")


def test_a_process_in_the_background_does_not_keep_the_output_open_for_ever(box) -> None:
    """PID 1 ends, the kernel kills the rest: run does not wait for the sleep."""
    process = box.start("sh", "-c", "sleep 1000 & echo end", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert _communicate(process)[0] == b"end\n"


def test_standard_streams_may_be_opened_again_by_any_user(box) -> None:
    script = "echo out > /dev/stdout; echo err > /proc/self/fd/2"
    done = box("-u", "1000:1000", "@", "sh", "-c", script)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_eight_runs_at_once_are_eight_containers(box) -> None:
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda number: box.run("echo", str(number)), range(8)))
    assert said == [str(number) for number in range(8)]
    assert box.crate.ok("ps", "-aq") == ""


def test_what_a_slow_reader_has_not_taken_is_kept_for_it_after_the_end(box) -> None:
    with box.start("head", "-c", "1000000", "/dev/zero", stdout=subprocess.PIPE) as process:
        time.sleep(3)  # longer than a supervisor waits for a terminal's last words
        assert len(process.stdout.read()) == 1_000_000
        assert process.wait(60) == 0


def test_a_descriptor_that_was_given_away_keeps_no_container_alive(root_box, until) -> None:
    """Whoever got it may hold it for ever, and write."""
    name = root_box.detached("@", "sleep", "900")
    pidfd = os.pidfd_open(root_box.crate.json("inspect", name)[0]["State"]["Pid"])
    stdout = _libc.checked("pidfd_getfd", const.SYS_pidfd_getfd, pidfd, 1, 0)
    try:
        os.write(stdout, b"before\n")
        root_box.crate.ok("kill", name)
        until(lambda: root_box.status(name) == "exited")
        with pytest.raises(BrokenPipeError):
            os.write(stdout, b"after\n")
        assert root_box.crate.ok("logs", name) == "before"
    finally:
        os.close(stdout)
        os.close(pidfd)
