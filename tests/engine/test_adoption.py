"""Supervisor and guardian are killed at once: the next command that looks at the container gives it new ones."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from support.kin import GO, both, ends, exit_of, go, identity_of, kill, kill_at_once, kin


def orphan(box, reference: str, until) -> None:  # type: ignore[no-untyped-def]
    """Kill both at once: neither can make another."""
    pids = both(box, reference, until).values()
    kill_at_once(*pids)
    until(lambda: not any(_is_held(pid) for pid in pids))


def _is_held(pid: int) -> bool:
    try:
        return bool(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


LOOKS = [
    ("ps",),
    ("inspect", "web"),
    ("logs", "web"),
    ("exec", "web", "true"),
    ("top", "web"),
    ("stats", "--no-stream", "web"),
    ("system", "start"),
]


@pytest.mark.parametrize("looks", LOOKS, ids=" ".join)
def test_whoever_looks_gives_it_new_ones_and_the_exit_code_is_exact(box, until, looks: tuple[str, ...]) -> None:
    box.detached("--name", "web", "@", "sh", "-c", GO + "exit 42")
    orphan(box, "web", until)
    box.crate.ok(*looks)
    until(lambda: len(kin(box, "web")) == 2)
    go(box, "web")
    assert ends(box, "web", until) == 42
    box.crate.ok("rm", "web")


def test_many_who_look_at_once_give_it_one(box, until) -> None:
    box.detached("--name", "web", "@", "sh", "-c", GO + "exit 3")
    orphan(box, "web", until)
    looking = [box.crate.start("ps", stdout=subprocess.DEVNULL) for _ in range(6)]
    assert [one.wait(60) for one in looking] == [0] * 6
    until(lambda: len(kin(box, "web")) == 2)
    go(box, "web")
    assert ends(box, "web", until) == 3


def test_stop_tells_the_code(box, until) -> None:
    box.detached("--name", "web", "@", "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done")
    orphan(box, "web", until)
    box.crate.ok("stop", "web")
    assert exit_of(box, "web") == ("exited", 9)
    box.crate.ok("rm", "web")


def test_it_can_be_removed(box, until) -> None:
    box.detached("--name", "web", "@", "sleep", "1000")
    orphan(box, "web", until)
    assert "web is running" in box.crate.fails("rm", "web", code=1)
    box.crate.ok("rm", "-f", "web")
    assert box.crate.ok("ps", "-aq") == ""


def test_who_waits_when_both_are_killed_hears_the_code_and_the_policy_goes_on(box, until) -> None:
    box.detached("--name", "web", "--restart", "on-failure:1", "@", "sh", "-c", GO + "exit 5")
    waiting = box.crate.start("wait", "web", stdout=subprocess.PIPE)
    until((box.crate.root / "containers" / identity_of(box, "web") / "waited").exists)
    pid = box.crate.json("inspect", "web")[0]["State"]["Pid"]
    until(
        lambda: "pidfd" in "".join(os.readlink(f"/proc/{waiting.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{waiting.pid}/fd"))
    )
    orphan(box, "web", until)
    os.kill(pid, signal.SIGUSR1)  # no command of ours may look
    assert waiting.communicate(timeout=30)[0].strip() == b"5"
    until(lambda: box.crate.json("inspect", "web")[0]["RestartCount"] == 1 and exit_of(box, "web")[0] == "running")
    box.crate.ok("rm", "-f", "web")


def test_the_log_goes_on_with_what_nobody_has_read_yet(box, until) -> None:
    """It ignores SIGPIPE, as a server does; what it writes when nobody has the other end is lost."""
    box.detached("--name", "web", "@", "sh", "-c", "echo before; " + GO + "echo after; echo error >&2; exit 3")
    until(lambda: box.crate.ok("logs", "web") == "before")
    orphan(box, "web", until)
    box.crate.ok("ps")
    until(lambda: len(kin(box, "web")) == 2)
    go(box, "web")
    assert ends(box, "web", until) == 3
    assert box.crate("logs", "web").stdout.split() == ["before", "after"]
    assert box.crate("logs", "web").stderr.split() == ["error"]


def test_the_log_of_one_whose_program_is_another_user_goes_on_and_it_is_started_again(box, until) -> None:
    box.detached(
        "--name", "web", "--user", "5", "--restart", "on-failure:1", "@", "sh", "-c", "echo begin; " + GO + "echo end; exit 3"
    )
    orphan(box, "web", until)
    box.crate.ok("ps")
    until(lambda: len(kin(box, "web")) == 2)
    go(box, "web")
    until(lambda: box.crate.ok("logs", "web").split() == ["begin", "end", "begin"])
    until(lambda: box.status("web") == "running")
    go(box, "web")
    assert ends(box, "web", until) == 3
    assert box.crate.ok("logs", "web").split() == ["begin", "end"] * 2


def test_who_attaches_later_can_type(box, until) -> None:
    box.detached(
        "-i",
        "--name",
        "web",
        "@",
        "sh",
        "-c",
        "trap '' PIPE; exec 3<&0; until read x <&3; do sleep 0.05; done; echo got $x; exit 4",
    )
    orphan(box, "web", until)
    client = box.crate.start("attach", "web", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.communicate(b"word\n", timeout=30)[0] == b"got word\n"
    assert client.returncode == 4


def test_rm_is_kept(box, until) -> None:
    box.detached("--rm", "--name", "web", "@", "sh", "-c", GO)
    orphan(box, "web", until)
    box.crate.ok("ps")
    go(box, "web")
    until(lambda: os.listdir(box.crate.root / "containers") == [])


def test_health_goes_on(box, until) -> None:
    health = ("--health-cmd", "test -e /ok", "--health-interval", "200ms", "--health-retries", "1")
    box.detached("--name", "web", *health, "@", "sleep", "1000")
    orphan(box, "web", until)
    box.crate.ok("ps")
    until(lambda: len(kin(box, "web")) == 2)
    box.crate.ok("exec", "web", "touch", "/ok")
    until(lambda: box.crate.json("inspect", "web")[0]["State"]["Health"]["Status"] == "healthy")
    box.crate.ok("rm", "-f", "web")


@pytest.mark.parametrize("name", ["crate-superviso", "crate-guardian"])
def test_its_new_ones_can_be_killed_too(box, until, name: str) -> None:
    box.detached("--name", "web", "@", "sh", "-c", GO + "echo end; exit 42")
    orphan(box, "web", until)
    box.crate.ok("ps")
    for _ in range(2):
        kill(box, "web", name, until)
    orphan(box, "web", until)
    box.crate.ok("ps")
    until(lambda: len(kin(box, "web")) == 2)
    go(box, "web")
    assert ends(box, "web", until) == 42
    assert box.crate.ok("logs", "web") == "end"


def test_its_supervisor_sleeps_and_wakes(box, until) -> None:
    from test_sleeping import sleeps

    box.detached("--name", "web", "@", "sh", "-c", GO + "echo end; exit 42")
    orphan(box, "web", until)
    box.crate.ok("ps")
    until(lambda: sleeps(box, "web"))
    go(box, "web")
    assert ends(box, "web", until) == 42
    assert box.crate.ok("logs", "web") == "end"


def test_a_container_that_writes_before_anybody_looks_ends_of_it_and_says_so(box, until) -> None:
    box.detached("--name", "web", "@", "sh", "-c", GO + "while echo x; do :; done")
    pid = box.crate.json("inspect", "web")[0]["State"]["Pid"]
    orphan(box, "web", until)
    os.kill(pid, signal.SIGUSR1)
    until(lambda: not os.path.exists(f"/proc/{pid}/exe") or not _is_held(pid))
    assert exit_of(box, "web") == ("exited", 255)
    box.crate.ok("rm", "web")
