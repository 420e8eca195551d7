"""`attach`: with terminals and pipes, several at once, slow ones and dead ones."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.kin import GO, both, go, identity_of, kill, kin

EACH_SECOND = "i=0; while :; do i=$((i+1)); echo line-$i; sleep 0.1; done"


def attached(box, *words: str, **options: object) -> subprocess.Popen[bytes]:  # type: ignore[no-untyped-def]
    """Attach, and return when the container's supervisor has noticed."""
    before = len(descriptors(box, words[-1]))
    given: dict[str, object] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    client = box.crate.start("attach", *words, **(given | options))
    deadline = time.monotonic() + 30
    while len(descriptors(box, words[-1])) < before + 3:
        assert time.monotonic() < deadline, "it does not attach"
        assert client.poll() is None, client.communicate()
        time.sleep(0.02)
    return client  # type: ignore[no-any-return]


def descriptors(box, reference: str) -> list[str]:  # type: ignore[no-untyped-def]
    return os.listdir(f"/proc/{kin(box, reference)['crate-superviso']}/fd")


def test_it_shows_what_comes_from_then_on_and_ends_with_the_exit_code(box, until) -> None:
    box.detached("--name", "web", "@", "sh", "-c", f"echo before; {GO} echo after; echo error >&2; exit 7")
    until(lambda: box.crate.ok("logs", "web") == "before")
    client = attached(box, "web")
    go(box, "web")
    assert client.communicate(timeout=60) == (b"after\n", b"error\n")
    assert client.returncode == 7


def test_several_see_the_same(box) -> None:
    box.detached("--name", "web", "@", "sh", "-c", f"{GO} echo all; exit 3")
    clients = [attached(box, "web") for _ in range(3)]
    go(box, "web")
    assert [client.communicate(timeout=60)[0] for client in clients] == [b"all\n"] * 3
    assert [client.returncode for client in clients] == [3] * 3


def test_one_that_was_started_attached_can_be_joined(box, until) -> None:
    first = box.start("--name", "web", "@", "sh", "-c", f"{GO} echo both; exit 2", stdout=subprocess.PIPE)
    until(lambda: box.crate("inspect", "web").returncode == 0 and box.status("web") == "running")
    second = attached(box, "web")
    go(box, "web")
    assert first.communicate(timeout=60)[0] == second.communicate(timeout=60)[0] == b"both\n"
    assert (first.returncode, second.returncode) == (2, 2)


def test_what_is_typed_reaches_it_and_its_end_does_not_end_it(box, until) -> None:
    box.detached("-i", "--name", "web", "@", "sh", "-c", "while read x; do echo got $x; [ $x = stop ] && exit 4; done")
    for word in ("one", "two"):
        client = attached(box, "web", stdin=subprocess.PIPE)
        with client.stdin:
            client.stdin.write(word.encode() + b"\n")
        until(lambda word=word: f"got {word}" in box.crate.ok("logs", "web"))
        client.kill()
        client.wait()
        client.stdout.close()
        client.stderr.close()
    client = attached(box, "web", stdin=subprocess.PIPE)
    assert client.communicate(b"stop\n", timeout=60)[0] == b"got stop\n"
    assert client.returncode == 4


def test_without_stdin_nothing_is_passed_on(box) -> None:
    box.detached("-i", "--name", "web", "@", "sh", "-c", f"{GO} exit 5")
    client = attached(box, "--no-stdin", "web", stdin=subprocess.PIPE)
    go(box, "web")
    assert client.wait(60) == 5
    client.communicate()


@pytest.mark.parametrize(("words", "code"), [((), 9), (("--sig-proxy=false",), -signal.SIGTERM)])
def test_signals_are_passed_on_unless_that_is_not_wanted(box, words: tuple[str, ...], code: int) -> None:
    box.detached("--name", "web", "@", "sh", "-c", f"trap 'exit 9' TERM; {GO}")
    client = attached(box, *words, "web")
    client.terminate()
    client.communicate(timeout=60)
    assert client.returncode == code
    assert (box.status("web") == "running") == (code != 9)
    box.crate.ok("rm", "-f", "web")


@pytest.mark.parametrize("state", ["created", "exited", "paused"])
def test_what_does_not_run_is_refused(box, until, state: str) -> None:
    if state == "created":
        box.create("--name", "web", "@", "true")
    else:
        box.detached("--name", "web", "@", *(("true",) if state == "exited" else ("sleep", "1000")))
    if state == "paused":
        if box.crate("pause", "web").returncode:
            pytest.skip("no freezer for an ordinary user here")
    else:
        until(lambda: box.status("web") == state)
    assert f"web is {state}, not running" in box.crate.fails("attach", "web")
    box.crate("unpause", "web")
    box.crate.ok("rm", "-f", "web")


def test_a_dead_reader_is_let_go(box, until) -> None:
    box.detached("--name", "web", "@", "sh", "-c", EACH_SECOND)
    before = len(descriptors(box, "web"))
    clients = [attached(box, "web") for _ in range(2)]
    clients[0].kill()
    clients[1].stdout.close()
    clients[1].wait(60)
    until(lambda: len(descriptors(box, "web")) == before)
    for client in clients:
        client.communicate() if client.stdout and not client.stdout.closed else client.stderr.close()
    box.crate.ok("rm", "-f", "web")


