"""Health checks in real containers: results, what hangs, what is done about it, the image's own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

STAYS = ("sh", "-c", "echo run; exec sleep 1000")
OFTEN = ("--health-interval", "100ms", "--health-retries", "2")


def health(box, name: str = "web") -> dict[str, object]:  # type: ignore[no-untyped-def]
    return box.crate.json("inspect", name)[0]["State"].get("Health", {})


def status(box) -> object:  # type: ignore[no-untyped-def]
    return health(box).get("Status")


def processes(word: str) -> list[int]:
    """Return the processes with `word` among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_health_command_says_how_the_container_is(box, until) -> None:
    box.detached("--name", "web", *OFTEN, "--health-cmd", "echo looked; test -e /ok", "@", *STAYS)
    until(lambda: status(box) == "unhealthy", seconds=30)
    found = health(box)
    assert found["FailingStreak"] >= 2  # type: ignore[operator]
    assert {(one["ExitCode"], one["Output"]) for one in found["Log"]} == {(1, "looked\n")}  # type: ignore[attr-defined]
    assert "(unhealthy)" in box.crate.ok("ps", "--format", "{{.Status}}")
    box.crate.ok("exec", "web", "touch", "/ok")
    until(lambda: status(box) == "healthy", seconds=30)
    until(lambda: len(health(box)["Log"]) == 5, seconds=30)  # type: ignore[arg-type]
    assert health(box)["FailingStreak"] == 0
    told = [line.split("health_status: ")[1].split()[0] for line in events(box) if "health_status" in line]
    assert told == ["unhealthy", "healthy"]


def events(box) -> list[str]:  # type: ignore[no-untyped-def]
    return box.crate.ok("events", "--since", "24h", "--until", "0s").splitlines()


def test_it_runs_as_exec_does_in_the_environment_and_as_the_user_of_the_container(box, until) -> None:
    box.detached(
        "--name", "web", *OFTEN, "-e", "A=b", "-w", "/tmp", "-u", "alice", "--health-cmd", "echo $A $PWD $(id -un)", "@", *STAYS
    )
    until(lambda: status(box) == "healthy", seconds=30)
    assert health(box)["Log"][0]["Output"] == "b /tmp alice\n"  # type: ignore[index]


def test_a_command_that_hangs_is_killed_with_all_that_it_started(box, until) -> None:
    word = f"1{time.time_ns() % 10**8}"
    hangs = f"(setsid sleep {word} &) ; sleep {word} & sleep {word}"
    box.detached("--name", "web", "--health-interval", "100ms", "--health-retries", "1", "--health-timeout", "700ms",
                 "--health-cmd", hangs, "@", *STAYS)  # fmt: skip
    until(lambda: len(processes(word)) >= 3, seconds=30)
    first = set(processes(word))
    until(lambda: status(box) == "unhealthy", seconds=30)
    result = health(box)["Log"][0]  # type: ignore[index]
    assert (result["ExitCode"], result["Output"]) == (-1, "Health check exceeded timeout (0.7s)")
    until(lambda: not first & set(processes(word)), seconds=10)
    assert box.crate.ok("logs", "web") == "run"
    box.crate.ok("rm", "-f", "web")
    until(lambda: not processes(word))


def test_a_command_that_nests_processes_without_end_is_killed_with_them_all(box, until) -> None:
    """Deeper than Python may call itself: the supervisor must not fail over that, and take the container along."""
    # Whether all are there before the time is over is the machine's to say: a busy one gets more.
    assert any(_nested_and_killed(box, until, seconds) for seconds in (4, 12, 40))


def _nested_and_killed(box, until, seconds: int) -> bool:
    """Say whether all of the processes were there when the time was over; in any case they must all be gone then."""
    name, word, nested = f"web{seconds}", f"1{time.time_ns() % 10**8}", False
    nest = f"printf '#!/bin/sh\\n[ $1 -ge 1100 ] && exec sleep {word}\\n$0 $(($1+1))\\n' > /nest; chmod 755 /nest"
    box.detached("--name", name, "--health-interval", "1h", "--health-retries", "1", "--health-timeout", f"{seconds}s",
                 "--health-cmd", "/nest 0", "@", "sh", "-c", f"{nest}; exec sleep 1000")  # fmt: skip
    until(lambda: box.crate("exec", name, "test", "-x", "/nest").returncode == 0)
    asked = box.crate.start("healthcheck", "run", name)
    while asked.poll() is None:
        nested = nested or bool(processes(word))
        time.sleep(0.1)
    assert asked.returncode == 1
    until(lambda: not processes(word))
    assert "/nest" not in box.crate.ok("exec", name, "ps")
    assert box.status(name) == "running"
    return nested


def test_a_lot_of_output_is_cut_and_does_not_stop_the_command(box, until) -> None:
    box.detached("--name", "web", *OFTEN, "--health-cmd", "head -c 300000 /dev/zero | tr '\\0' x; echo end", "@", *STAYS)
    until(lambda: status(box) == "healthy", seconds=30)
    assert health(box)["Log"][0]["Output"] == "x" * 4096  # type: ignore[index]


def test_a_command_that_is_not_there_is_a_failure_that_is_told(box, until) -> None:
    box.detached("--name", "web", *OFTEN, "--health-cmd", '["no-such-command"]', "@", *STAYS)
    until(lambda: status(box) == "unhealthy", seconds=30)
    assert "no-such-command" in health(box)["Log"][0]["Output"]  # type: ignore[index]


