"""Restart policies: what is started again, how it is shown, and how it is ended; and the verb restart."""

from __future__ import annotations

import json
import os
import time

import pytest

from support.kin import both


def inspect(box, name: str = "web") -> dict[str, object]:  # type: ignore[no-untyped-def]
    return box.crate.json("inspect", name)[0]


def runs(box, name: str = "web") -> int:  # type: ignore[no-untyped-def]
    return box.crate.ok("logs", name).count("run")


def failing(box, policy: str, *more: str) -> str:  # type: ignore[no-untyped-def]
    """A container that says "run" and fails, again and again."""
    return box.detached("--name", "web", "--restart", policy, *more, "@", "sh", "-c", "echo run; exit 3")


def waits(box) -> bool:  # type: ignore[no-untyped-def]
    """Tell whether a failing container waits for its next run, and for some seconds."""
    return runs(box) >= 7 and box.status("web") == "restarting"


def ready(box, until, policy: str, *more: str) -> int:  # type: ignore[no-untyped-def]
    """Start a container that stays, and return its pid."""
    box.detached("--name", "web", "--restart", policy, *more, "@", "sh", "-c", "echo run; exec sleep 100")
    until(lambda: runs(box) == 1)
    return int(inspect(box)["State"]["Pid"])  # type: ignore[index, call-overload]


def crash(box, until, pid: int) -> None:  # type: ignore[no-untyped-def]
    os.kill(pid, 9)
    until(lambda: not os.path.exists(f"/proc/{pid}"))


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure"])
def test_what_ends_by_itself_is_started_again(box, until, policy: str) -> None:
    pid = ready(box, until, policy)
    crash(box, until, pid)
    until(lambda: box.status("web") == "running" and runs(box) == 2)
    assert inspect(box)["State"]["Pid"] != pid


def test_without_a_policy_it_stays_ended(box, until) -> None:
    pid = ready(box, until, "no")
    crash(box, until, pid)
    until(lambda: box.status("web") == "exited")
    assert runs(box) == 1


def test_on_failure_leaves_a_success_alone(box, until) -> None:
    box.detached("--name", "web", "--restart", "on-failure", "@", "sh", "-c", "echo run; exit 0")
    until(lambda: box.status("web") == "exited")
    assert runs(box) == 1


def test_on_failure_gives_up_after_its_retries_and_the_log_is_one(box, until) -> None:
    failing(box, "on-failure:2")
    until(lambda: box.status("web") == "exited", seconds=30)
    assert box.crate.ok("logs", "web") == "run\nrun\nrun"
    assert inspect(box)["State"]["ExitCode"] == 3
    exit_ = json.loads(next((box.crate.root / "containers").glob("*/exit.json")).read_text())
    assert (exit_["restartCount"], exit_.get("restarting", False)) == (2, False)


def test_it_is_shown_as_restarting_while_it_waits(box, until) -> None:
    failing(box, "always")
    until(lambda: box.crate.ok("ps", "--format", "{{.State}}") == "restarting", seconds=30)
    assert "estarting" in box.crate.ok("ps", "-a", "--format", "{{.Status}}") or box.status("web") in {"running", "restarting"}


@pytest.mark.parametrize("words", [("stop",), ("kill",), ("stop", "-t", "0")])
def test_the_wait_for_the_next_run_is_ended_by(box, until, words) -> None:
    failing(box, "always")
    until(lambda: runs(box) >= 4, seconds=30)  # the next wait is a second or more
    box.crate.ok(*words, "web")
    until(lambda: box.status("web") == "exited")
    before = runs(box)
    time.sleep(0.3)
    assert (box.status("web"), runs(box)) == ("exited", before)


def test_rm_by_force_removes_what_waits_for_its_next_run(box, until) -> None:
    failing(box, "always")
    until(lambda: waits(box), seconds=60)
    assert "web is restarting" in box.crate.fails("rm", "web", code=1)
    box.crate.ok("rm", "-f", "web")
    assert box.crate.ok("ps", "-aq") == ""


def test_start_of_what_waits_for_its_next_run_is_refused(box, until) -> None:
    failing(box, "always")
    until(lambda: waits(box), seconds=60)
    said = box.crate.fails("start", "web")
    assert "web is restarting, not stopped\n  hint: crate stop web" in said


def test_the_command_of_a_start_is_repeated_and_is_not_that_of_the_next_start(box, until) -> None:
    words = ("--restart", "on-failure:3", "--entrypoint", "sh", "@", "-c", "echo own; exit 0")
    for flags in ((), ("--init",)):
        name = box.create(*flags, *words)
        assert box.crate("start", name, "-c", "echo other; exit 1").returncode == 1
        until(lambda: box.crate.ok("logs", name).split() == ["other"] * 4 and box.status(name) == "exited", seconds=30)  # noqa: B023
        box.crate.ok("start", "-a", name)
        assert box.crate.ok("logs", name).split() == [*["other"] * 4, "own"]


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure"])
def test_what_is_stopped_stays_stopped(box, until, policy: str) -> None:
    ready(box, until, policy)
    box.crate.ok("stop", "-t", "1", "web")
    time.sleep(0.3)
    assert box.status("web") == "exited"
    assert inspect(box)["State"]["ExitCode"] in {137, 143}
    box.crate.ok("start", "web")  # and the policy holds again
    crash(box, until, int(inspect(box)["State"]["Pid"]))
    until(lambda: box.status("web") == "running" and runs(box) == 3)