def test_a_reader_that_does_not_read_holds_the_container_back_and_no_memory(box, until) -> None:
    box.detached("--name", "web", "--log-driver", "none", "@", "sh", "-c", "exec yes 0123456789012345678901234567890123456789")
    client = attached(box, "web")
    pid = both(box, "web", until)["crate-superviso"]
    time.sleep(0.5)
    rss = _rss(pid)
    time.sleep(1)
    assert _rss(pid) - rss < 256
    client.kill()
    client.communicate()
    box.crate.ok("rm", "-f", "web")


def _rss(pid: int) -> int:
    """In kB."""
    line = next(one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmRSS"))
    return int(line.split()[1])


def test_attaching_often_leaves_nothing(root_box) -> None:
    """By the engine itself: a hundred commands would take a minute."""
    from cratebox.engine import control, dialogue
    from cratebox.linux import fdpass

    root_box.detached("--name", "web", "@", "sh", "-c", EACH_SECOND)
    pid = kin(root_box, "web")["crate-superviso"]
    state = str(root_box.crate.state / "containers" / identity_of(root_box, "web"))
    null = os.open("/dev/null", os.O_WRONLY)

    def some() -> None:
        for _ in range(100):
            sock = control.connect(state)
            fdpass.send(sock, dialogue.ATTACH, (null, null))
            assert fdpass.receive(sock)[0] == dialogue.STARTED
            sock.close()
        time.sleep(0.3)

    some()
    before, memory = len(descriptors(root_box, "web")), _rss(pid)
    for _ in range(3):
        some()
    assert len(descriptors(root_box, "web")) == before
    assert _rss(pid) - memory < 200
    os.close(null)
    root_box.crate.ok("rm", "-f", "web")


def test_nonsense_at_the_door_does_no_harm(root_box) -> None:
    from cratebox.engine import control, dialogue
    from cratebox.linux import fdpass

    root_box.detached("--name", "web", "@", "sh", "-c", EACH_SECOND)
    state = root_box.crate.state / "containers" / identity_of(root_box, "web")
    kin(root_box, "web")
    while not (state / "control").exists():
        time.sleep(0.01)
    for message, fds in ((b"x" * 60000, ()), (dialogue.ATTACH, ()), (dialogue.ATTACH, (0, 0, 0)), (b"\0", (0,))):
        sock = control.connect(str(state))
        fdpass.send(sock, message, fds)
        assert sock.recv(10) == b""
        sock.close()
    sock = control.connect(str(state))
    fdpass.send(sock, dialogue.ATTACH, (os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)))
    for message in (b"K99999", b"K99999999999999999999", b"K-1", b"Kx", b"K", b"\xff", dialogue.DETACH):
        fdpass.send(sock, message)
    while sock.recv(10):
        pass  # until all of it was heard
    sock.close()
    assert root_box.status("web") == "running"
    root_box.crate.ok("rm", "-f", "web")


def test_it_survives_the_supervisor(box, until) -> None:
    box.detached("--name", "web", "@", "sh", "-c", f"{GO} echo after; exit 8")
    client = attached(box, "web")
    kill(box, "web", "crate-superviso", until)
    second = attached(box, "web")
    go(box, "web")
    assert client.communicate(timeout=60)[0] == second.communicate(timeout=60)[0] == b"after\n"
    assert (client.returncode, second.returncode) == (8, 8)


# --- terminals -------------------------------------------------------------------------------------------------------


def test_a_terminal_is_shared(box, screens) -> None:
    box.detached("-it", "--name", "web", "@", "sh", "-c", "while read x; do echo got-$x; [ $x = stop ] && exit 6; done")
    one, two = screens(box, "web", verb=("attach",)), screens(box, "web", verb=("attach",))
    deadline = time.monotonic() + 30
    while not (one.is_raw and two.is_raw):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    one.type(b"typed\n")
    one.see(b"got-typed")
    two.see(b"got-typed")
    two.type(b"stop\n")
    assert (one.end(), two.end()) == (6, 6)
    assert one.is_as_before


def test_the_detach_keys_leave_it_running_and_say_so(box, screens) -> None:
    box.detached("-it", "--name", "web", "@", "sh", "-c", "stty size; while read x; do stty size; done")
    screen = screens(box, "--detach-keys", "ctrl-x,q", "web", verb=("attach",))
    deadline = time.monotonic() + 30
    while not screen.is_raw:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    screen.type(b"\n")
    screen.see(b"24 80")
    screen.resize(33, 99)
    while b"33 99" not in screen.see(b"\n"):
        screen.type(b"\n")  # it may be there before the new size
    screen.type(b"\x18q")
    assert screen.end() == 1
    assert b"read escape sequence" in screen.shown
    assert screen.is_as_before
    assert box.status("web") == "running"
    box.crate.ok("rm", "-f", "web")


def test_without_a_terminal_of_ones_own_typing_is_refused(box) -> None:
    box.detached("-it", "--name", "web", "@", "sleep", "1000")
    assert "not a terminal" in box.crate.fails("attach", "web")
    box.crate.ok("rm", "-f", "web")
