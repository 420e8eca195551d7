"""What a reboot leaves, and what `system start` makes of it. The boot is made up: the boot ID in the files becomes another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time

import pytest

STAYS = ("sleep", "1000")
OTHER_BOOT = "00000000-0000-4000-8000-000000000000"


def reboot(box) -> None:  # type: ignore[no-untyped-def]
    """End everything at once, as a machine that loses its power does, and let the next boot begin."""
    directories = list((box.crate.root / "containers").glob("[0-9a-f]*"))
    locks = {(info.st_dev, info.st_ino) for info in (os.stat(one / "lock") for one in directories)}
    stopped = stop_all(locks)
    written = {one for one in directories if (one / "exit.json").exists()}
    pids = [json.loads(path.read_text())["pid"] for path in (box.crate.state / "containers").glob("*/state.json")]
    for pid in (*pids, *stopped):
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            pass
    deadline = time.monotonic() + 30
    while holders(locks):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for one in directories:
        assert (one / "exit.json").exists() == (one in written)  # nobody had the time to write more
        if one in written:
            ended = json.loads((one / "exit.json").read_text())
            (one / "exit.json").write_text(json.dumps(ended | {"bootId": OTHER_BOOT}))
    shutil.rmtree(box.crate.state, ignore_errors=True)


def holds(pid: int, locks: set[tuple[int, int]]) -> bool:
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            info = os.stat(f"/proc/{pid}/fd/{fd}")
            if (info.st_dev, info.st_ino) in locks:
                return True
    except OSError:
        pass
    return False


def holders(locks: set[tuple[int, int]]) -> set[int]:
    return {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if holds(pid, locks)}


def stop_all(locks: set[tuple[int, int]]) -> set[int]:
    """Stop supervisors and guardians, whichever of them makes another when one is missing; return them."""
    stopped: set[int] = set()
    while fresh := holders(locks) - stopped:
        for pid in fresh:
            os.kill(pid, 19)
        stopped |= fresh
    return stopped


def lines(box) -> list[str]:  # type: ignore[no-untyped-def]
    return box.crate.ok("system", "start").splitlines()


def test_what_comes_back_is_what_its_policy_says(box) -> None:
    for name, policy in (("a", "always"), ("u", "unless-stopped"), ("f", "on-failure"), ("n", "no")):
        box.detached("--name", name + "1", "--restart", policy, "@", *STAYS)
        box.detached("--name", name + "2", "--restart", policy, "@", *STAYS)
    box.crate.ok("stop", "-t", "0", "a2", "u2", "f2", "n2")
    box.create("--name", "never", "--restart", "always", "@", *STAYS)
    assert box.crate("run", "-d", "--name", "failed", "--restart", "always", box.image, "no-such-command").returncode == 127
    reboot(box)
    assert sorted(lines(box)) == ["a1: started", "a2: started", "f1: started", "u1: started"]
    assert sorted(box.crate.ok("ps", "--format", "{{.Names}}").split()) == ["a1", "a2", "f1", "u1"]
    assert lines(box) == []  # done once is done


def test_before_a_boot_there_is_nothing_to_do(box) -> None:
    box.detached("--name", "web", "--restart", "always", "@", *STAYS)
    box.crate.ok("stop", "-t", "0", "web")
    assert lines(box) == []
    assert box.status("web") == "exited"


def test_a_container_that_was_running_is_shown_as_ended_by_the_machine(box) -> None:
    box.detached("--name", "web", "@", *STAYS)
    reboot(box)
    assert box.status("web") == "exited"
    assert box.crate.json("inspect", "web")[0]["State"]["ExitCode"] == 255
    box.crate.ok("start", "web")
    assert box.status("web") == "running"


def test_what_waited_for_its_next_run_comes_back(box, until) -> None:
    box.detached("--name", "web", "--restart", "on-failure", "@", "sh", "-c", "echo run; exit 1")
    until(lambda: box.crate.ok("logs", "web").count("run") >= 4, seconds=30)
    reboot(box)
    assert lines(box) == ["web: started"]
    until(lambda: box.crate.ok("logs", "web").count("run") >= 5, seconds=30)


def test_what_was_to_be_removed_is_removed(box) -> None:
    box.detached("--rm", "--name", "gone", "@", *STAYS)
    reboot(box)
    assert lines(box) == ["gone: removed"]
    assert box.crate.ok("ps", "-aq") == ""


def test_one_that_cannot_be_started_does_not_stop_the_others(root_box) -> None:
    box = root_box
    place = box.crate.directory / "mounted"
    place.mkdir()
    box.detached("--name", "first", "--restart", "always", "--mount", f"type=bind,source={place},target=/m", "@", *STAYS)
    box.detached("--name", "second", "--restart", "always", "@", *STAYS)
    reboot(box)
    place.rmdir()
    done = box.crate("system", "start")
    assert (done.returncode, done.stdout) == (1, "second: started\n")
    assert done.stderr.startswith("crate system start: first: ")
    assert str(place) in done.stderr


def test_system_stop_is_made_up_for_by_the_next_boot(box) -> None:
    for name, policy in (("always", "always"), ("unless", "unless-stopped"), ("no", "no")):
        box.detached("--name", name + "-web", "--restart", policy, "@", *STAYS)
    done = box.crate.ok("system", "stop", "-t", "0")
    assert sorted(done.splitlines()) == ["always-web: stopped", "no-web: stopped", "unless-web: stopped"]
    assert box.crate.ok("ps", "-q") == ""
    assert lines(box) == []
    reboot(box)
    assert sorted(lines(box)) == ["always-web: started", "unless-web: started"]


@pytest.mark.parametrize("words", [("stop", "-t", "0"), ("kill",), ("rm", "-f")])
def test_state_of_an_earlier_boot_leads_to_no_foreign_process(root_box, words) -> None:
    """The number of the container's process is another's by now."""
    box = root_box
    identity = box.detached("--name", "web", "@", *STAYS)
    state = json.loads((box.crate.state / "containers" / identity / "state.json").read_text())
    reboot(box)
    foreign = subprocess.Popen(["sleep", "900"])
    try:
        directory = box.crate.state / "containers" / identity
        directory.mkdir(parents=True, mode=0o700)
        for one in (box.crate.state, box.crate.state / "containers"):
            one.chmod(0o700)
        made = state | {"pid": foreign.pid, "started": started(foreign.pid), "bootId": OTHER_BOOT}
        (directory / "state.json").write_text(json.dumps(made))
        box.crate(*words, "web")
        assert foreign.poll() is None
        assert "web" not in box.crate.ok("ps", "--format", "{{.Names}}")
    finally:
        foreign.kill()
        foreign.wait(60)


def started(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return int(file.read().rpartition(")")[2].split()[19])
