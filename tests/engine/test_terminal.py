"""`-t`: a real terminal on both sides."""

from __future__ import annotations

import os
import pty
import signal
import time

import pytest

from support.screen import PATIENCE

PROMPT = b"ready"


def test_a_shell_in_a_terminal_talks_both_ways(box, screens) -> None:
    screen = screens(box, "sh")
    screen.see(b"# ")
    screen.type(b"echo one-$((1 + 1)); exit 7\n")
    screen.see(b"one-2")
    assert screen.end() == 7
    assert screen.is_as_before


def test_all_three_streams_are_the_terminal_of_the_container(box, screens) -> None:
    screen = screens(box, "sh", "-c", "tty; for n in 0 1 2; do test -t $n && echo yes; done; ls -l /dev/console /dev/pts")
    assert screen.end() == 0
    assert screen.shown.startswith(b"/dev/pts/0\r\nyes\r\nyes\r\nyes\r\n")
    assert b"/dev/console" in screen.shown


def test_the_terminal_is_raw_while_the_container_runs_and_as_before_afterwards(box, screens) -> None:
    screen = screens(box, "sh", "-c", f"echo {PROMPT.decode()}; read x")
    screen.see(PROMPT)
    assert screen.is_raw
    screen.type(b"\n")
    assert screen.end() == 0
    assert screen.is_as_before


def test_what_is_typed_is_echoed_once(box, screens) -> None:
    screen = screens(box, "sh", "-c", "echo ready; cat")
    screen.see(b"ready\r\n")
    screen.type(b"typed\n\x04")
    assert screen.end() == 0
    assert screen.shown == b"typed\r\ntyped\r\n"


def test_the_window_has_the_size_of_the_users(box, screens) -> None:
    screen = screens(
        box, "sh", "-c", "stty size; echo ready; while [ \"$(stty size)\" = '24 80' ]; do sleep 0.05; done; stty size"
    )
    assert b"24 80" in screen.see(PROMPT)
    screen.resize(50, 132)
    screen.see(b"50 132")
    assert screen.end() == 0


def test_a_resize_is_told_to_the_command(box, screens) -> None:
    screen = screens(box, "sh", "-c", "trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.1; done")
    screen.see(PROMPT)
    screen.resize(11, 22)
    screen.see(b"11 22")
    assert screen.end() == 3


def test_ctrl_c_goes_to_the_command_as_a_key(box, screens) -> None:
    screen = screens(box, "sh", "-c", "trap 'echo got it; exit 4' INT; echo ready; while :; do sleep 0.1; done")
    screen.see(PROMPT)
    screen.type(b"\x03")
    screen.see(b"got it")
    assert screen.end() == 4
    assert screen.is_as_before


def test_the_detach_keys_leave_it_running(box, screens) -> None:
    screen = screens(box, "sh", "-c", "echo ready; exec cat", verb=("run", "-it", "--name", "web"))
    screen.see(PROMPT)
    screen.type(b"\x10\x11")
    assert screen.end() == 0
    assert screen.is_as_before
    assert box.status("web") == "running"
    box.crate.ok("rm", "-f", "web")


def test_other_detach_keys_can_be_named(box, screens) -> None:
    screen = screens(box, "sh", "-c", "echo ready; exec cat", verb=("run", "-it", "--name", "web", "--detach-keys", "ctrl-x,q"))
    screen.see(PROMPT)
    screen.type(b"\x10\x11")
    time.sleep(0.3)
    assert screen.process.poll() is None
    screen.type(b"\x18q")
    assert screen.end() == 0
    box.crate.ok("rm", "-f", "web")


def test_half_of_the_detach_keys_reaches_the_command(box, screens) -> None:
    screen = screens(box, "sh", "-c", "stty raw -echo; echo ready; head -c 2 | od -An -tx1")
    screen.see(PROMPT)
    screen.type(b"\x10")
    time.sleep(0.2)
    screen.type(b"x")
    screen.see(b"10 78")
    assert screen.end() == 0


def test_every_byte_can_be_typed(box, screens) -> None:
    data = bytes(number for number in range(256) if number not in {0x10, 0x11})
    screen = screens(box, "sh", "-c", f"stty raw -echo; echo ready; head -c {len(data)} | sha256sum")
    screen.see(PROMPT)
    for start in range(0, len(data), 64):
        screen.type(data[start : start + 64])
    import hashlib

    screen.see(hashlib.sha256(data).hexdigest().encode())
    assert screen.end() == 0


