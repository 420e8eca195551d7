"""What a supervisor stands on is taken away: it is stopped by a signal, its state is deleted, its disk is read-only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_sleeping import sleeps

from cratebox.engine import lost
from support.kin import GO, both, ends, exit_of, go, identity_of, kin

ENDS = "trap 'exit 9' TERM; while :; do sleep 0.05; done"


@pytest.fixture
def stopped(box, until):  # type: ignore[no-untyped-def]
    """A container whose supervisor and guardian are stopped, by SIGSTOP."""
    box.detached("--name", "web", "@", "sh", "-c", ENDS)
    pids = both(box, "web", until).values()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: all(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T" for pid in pids))
    return box


def test_stop_lets_a_stopped_supervisor_go_on(stopped) -> None:
    stopped.crate.ok("stop", "web")
    assert exit_of(stopped, "web") == ("exited", 9)


def test_rm_lets_a_stopped_supervisor_go_on(stopped) -> None:
    stopped.crate.ok("rm", "-f", "web")
    assert stopped.crate.ok("ps", "-aq") == ""


def test_wait_lets_a_stopped_supervisor_go_on(stopped) -> None:
    waiting = stopped.crate.start("wait", "web", stdout=subprocess.PIPE)
    stopped.crate.ok("kill", "-s", "TERM", "web")
    assert waiting.communicate(timeout=60)[0].strip() == b"9"


@pytest.fixture(params=["awake", "asleep"])
def forgotten(box, until, request):  # type: ignore[no-untyped-def]
    """A function that runs a container, whose state is deleted while its supervisor is awake, or sleeps."""

    def run(*words: str) -> None:
        box.detached("--name", "web", *words)
        if request.param == "asleep":
            until(lambda: sleeps(box, "web"))
        else:
            until(lambda: list((box.crate.state / "containers").glob("*/control")))  # state.json is open by then
        shutil.rmtree(box.crate.state)

    return run


def test_a_container_whose_state_was_deleted_is_as_it_was(box, until, forgotten) -> None:
    forgotten("@", "sh", "-c", GO + "echo end; exit 42")
    assert box.crate.ok("exec", "web", "echo", "hello") == "hello"
    assert exit_of(box, "web")[0] == "running"
    go(box, "web")
    assert ends(box, "web", until) == 42
    assert box.crate.ok("logs", "web") == "end"
    box.crate.ok("rm", "web")


def test_nobody_looks_and_its_exit_code_is_told(box, until, forgotten) -> None:
    forgotten("@", "sh", "-c", GO + "echo end; exit 42")
    where = box.crate.root / "containers" / next(iter(os.listdir(box.crate.root / "containers")))
    os.kill(lost.first_process(str(where)), signal.SIGUSR1)
    until((where / "exit.json").exists)
    assert exit_of(box, "web") == ("exited", 42)
    assert box.crate.ok("logs", "web") == "end"


def test_it_can_be_stopped(box, forgotten) -> None:
    forgotten("@", "sh", "-c", ENDS)
    begun = time.monotonic()
    box.crate.ok("stop", "web")
    assert exit_of(box, "web") == ("exited", 9)
    assert time.monotonic() - begun < 10  # it was not waited for in vain


def test_it_can_be_stopped_where_not_even_its_supervisor_knows(box, until) -> None:
    """It has not opened the file yet, or could not. The health command keeps it awake."""
    health = ("--health-cmd", "true", "--health-interval", "2s")
    box.detached("--name", "web", *health, "@", "sh", "-c", ENDS)
    state = box.crate.state / "containers" / identity_of(box, "web")
    held = both(box, "web", until)["crate-superviso"]
    until(lambda: any("state.json" in os.readlink(fd) for fd in Path(f"/proc/{held}/fd").iterdir()))
    (state / "state.json").write_text("")  # what it has open is empty
    shutil.rmtree(state)
    box.crate.ok("stop", "web")
    assert exit_of(box, "web") == ("exited", 9)


@pytest.fixture
def read_only(box, until) -> Iterator[object]:  # type: ignore[no-untyped-def]
    """A function that makes the store of containers read-only."""
    if os.geteuid():
        pytest.skip("only root can mount")
    place, mounted = str(box.crate.root), []

    def change() -> None:
        subprocess.run(["mount", "--bind", place, place], check=True)
        mounted.append(place)
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)

    yield change
    for one in mounted:
        subprocess.run(["umount", "-l", one], check=True)


def gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}") or "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]


@pytest.mark.parametrize("restart", ["no", "always"])
def test_on_a_read_only_disk_stop_stops_and_says_what_it_cannot_write(box, until, read_only, restart: str) -> None:
    box.detached("--name", "web", "--restart", restart, "@", "sh", "-c", ENDS)
    until(lambda: len(kin(box, "web")) == 2)
    pid = box.crate.json("inspect", "web")[0]["State"]["Pid"]
    read_only()
    assert "Read-only file system" in box.crate.fails("stop", "web", code=1)
    assert gone(pid)
    until(lambda: not kin(box, "web"))
    assert exit_of(box, "web")[0] == "exited"


def test_on_a_read_only_disk_wait_tells_the_code(box, until, read_only) -> None:
    box.detached("--name", "web", "@", "sh", "-c", GO + "exit 9")
    until(lambda: len(kin(box, "web")) == 2)
    read_only()
    waiting = box.crate.start("wait", "web", stdout=subprocess.PIPE)
    until(lambda: any("pidfd" in os.readlink(fd) for fd in Path(f"/proc/{waiting.pid}/fd").iterdir()))
    go(box, "web")
    assert waiting.communicate(timeout=60)[0].strip() == b"9"


def test_on_a_read_only_disk_rm_ends_it_and_says_that_it_is_not_removed(box, until, read_only) -> None:
    box.detached("--name", "web", "@", "sh", "-c", ENDS)
    until(lambda: len(kin(box, "web")) == 2)
    pid = box.crate.json("inspect", "web")[0]["State"]["Pid"]
    read_only()
    assert "nothing is removed" in box.crate.fails("rm", "-f", "web", code=1)
    assert gone(pid)


def test_on_a_read_only_disk_a_supervisor_that_sleeps_wakes(box, until, read_only) -> None:
    box.detached("--name", "web", "@", "sh", "-c", GO + "echo x; " + ENDS)
    until(lambda: sleeps(box, "web"))
    read_only()
    pid = box.crate.json("inspect", "web")[0]["State"]["Pid"]
    asleep = both(box, "web", until)["crate-superviso"]
    go(box, "web")
    until(lambda: os.path.basename(os.readlink(f"/proc/{asleep}/exe")).startswith("python"))
    assert not gone(pid)
    until(lambda: len(kin(box, "web")) == 2)  # one that has just woken has not got its name yet
    assert "Read-only file system" in box.crate.fails("stop", "web", code=1)
    assert gone(pid)