def test_a_killed_container_stays_ended_and_one_that_got_a_signal_to_listen_to_does_not(box, until) -> None:
    box.detached(
        "--name", "web", "--restart", "always", "@", "sh", "-c", "trap 'exit 1' HUP; echo run; while :; do sleep 0.05; done"
    )
    until(lambda: runs(box) == 1)
    box.crate.ok("kill", "-s", "HUP", "web")
    until(lambda: runs(box) == 2 and box.status("web") == "running")
    box.crate.ok("kill", "web")
    until(lambda: box.status("web") == "exited")
    time.sleep(0.3)
    assert box.status("web") == "exited"


def test_many_stops_and_starts_at_once_end_in_a_state_that_is_true(box, until) -> None:
    failing(box, "always")
    processes = [
        box.crate.start(*words, "web") for words in (("stop", "-t", "0"), ("restart", "-t", "0"), ("kill",), ("stop",)) * 2
    ]
    for process in processes:
        process.wait(60)
    box.crate.ok("stop", "-t", "0", "web")
    assert box.status("web") == "exited"


def test_a_run_that_cannot_begin_is_tried_again(root_box, until) -> None:
    box = root_box
    place = box.crate.directory / "mounted"
    place.mkdir()
    mount = f"type=bind,source={place},target=/m"
    box.detached("--name", "web", "--restart", "always", "--mount", mount, "@", "sh", "-c", "echo run; exec sleep 100")
    until(lambda: runs(box) == 1)
    place.rmdir()
    crash(box, until, int(inspect(box)["State"]["Pid"]))
    until(lambda: box.status("web") == "restarting" and str(place) in str(inspect(box)["State"]["Error"]), seconds=30)
    place.mkdir()
    until(lambda: box.status("web") == "running", seconds=30)
    assert runs(box) == 2


def test_a_policy_and_rm_contradict_each_other(box) -> None:
    assert "contradict" in box.crate.fails("run", "--rm", "--restart", "always", box.image, "true")
    assert "no such restart policy: often" in box.crate.fails("run", "--restart", "often", box.image, "true")


def test_wait_tells_the_end_of_each_run(box, until) -> None:
    pid = ready(box, until, "always")
    import subprocess

    process = box.crate.start("wait", "web", stdout=subprocess.PIPE)
    until(lambda: list((box.crate.root / "containers").glob("*/waited")))
    crash(box, until, pid)
    assert process.communicate(timeout=30)[0] == b"137\n"


def test_an_attached_run_ends_with_its_first_run_and_the_policy_goes_on(box, until) -> None:
    assert (
        box.crate("run", "--name", "web", "--restart", "on-failure:1", box.image, "sh", "-c", "echo run; exit 5").returncode
        == 5
    )
    until(lambda: box.status("web") == "exited" and runs(box) == 2)


def test_restart_ends_a_run_and_begins_another(box, until) -> None:
    pid = ready(box, until, "no")
    assert box.crate.ok("restart", "-t", "0", "web") == "web"
    until(lambda: runs(box) == 2)
    assert (box.status("web"), inspect(box)["State"]["Pid"] == pid) == ("running", False)


def test_restart_starts_what_does_not_run_and_tells_of_what_it_cannot(box) -> None:
    box.create("--name", "web", "@", "sleep", "100")
    done = box.crate("restart", "nobody", "web")
    assert (done.returncode, done.stdout) == (1, "web\n")
    assert box.status("web") == "running"


def test_a_time_limit_kills(box, until) -> None:
    box.detached("--name", "web", "--timeout", "1", "@", "sh", "-c", "echo run; exec sleep 100")
    until(lambda: box.status("web") == "exited", seconds=20)
    assert inspect(box)["State"]["ExitCode"] == 137


def test_a_time_limit_and_a_policy(box, until) -> None:
    box.detached("--name", "web", "--timeout", "1", "--restart", "on-failure:1", "@", "sh", "-c", "echo run; exec sleep 100")
    until(lambda: box.status("web") == "exited", seconds=30)
    assert runs(box) == 2


def test_a_supervisor_that_takes_over_keeps_to_the_policy_and_its_waits(box, until) -> None:
    box.detached("--name", "web", "--restart", "always", "@", "sh", "-c", "echo run; exec sleep 1000")
    for count in (1, 2, 3):
        until(lambda: runs(box) == count and box.status("web") == "running", seconds=30)  # noqa: B023
        pid = int(inspect(box)["State"]["Pid"])
        supervisor = supervisor_of(pid)
        both(box, "web", until)  # as long as a supervisor has no guardian it cannot be taken over
        os.kill(supervisor, 9)
        until(lambda: not os.path.exists(f"/proc/{supervisor}") or supervisor_of(pid) != supervisor)  # noqa: B023
        crash(box, until, pid)
    until(lambda: runs(box) == 4 and box.status("web") == "running", seconds=30)
    assert inspect(box)["RestartCount"] == 3
    told = json.loads(next((box.crate.state / "containers").glob("*/watch.json")).read_text())
    assert told["delay"] == 0.4


def supervisor_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def test_update_gives_and_takes_a_policy_of_a_container_that_runs(box, until) -> None:
    pid = ready(box, until, "no")
    box.crate.ok("update", "--restart", "on-failure:3", "web")
    crash(box, until, pid)
    until(lambda: runs(box) == 2 and box.status("web") == "running", seconds=30)
    box.crate.ok("update", "--restart", "no", "web")
    crash(box, until, int(inspect(box)["State"]["Pid"]))
    until(lambda: box.status("web") == "exited", seconds=30)
    assert runs(box) == 2


def test_memory_that_ran_out_is_told(root_box, until) -> None:
    box = root_box
    box.detached(
        "--name", "web", "--memory", "16m", "--memory-swap", "16m", "@", "sh", "-c", "head -c 100m /dev/zero | tail > /x"
    )
    until(lambda: box.status("web") == "exited", seconds=60)
    assert inspect(box)["State"]["OOMKilled"] is True
    assert " oom " in box.crate.ok("events", "--since", "24h", "--until", "0s")