def test_a_megabyte_of_output_in_a_terminal_is_whole(box, screens) -> None:
    screen = screens(box, "seq", "120000")
    assert screen.end() == 0
    assert screen.shown == b"".join(b"%d\r\n" % number for number in range(1, 120001))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_terminal_is_as_before_after_a_signal(root_box, screens, number: signal.Signals) -> None:
    screen = screens(root_box, "sh", "-c", "trap 'exit 6' TERM HUP INT; echo ready; while :; do sleep 0.1; done")
    screen.see(PROMPT)
    screen.process.send_signal(number)
    assert screen.end() == 6
    assert screen.is_as_before


def test_the_terminal_is_as_before_after_kill(box, screens, until) -> None:
    screen = screens(box, "sh", "-c", "echo ready; exec sleep 100", verb=("run", "-it", "--rm", "--name", "web"))
    screen.see(PROMPT)
    box.crate.ok("kill", "web")
    assert screen.end() == 137
    assert screen.is_as_before


def test_the_terminal_is_as_before_when_the_command_is_not_there(box, screens) -> None:
    screen = screens(box, "no-such-command")
    assert screen.end() == 127
    assert screen.is_as_before
    assert b"not found" in screen.shown


def test_a_supervisor_that_is_killed_is_not_noticed(root_box, screens) -> None:
    screen = screens(root_box, "sh", "-c", "echo ready; read x; echo got $x; exit 3", verb=("run", "-it", "--name", "web"))
    screen.see(PROMPT)
    document = root_box.crate.json("inspect", "web")
    pid = document[0]["State"]["Pid"]
    with open(f"/proc/{pid}/stat") as file:
        os.kill(int(file.read().rpartition(")")[2].split()[1]), signal.SIGKILL)
    screen.type(b"typed\n")
    screen.see(b"got typed")
    assert screen.end() == 3
    assert screen.is_as_before


def test_a_terminal_that_is_hung_up_ends_the_client_alone(box, screens) -> None:
    screen = screens(box, "sh", "-c", "echo ready; exec cat", verb=("run", "-it", "--rm", "--name", "web"))
    screen.see(PROMPT)
    os.close(screen.slave)
    os.close(screen.master)
    screen.master, screen.slave = pty.openpty()
    assert screen.process.wait(PATIENCE) == 129
    assert box.status("web") == "running"
    box.crate.ok("rm", "-f", "web")


def test_without_a_terminal_of_ones_own_it_is_refused(box) -> None:
    assert "not a terminal" in box.fails("-it", "@", "true")


def test_a_terminal_can_be_had_without_typing(box) -> None:
    assert box.run("-t", "@", "tty") == "/dev/pts/0"
    assert box.run("-t", "@", "printf", "a\\nb\\n") == "a\nb"  # text mode reads \r\n as \n


def test_a_terminal_without_i_can_be_interrupted(box, screens) -> None:
    words = ("sh", "-c", "trap 'echo got it; exit 4' INT; echo ready; while :; do sleep 0.1; done")
    screen = screens(box, *words, verb=("run", "--rm", "-t"))
    screen.see(PROMPT)
    screen.type(b"\x03")
    screen.see(b"got it")
    assert screen.end() == 4
    assert screen.is_as_before


def test_a_terminal_of_a_detached_container_is_in_its_log(box, until) -> None:
    identity = box.detached("-t", "@", "sh", "-c", "tty; echo end")
    until(lambda: box.status(identity) == "exited")
    assert box.crate.ok("logs", identity) == "/dev/pts/0\nend"


def test_start_gives_a_terminal_as_well(box, screens) -> None:
    box.create("-it", "--name", "web", "@", "sh")
    screen = screens(box, "web", verb=("start", "-ai"))
    screen.see(b"# ")
    screen.type(b"exit 3\n")
    assert screen.end() == 3


def test_a_full_screen_program_can_be_used(box, screens) -> None:
    screen = screens(box, "vi", "/tmp/x")
    screen.see(b"~")
    screen.type(b"ihello\x1b")
    time.sleep(0.3)
    screen.type(b":wq\n")
    assert screen.end() == 0


def test_the_job_control_of_a_shell_works(box, screens) -> None:
    screen = screens(box, "sh")
    screen.see(b"# ")
    screen.type(b"sh -c 'echo up-$((1 + 1)); exec sleep 100'\n")
    screen.see(b"up-2")
    screen.type(b"\x1a")
    screen.see(b"Stopped")
    screen.type(b"kill -9 %1; wait; echo gone-$((1 + 1))\n")
    screen.see(b"gone-2")
    screen.type(b"exit 5\nexit 5\n")
    assert screen.end() == 5
    assert b"can't access tty" not in screen.shown


def test_the_terminal_belongs_to_the_containers_user(box, screens) -> None:
    screen = screens(box, "sh", "-c", "stat -c %u:%a $(tty); echo x > $(tty)", verb=("run", "--rm", "-it", "-u", "1000"))
    assert screen.end() == 0
    assert screen.shown.startswith(b"1000:620\r\nx")
