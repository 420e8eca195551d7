"""`crate events`: what real containers do, as Docker tells it."""

from __future__ import annotations

import json
import signal
import subprocess

PATIENCE = 30


def actions(crate, *words: str) -> list[str]:
    told = crate.ok("events", "--since", "24h", "--until", "0s", "--format", "{{.Type}} {{.Action}}", *words)
    return told.splitlines()


def test_the_life_of_a_container(box) -> None:
    box.create("--name", "web", "--label", "tier=front", "@", "sh", "-c", "exit 3")
    box.crate("start", "-a", "web")
    box.crate.ok("rm", "web")
    assert actions(box.crate, "--filter", "container=web") == [
        f"container {action}" for action in ("create", "attach", "start", "die", "destroy")
    ]
    told = box.crate.ok("events", "--since", "24h", "--until", "0s", "--filter", "event=die", "--format", "json")
    document = json.loads(told)
    assert document["Actor"]["Attributes"].items() >= {"name": "web", "tier": "front", "exitCode": "3"}.items()
    assert document["status"] == document["Action"] == "die"
    assert document["Actor"]["ID"] == document["id"]
    assert document["timeNano"] // 10**9 == document["time"]


def test_run_rm_leaves_its_whole_story(box) -> None:
    box.run("true")
    told = actions(box.crate, "--filter", "type=container")
    assert told == [f"container {action}" for action in ("create", "attach", "start", "die", "destroy")]


def test_stop_and_kill_tell_the_signal(box) -> None:
    for verb in (("stop", "-t", "0"), ("kill", "-s", "KILL")):
        name = box.detached("@", "sleep", "100")
        box.crate.ok(*verb, name)
        filters = ("--filter", f"container={name}", "--filter", "event=kill", "--format", "{{.Actor.Attributes.signal}}")
        told = box.crate.ok("events", "--since", "24h", "--until", "0s", *filters)
        assert told.splitlines()[-1] == "9"
        box.crate.ok("rm", "-f", name)


def test_an_attribute_that_an_event_lacks_is_no_error(root_box) -> None:
    root_box.run("true")
    told = root_box.crate.ok(
        "events", "--since", "24h", "--until", "0s", "--format", "{{.Action}} {{.Actor.Attributes.exitCode}}"
    )
    assert told.splitlines()[-2] == "die 0"


def test_an_end_is_told_by_the_name_of_then(root_box) -> None:
    root_box.detached("--name", "old", "@", "sleep", "100")
    root_box.crate.ok("rename", "old", "new")
    root_box.crate.ok("rm", "-f", "new")
    assert actions(root_box.crate, "--filter", "container=new")[-2:] == ["container die", "container destroy"]


def test_the_line_is_dockers(root_box) -> None:
    name = root_box.create("--name", "web", "@", "true")
    told = root_box.crate.ok("events", "--since", "24h", "--until", "0s", "--filter", "event=create")
    when, kind, action, identity, rest = told.split(" ", 4)
    assert (kind, action, identity) == ("container", "create", name)
    assert rest.startswith("(image=")
    assert rest.endswith(", name=web)")
    assert len(when.partition(".")[2].rstrip("Z").partition("+")[0]) == 9
    root_box.crate.ok("rm", name)


def test_a_pull_is_an_event(root_box) -> None:
    assert "image pull" in actions(root_box.crate)


def test_several_follow_until_they_are_interrupted(box, until) -> None:
    words = ("events", "--filter", "type=container", "--format", "{{.Action}}")
    followers = [box.crate.start(*words, stdout=subprocess.PIPE) for _ in range(3)]
    try:
        until(lambda: all(_waits(follower.pid) for follower in followers))
        box.run("true")
        for follower in followers:
            assert [follower.stdout.readline() for _ in range(5)] == [
                b"create\n",
                b"attach\n",
                b"start\n",
                b"die\n",
                b"destroy\n",
            ]
            follower.send_signal(signal.SIGINT)
            assert follower.wait(PATIENCE) == 130
    finally:
        for follower in followers:
            follower.kill()
            follower.communicate()


def _waits(pid: int) -> bool:
    """Say whether a follower has begun to wait: in poll(2), or where there is no inotify to be had, in nanosleep(2)."""
    with open(f"/proc/{pid}/wchan") as file:
        where = file.read()
    return "nanosleep" in where or "poll" in where


def test_what_is_no_filter_or_time_is_refused(root_box) -> None:
    assert "no such filter: x" in root_box.crate.fails("events", "--filter", "x")
    assert "--since is a time" in root_box.crate.fails("events", "--since", "yesterday")
    assert "no such events" in root_box.crate.fails("events", "--filter", "plugin=x")


def test_escape_sequences_of_a_label_are_inert(root_box) -> None:
    name = root_box.create("--label", "x=\x1b[2J\n", "@", "true")
    told = root_box.crate.ok("events", "--since", "24h", "--until", "0s", "--filter", f"container={name}")
    assert "\x1b" not in told
    assert "\\x1b[2J\\n" in told
    root_box.crate.ok("rm", name)
