"""Paused containers: what the freezer holds, and what each verb does with one."""

from __future__ import annotations

import os
import select
import signal
import subprocess

import pytest

from cratebox.cgroup import base
from cratebox.errors import Conflict
from cratebox.linux import process
from cratebox.runtime import control
from cratebox.runtime import state as saved

TICKS = ("sh", "-c", "trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.05; echo x >> /ticks; done")


@pytest.fixture
def paused(box, until):  # type: ignore[no-untyped-def]
    """The name of a container that is paused."""
    box.detached("--name", "web", "@", *TICKS)
    until(lambda: box.crate.ok("logs", "web") == "ready")
    done = box.crate("pause", "web")
    if "no cgroup of its own" in done.stderr or "cannot freeze" in done.stderr:
        pytest.skip(f"containers of this user cannot be paused here: {done.stderr.splitlines()[0]}")
    assert (done.returncode, done.stdout) == (0, "web\n"), done.stderr
    return "web"


def state(box, name: str) -> dict[str, object]:  # type: ignore[no-untyped-def]
    return box.crate.json("inspect", name)[0]["State"]


def test_a_paused_container_is_shown_as_paused(box, paused) -> None:
    assert box.status("web") == "paused"
    assert box.crate.ok("ps", "--format", "{{.State}} {{.Status}}").startswith("paused Up ")
    assert box.crate.ok("ps", "--format", "{{.Status}}").endswith("(Paused)")


def test_no_process_of_a_paused_container_moves(box, paused, until) -> None:
    upper = next((box.crate.root / "containers").glob("*/rw/upper"))
    ticks = upper / "ticks"
    held = ticks.stat().st_size if ticks.exists() else 0
    box.crate.ok("ps")  # some time goes by
    box.crate.ok("ps")
    assert (ticks.stat().st_size if ticks.exists() else 0) == held
    assert box.crate.ok("unpause", "web") == "web"
    until(lambda: ticks.exists() and ticks.stat().st_size > held)
    assert box.status("web") == "running"


def test_stop_lets_a_paused_container_hear_of_it(box, paused) -> None:
    box.crate.ok("stop", "web")
    assert box.crate.ok("logs", "web") == "ready\ntold"
    assert state(box, "web")["ExitCode"] == 5


def test_kill_ends_a_paused_container(box, paused, until) -> None:
    box.crate.ok("kill", "web")
    until(lambda: box.status("web") == "exited")
    assert state(box, "web")["ExitCode"] == 137


def test_rm_by_force_removes_a_paused_container(box, paused) -> None:
    box.crate.ok("rm", "-f", "web")
    assert box.crate.ok("ps", "-aq") == ""


def test_restart_of_a_paused_container_leaves_it_running(box, paused) -> None:
    before = state(box, "web")["Pid"]
    box.crate.ok("restart", "-t", "5", "web")
    assert box.status("web") == "running"
    assert state(box, "web")["Pid"] != before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pause", "web"), "web is paused already\n  hint: crate unpause web"),
        (("start", "web"), "web is paused, not stopped\n  hint: crate unpause web lets it go on, crate stop web ends it"),
        (("rm", "web"), "web is paused\n  hint: crate stop web, or crate rm -f web"),
    ],
)
def test_what_cannot_be_done_to_a_paused_container_is_said_with_what_helps(box, paused, words, said) -> None:
    done = box.crate(*words)
    assert done.returncode in {1, 125}
    assert said in done.stderr


def test_pausing_what_does_not_run_is_refused(box) -> None:
    box.create("--name", "web", "@", "true")
    assert "web is created, not running\n  hint: crate start web" in box.crate.fails("pause", "web", code=1)
    assert "web is created, not paused" in box.crate.fails("unpause", "web", code=1)


def test_of_several_containers_each_is_tried(box, paused) -> None:
    done = box.crate("unpause", "nobody", "web")
    assert (done.returncode, done.stdout) == (1, "web\n")
    assert "nobody" in done.stderr
    assert "running, not paused\n  hint: crate pause web" in box.crate.fails("unpause", "web", code=1)


def test_all_is_all_that_fit(root_box) -> None:
    box = root_box
    first, second = (box.detached("--name", name, "@", "sleep", "100") for name in ("first", "second"))
    box.create("--name", "third", "@", "true")
    assert sorted(box.crate.ok("pause", "--all").split()) == sorted((first, second))
    assert sorted(box.crate.ok("unpause", "-a").split()) == sorted((first, second))
    assert sorted(box.crate.ok("stop", "-a", "-t", "0").split()) == sorted((first, second))
    assert box.crate.ok("kill", "--all") == ""
    for words, said in (((), "a CONTAINER is missing"), (("--all", "first"), "--all takes no CONTAINER")):
        for verb in ("stop", "kill", "restart", "pause", "unpause"):
            assert said in box.crate.fails(verb, *words)


def test_a_container_that_cannot_be_paused_is_named_with_what_it_takes(user_box) -> None:
    box = user_box
    box.detached("--name", "web", "@", "sleep", "100")
    done = box.crate("pause", "web")
    if done.returncode == 0:
        pytest.skip("this user's containers have cgroups")
    assert "web: cannot pause this container: it has no cgroup of its own\n  hint: " in done.stderr


def test_a_container_that_ends_in_the_moment_of_its_pause_keeps_nobody(root_box, monkeypatch) -> None:
    """What was on its way into its cgroup, as an `exec`, is let go on; the pause says that it does not run."""
    identity = root_box.detached("--name", "web", "@", "sleep", "1000")
    running = str(root_box.crate.state / "containers")
    found = saved.load(f"{running}/{identity}")
    group, pidfd = base.from_paths(found.cgroup), os.pidfd_open(found.pid)
    late = subprocess.Popen(["sleep", "1000"])
    try:
        group.add(late.pid)
        freeze = type(group).freeze

        def meanwhile(self: base.Cgroup) -> None:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            ended = select.poll()
            ended.register(pidfd, select.POLLIN)
            assert ended.poll(10000)
            freeze(self)

        monkeypatch.setattr(type(group), "freeze", meanwhile)
        with pytest.raises(Conflict, match="not running"):
            control.pause(running, identity)
        assert not group.is_frozen()
    finally:
        late.kill()
        late.wait()
        os.close(pidfd)


def test_the_end_of_a_paused_container_lets_go_on_what_is_on_its_way_in(root_box, until) -> None:
    identity = root_box.detached("--name", "web", "@", "sleep", "1000")
    found = saved.load(str(root_box.crate.state / "containers" / identity))
    group = base.from_paths(found.cgroup)
    supervisor = process.parent(found.pid)
    late = subprocess.Popen(["sleep", "0.1"])
    try:
        group.add(late.pid)
        os.kill(supervisor, signal.SIGSTOP)  # it is to find both at once
        os.kill(found.pid, signal.SIGKILL)
        until(lambda: process.start_time(found.pid) == 0)
        group.freeze()
        os.kill(supervisor, signal.SIGCONT)
        assert late.wait(20) == 0
        until(lambda: root_box.status("web") == "exited")
    finally:
        if group.is_frozen():
            group.thaw()
        late.kill()
        late.wait()
