"""A supervisor that has nothing to do takes some kilobytes, and is there again when there is something."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from support.kin import EATS, GO, both, ends, exit_of, go, kill, kin


def pss(pid: int) -> int:
    """In kB; that of an interpreter is thousands."""
    words = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    return int(words[words.index("Pss:") + 1])


def sleeps(box, reference: str) -> bool:  # type: ignore[no-untyped-def]
    pids = kin(box, reference).values()
    try:
        return len(pids) == 2 and sum(map(pss, pids)) < 100
    except OSError:
        return False


@pytest.fixture
def asleep(box, until):  # type: ignore[no-untyped-def]
    """A function that runs a container and returns when its supervisor sleeps."""

    def run(*words: str) -> None:
        box.detached("--name", "web", *words)
        until(lambda: sleeps(box, "web"))

    return run


def test_the_exit_code_is_told(box, until, asleep) -> None:
    asleep("@", "sh", "-c", GO + "echo end; exit 42")
    go(box, "web")
    assert ends(box, "web", until) == 42
    assert box.crate.ok("logs", "web") == "end"
    box.crate.ok("start", "web")
    box.crate.ok("rm", "-f", "web")


@pytest.mark.parametrize("which", ["crate-superviso", "crate-guardian"])
def test_it_can_be_killed_asleep(box, until, asleep, which: str) -> None:
    asleep("@", "sh", "-c", GO + "echo end; exit 7")
    kill(box, "web", which, until)
    assert exit_of(box, "web")[0] == "running"
    go(box, "web")
    assert ends(box, "web", until) == 7
    assert box.crate.ok("logs", "web") == "end"


def test_a_prompt_is_in_the_log(box, asleep) -> None:
    asleep("-it", "@", "sh", "-c", "printf prompt; sleep 1000")
    assert box.crate.ok("logs", "web") == "prompt"
    box.crate.ok("rm", "-f", "web")


def test_who_attaches_wakes_it(box, until, asleep) -> None:
    asleep("-i", "@", "sh", "-c", "while read x; do echo got $x; [ $x = stop ] && exit 4; done")
    client = box.crate.start("attach", "web", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.communicate(b"one\nstop\n", timeout=30)[0] == b"got one\ngot stop\n"
    assert client.returncode == 4


def test_rm_is_kept(box, until) -> None:
    box.detached("--rm", "--name", "web", "@", "sh", "-c", GO)
    until(lambda: sleeps(box, "web"))
    go(box, "web")
    until(lambda: os.listdir(box.crate.root / "containers") == [])


def test_what_it_says_now_and_then_is_whole(box, until, asleep) -> None:
    asleep("@", "sh", "-c", GO + "seq 100000; sleep 2; echo end; exit 3")
    go(box, "web")
    assert ends(box, "web", until) == 3
    assert box.crate.ok("logs", "web").split() == [*map(str, range(1, 100001)), "end"]


def test_it_stays_awake_where_somebody_is_attached(box, until) -> None:
    client = box.start("--name", "web", "@", "sleep", "1000")
    until(lambda: box.crate("inspect", "web").returncode == 0 and len(kin(box, "web")) == 2)
    time.sleep(2)
    assert not sleeps(box, "web")
    box.crate.ok("kill", "-s", "KILL", "web")
    assert client.wait(60) == 128 + signal.SIGKILL


def test_one_with_a_longest_time_wakes_for_it(box, until, asleep) -> None:
    asleep("--timeout", "20", "@", "sleep", "1000")
    assert exit_of(box, "web")[0] == "running"
    until(lambda: exit_of(box, "web")[0] == "exited", 60)
    assert exit_of(box, "web")[1] == 137


def test_one_with_a_limit_of_memory_wakes_when_that_runs_out(root_box, until) -> None:
    root_box.detached("--name", "web", "--memory", "32m", "--memory-swap", "32m", "@", "sleep", "1000")
    until(lambda: sleeps(root_box, "web"))
    assert root_box.crate("exec", "web", "sh", "-c", EATS).returncode == 137
    until(lambda: root_box.crate.json("inspect", "web")[0]["State"]["OOMKilled"])
    until(lambda: sleeps(root_box, "web"), 100)  # it waits longer each time it is woken, and memory may run out twice
    root_box.crate.ok("rm", "-f", "web")


def test_one_with_a_health_command_wakes_for_it_and_sleeps_again(box, until, asleep) -> None:
    asleep("--health-cmd", "echo x >> /probed", "--health-interval", "14s", "@", "sleep", "1000")

    def probed() -> int:
        return box.crate("exec", "web", "cat", "/probed").stdout.count("x")

    before = probed()
    for count in (1, 2):
        until(lambda count=count: probed() == before + count, 60)
        until(lambda: sleeps(box, "web"))
    health = box.crate.json("inspect", "web")[0]["State"]["Health"]
    assert health["Status"] == "healthy"
    begun = [datetime.fromisoformat(one["Start"].rstrip("Z")[:26]) for one in health["Log"]]
    assert all((later - earlier).total_seconds() > 13.5 for earlier, later in pairwise(begun))  # not once more because it woke
    box.crate.ok("rm", "-f", "web")


def test_one_that_is_asked_often_how_it_is_stays_awake(box, until) -> None:
    box.detached("--name", "web", "--health-cmd", "true", "--health-interval", "2s", "@", "sleep", "1000")
    until(lambda: box.crate.json("inspect", "web")[0]["State"]["Health"]["Status"] == "healthy")
    supervisor = both(box, "web", until)["crate-superviso"]
    time.sleep(3)
    assert Path(f"/proc/{supervisor}/exe").resolve().name.startswith("python")
    box.crate.ok("rm", "-f", "web")
