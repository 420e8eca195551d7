"""What a container's own processes can do to the pipes of its output: it harms neither its log nor its supervisor."""

from __future__ import annotations

import ctypes
import fcntl
import os
import time

import pytest

from support.kin import GO, ends, go, kill

_PIDFD_GETFD = 438
FIRST, SECOND = r"printf 'abc\ndefghi'; ", r"printf 'JKLMNOPQRST\nuvw'; "


def write_packets(box, name: str, fd: int) -> None:
    """Set O_DIRECT on a descriptor of a container's first process, as itself could: each write is a packet then (pipe(2))."""
    pid = box.crate.json("inspect", name)[0]["State"]["Pid"]
    pidfd = os.pidfd_open(pid)
    ours = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, pidfd, fd, 0)
    os.close(pidfd)
    assert ours >= 0, os.strerror(ctypes.get_errno())
    fcntl.fcntl(ours, fcntl.F_SETFL, fcntl.fcntl(ours, fcntl.F_GETFL) | os.O_DIRECT)
    os.close(ours)


@pytest.mark.parametrize("fd", [1, 2])
def test_packets_are_kept_whole_though_a_line_ends_in_the_middle_of_one(box, until, fd: int) -> None:
    if os.geteuid():
        pytest.skip("needs root, who sets the flag in the place of the container's program")
    name = box.detached(
        "@", "sh", "-c", f"exec 3>&1 1>&{fd}; {GO}{FIRST}sleep 0.5; {SECOND}sleep 0.5; echo; echo end; exec sleep 1000"
    )
    write_packets(box, name, fd)
    go(box, name)

    def said() -> str:
        done = box.crate("logs", name)
        return str(done.stdout + done.stderr)

    until(lambda: said().endswith("end\n"))
    assert said() == "abc\ndefghiJKLMNOPQRST\nuvw\nend\n"
    box.crate.ok("stop", "-t", "0", name, timeout=60)


def test_a_packet_that_is_cut_in_two_outlives_a_killed_supervisor(box, until) -> None:
    if os.geteuid():
        pytest.skip("needs root, who sets the flag in the place of the container's program")
    box.detached("--name", "web", "@", "sh", "-c", f"sleep 1; {FIRST}{GO}{SECOND}echo; exit 7")
    write_packets(box, "web", 1)
    until(lambda: box.crate.ok("logs", "web") == "abc")
    kill(box, "web", "crate-superviso", until)
    go(box, "web")
    assert ends(box, "web", until) == 7
    assert box.crate.ok("logs", "web") == "abc\ndefghiJKLMNOPQRST\nuvw"


def test_a_container_that_reads_its_own_output_does_not_stop_its_supervisor(box, until) -> None:
    name = box.detached("@", "sh", "-c", "cat /proc/self/fd/1 > /dev/null & while :; do echo x; done")
    time.sleep(1)
    box.crate.ok("kill", name, timeout=60)
    until(lambda: box.crate.json("inspect", name)[0]["State"]["Status"] == "exited")