def test_an_image_cannot_ask_for_a_busy_loop(crate, busybox_base, put) -> None:
    box = put(crate, busybox_base.changed(Healthcheck={"Test": ["CMD", "true"], "Interval": 1}))
    assert "cannot be less than 1ms" in box.crate.fails("create", box.image, "true")
    assert box.crate.ok("ps", "-aq") == ""
    box.create("--no-healthcheck", "@", "true")
    box.create("--health-interval", "1s", "@", "true")


def test_the_health_command_of_the_image(crate, busybox_base, put, until) -> None:
    check = {"Test": ["CMD-SHELL", "test -e /ok"], "Interval": 100_000_000, "Retries": 1}
    box = put(crate, busybox_base.changed(Healthcheck=check))
    box.detached("--name", "web", "@", *STAYS)
    until(lambda: status(box) == "unhealthy", seconds=30)
    assert crate.json("inspect", "web")[0]["Config"]["Healthcheck"] == check
    box.detached("--name", "without", "--no-healthcheck", "@", *STAYS)
    assert health(box, "without") == {}


def test_kill_on_failure_leaves_it_to_the_restart_policy(box, until) -> None:
    failing = (*OFTEN, "--health-cmd", "false", "--health-on-failure", "kill")
    box.detached("--name", "web", *failing, "--restart", "on-failure:1", "@", *STAYS)
    until(lambda: box.status("web") == "exited", seconds=40)
    assert box.crate.ok("logs", "web") == "run\nrun"
    assert box.crate.json("inspect", "web")[0]["State"]["ExitCode"] == 137


def test_stop_on_failure_is_for_good(box, until) -> None:
    script = "trap 'echo told; exit 0' TERM; touch /ready; while :; do sleep 0.05; done"
    failing = (*OFTEN, "--health-cmd", "test ! -e /ready", "--health-on-failure", "stop")
    box.detached("--name", "web", *failing, "--restart", "always", "@", "sh", "-c", script)
    until(lambda: box.status("web") == "exited", seconds=40)
    time.sleep(0.3)
    assert (box.status("web"), box.crate.ok("logs", "web")) == ("exited", "told")


def test_restart_on_failure(box, until) -> None:
    failing = (*OFTEN, "--stop-timeout", "0", "--health-cmd", "test ! -e /bad", "--health-on-failure", "restart")
    box.detached("--name", "web", *failing, "@", "sh", "-c", "echo run; test -e /bad && rm /bad || touch /bad; exec sleep 1000")
    until(lambda: box.crate.ok("logs", "web") == "run\nrun", seconds=40)
    until(lambda: status(box) == "healthy", seconds=40)


def test_healthcheck_run_probes_out_of_turn(box, until) -> None:
    box.detached("--name", "web", "--health-interval", "disable", "--health-cmd", "test -e /ok", "@", *STAYS)
    until(lambda: box.crate("healthcheck", "run", "web").returncode == 1)
    assert status(box) == "starting"
    box.crate.ok("exec", "web", "touch", "/ok")
    box.crate.ok("healthcheck", "run", "web")
    assert status(box) == "healthy"


def test_healthcheck_run_needs_a_command_and_a_running_container(box) -> None:
    box.create("--name", "web", "@", "true")
    assert "has no health command" in box.crate.fails("healthcheck", "run", "web")
    box.create("--name", "db", "--health-cmd", "true", "@", "true")
    assert "db is created, not running" in box.crate.fails("healthcheck", "run", "db")


def test_wait_for_health(box) -> None:
    box.detached("--name", "web", *OFTEN, "--health-cmd", "true", "@", *STAYS)
    assert box.crate.ok("wait", "--condition", "healthy", "-i", "20ms", "web", timeout=60) == "-1"


def test_a_paused_container_is_not_asked(root_box, until) -> None:
    box = root_box
    box.detached("--name", "web", *OFTEN, "--health-cmd", "true", "@", *STAYS)
    until(lambda: status(box) == "healthy", seconds=30)
    box.crate.ok("pause", "web")
    time.sleep(0.5)  # a probe that had begun ends
    before = health(box)["Log"]
    time.sleep(0.5)
    assert health(box)["Log"] == before
    box.crate.ok("unpause", "web")
    until(lambda: health(box)["Log"] != before, seconds=30)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--no-healthcheck", "--health-cmd", "true"), "--no-healthcheck and --health-cmd contradict each other"),
        (("--health-cmd", ""), "--health-cmd is empty"),
        (("--health-cmd", "true", "--health-interval", "10us"), "--health-interval cannot be less than 1ms"),
        (("--health-cmd", "true", "--health-timeout", "soon"), "--health-timeout is a duration, not soon"),
        (("--health-cmd", "true", "--health-retries", "-1"), "--health-retries is a whole number"),
        (("--health-cmd", "true", "--health-on-failure", "cry"), "--health-on-failure cannot be cry"),
        (("--health-cmd", "true", "--health-on-failure", "restart", "--restart", "always"), "contradict each other"),
    ],
)
def test_flags_that_cannot_be_meant(root_box, words, said) -> None:
    assert said in root_box.crate.fails("create", *words, root_box.image, "true")


def test_the_end_of_the_container_ends_a_probe(box, until) -> None:
    word = f"1{time.time_ns() % 10**8}"
    box.detached("--name", "web", *OFTEN, "--health-cmd", f"sleep {word}", "@", *STAYS)
    until(lambda: processes(word), seconds=30)
    os.kill(int(box.crate.json("inspect", "web")[0]["State"]["Pid"]), 9)
    until(lambda: box.status("web") == "exited")
    until(lambda: not processes(word))
