"""Several commands at once on one container: each answers as if the others came before or after it."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

AT_ONCE = 8
SLEEPER = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")
# What one of them may say where another came first.
BEFORE = re.compile(
    r"no container|was removed|is running|running already|is paused|already paused|not paused|not running|is exited|is created"
    r"|is restarting|taken|in use|has that name already|changed its state meanwhile|meanwhile|container not running"
    r"|has ended, but|has just ended|died on its way|container is gone|died while it was being set up"
)


def at_once(box, commands: Iterable[tuple[str, ...]]) -> list[subprocess.CompletedProcess[str]]:  # type: ignore[no-untyped-def]
    """Run the commands side by side. One that fails says that another came first, in one line and its hint."""
    commands = list(commands)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun = [pool.submit(box.crate, *words) for words in commands]
        others = [one for words, one in zip(commands, begun, strict=True) if words[0] != "exec"]
        if others != begun:  # in a container that is paused the process of an exec stands still, until somebody lets it go on
            wait(others)
            for name in ("web", "other"):
                box.crate("unpause", name)
        done = [one.result() for one in begun]
    for words, one in zip(commands, done, strict=True):
        said = f"{' '.join(words)} ended with {one.returncode}: {one.stderr}"
        assert "Traceback" not in one.stderr, said
        assert "internal error" not in one.stderr, said
        killed = words[0] == "exec" and one.returncode == 137  # its process was in the container when that was ended
        assert one.returncode == 0 or killed or BEFORE.search(one.stderr), said
    return done


def codes(done: list[subprocess.CompletedProcess[str]]) -> list[int]:
    return [one.returncode for one in done]


def events(box, action: str) -> int:  # type: ignore[no-untyped-def]
    said = box.crate.ok("events", "--since", "24h", "--until", "0s", "--filter", f"event={action}", "--format", "{{.Action}}")
    return len(said.split())


def names(box) -> list[str]:  # type: ignore[no-untyped-def]
    return sorted(path.name for path in (box.crate.root / "names").iterdir())


def test_of_many_creates_of_one_name_one_succeeds(box) -> None:
    done = at_once(box, [("create", "--name", "web", box.image, "true")] * AT_ONCE)
    assert sorted(codes(done))[:2] == [0, 125]
    assert box.crate.ok("ps", "-aq", "--no-trunc") == next(one.stdout.strip() for one in done if one.returncode == 0)


def test_of_many_starts_one_starts_it(box) -> None:
    box.create("--name", "web", "@", *SLEEPER)
    at_once(box, [("start", "web")] * AT_ONCE)
    assert events(box, "start") == 1
    assert box.status("web") == "running"


def test_many_stops_all_succeed_and_stop_it_once(box) -> None:
    box.detached("--name", "web", "@", *SLEEPER)
    assert codes(at_once(box, [("stop", "web")] * AT_ONCE)) == [0] * AT_ONCE
    assert events(box, "die") == 1
    assert box.status("web") == "exited"


def test_of_many_removals_one_removes_it_and_nothing_is_left(box, until) -> None:
    for force, make in ((("-f",), box.detached), ((), box.create)):
        make("--name", "web", "@", *SLEEPER)
        done = at_once(box, [("rm", *force, "web")] * AT_ONCE)
        assert 0 in codes(done)
        assert box.crate.ok("ps", "-aq") == ""
        until(lambda: list((box.crate.root / "containers").iterdir()) == [])
        assert names(box) == []
    assert events(box, "destroy") == 2


def test_many_renames_come_one_after_the_other(box) -> None:
    identity = box.create("--name", "web", "@", "true")
    at_once(box, [("rename", identity, f"name{number}") for number in range(AT_ONCE)])
    (name,) = names(box)
    assert box.crate.ok("inspect", "--format", "{{.Name}}", identity) == "/" + name


def test_of_many_renames_to_one_name_one_succeeds(box) -> None:
    for number in range(AT_ONCE):
        box.create("--name", f"name{number}", "@", "true")
    done = at_once(box, [("rename", f"name{number}", "web") for number in range(AT_ONCE)])
    assert sorted(codes(done)) == [0] + [125] * (AT_ONCE - 1)
    assert len(names(box)) == AT_ONCE


def test_many_updates_lose_none_of_each_other(root_box) -> None:
    root_box.create("--name", "web", "@", "true")
    flags = [("--memory", "64m"), ("--cpu-shares", "512"), ("--pids-limit", "50"), ("--memory-reservation", "32m")] * 2
    assert set(codes(at_once(root_box, [("update", *one, "web") for one in flags]))) == {0}
    host = json.loads(root_box.crate.ok("inspect", "web"))[0]["HostConfig"]
    wanted = {"Memory": 64 << 20, "CpuShares": 512, "PidsLimit": 50, "MemoryReservation": 32 << 20}
    assert {name: host[name] for name in wanted} == wanted


def test_many_execs_all_run(box) -> None:
    box.detached("--name", "web", "@", *SLEEPER)
    done = at_once(box, [("exec", "web", "sh", "-c", f"echo {number}") for number in range(AT_ONCE)])
    assert [one.stdout for one in done] == [f"{number}\n" for number in range(AT_ONCE)]


def test_of_many_pauses_one_pauses_it(root_box) -> None:
    root_box.detached("--name", "web", "@", *SLEEPER)
    for verb, status in (("pause", "paused"), ("unpause", "running")):
        assert sorted(codes(at_once(root_box, [(verb, "web")] * AT_ONCE))) == [0] + [1] * (AT_ONCE - 1)
        assert root_box.status("web") == status


def test_a_container_that_others_start_again_is_removed_all_the_same(box) -> None:
    for _ in range(3):
        box.detached("--name", "web", "@", *SLEEPER)
        done = at_once(box, [("rm", "-f", "web"), *[("start", "web"), ("restart", "-t", "1", "web")] * 3])
        assert done[0].returncode == 0
        assert box.crate.ok("ps", "-aq") == ""


@pytest.mark.parametrize("rounds", [6])
def test_whatever_comes_at_once_leaves_what_one_order_would_leave(box, rounds: int, until) -> None:
    """Each round ends with a container that is told as it is, or with none and nothing of it."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    verbs = [words.split() for words in (
        "start web", "stop -t 1 web", "rm -f web", "rename web other", "rename other web", "exec web true",
        "restart -t 1 web", "kill web", "ps -a", "inspect web", "logs web",
    )]  # fmt: skip
    if box.crate.person.is_root:
        verbs += [["pause", "web"], ["unpause", "web"], ["update", "--memory", "64m", "web"]]
    for turn in range(rounds):
        chosen = [tuple(words) for words in chance.sample(verbs, AT_ONCE)]
        box.detached("--name", "web", "@", *SLEEPER)
        at_once(box, chosen)
        what = f"seed {seed}, round {turn}: {chosen}"
        left = box.crate.ok("ps", "-aq", "--no-trunc").split()
        assert len(left) <= 1, what
        for one in left:
            state = json.loads(box.crate.ok("inspect", one))[0]["State"]
            assert state["Running"] == Path(f"/proc/{state['Pid']}").exists() if state["Pid"] else not state["Running"], what
            assert len(names(box)) == 1, what
            box.crate.ok("rm", "-f", one)
        assert names(box) == [], what
        until(lambda: list((box.crate.root / "containers").iterdir()) == [])
        until(lambda: list((box.crate.state / "containers").iterdir()) == [])
