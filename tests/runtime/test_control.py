"""pause, resume, ps, update and events of a container that is there, and what the other verbs do with one that is paused."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from support.bundles import Oci


@pytest.fixture
def box(oci: Oci):
    """A container that runs and has a cgroup of its own."""
    if oci.rootless:
        pytest.skip("an ordinary user has no cgroup of his own here")
    name = oci.create(oci.bundle(script="sleep 81 & while :; do echo x >> /tmp/ticks; sleep 0.02; done"))
    oci.ok("start", name)
    yield name
    oci("delete", "--force", name)


def ticks(oci: Oci, name: str) -> int:
    try:
        return Path(oci.state(name)["rootfs"], "tmp/ticks").stat().st_size
    except FileNotFoundError:
        return 0


def wait_for(what) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_paused_container_does_nothing_until_it_is_resumed(oci, box):
    oci.ok("pause", box)
    assert oci.status(box) == "paused"
    before = ticks(oci, box)
    time.sleep(0.3)
    assert ticks(oci, box) == before
    oci.ok("resume", box)
    assert oci.status(box) == "running"
    wait_for(lambda: ticks(oci, box) > before)


def test_a_created_container_can_be_paused_and_is_created_again(oci):
    if oci.rootless:
        pytest.skip("an ordinary user has no cgroup of his own here")
    name = oci.create(oci.bundle("/bin/true"))
    oci.ok("pause", name)
    assert "paused" in oci.fails("start", name)
    oci.ok("resume", name)
    assert oci.status(name) == "created"
    oci.ok("delete", name)


def test_a_paused_container_is_not_paused_again_and_a_running_one_not_resumed(oci, box):
    assert "not paused" in oci.fails("resume", box)
    oci.ok("pause", box)
    assert "container is paused" in oci.fails("pause", box)


def test_a_stopped_container_is_not_paused_resumed_updated_or_listed(oci):
    name = oci.create(oci.bundle("/bin/true"))
    oci.ok("start", name)
    oci.until(name, "stopped")
    for words in (
        ("pause", name),
        ("resume", name),
        ("ps", name),
        ("events", "--stats", name),
        ("update", "--pids-limit", "9", name),
    ):
        assert "container not running" in oci.fails(*words)
    oci.ok("delete", name)


def test_sigkill_ends_a_paused_container(oci, box):
    oci.ok("pause", box)
    oci.ok("kill", box, "KILL")
    oci.until(box, "stopped")


def test_a_signal_reaches_a_paused_container_when_it_is_resumed(oci):
    if oci.rootless:
        pytest.skip("an ordinary user has no cgroup of his own here")
    bundle = oci.bundle(script="trap 'exit 9' TERM; echo > /tmp/ready; while :; do sleep 0.02; done")
    name = oci.create(bundle)
    oci.ok("start", name)
    wait_for((bundle.rootfs / "tmp/ready").exists)
    oci.ok("pause", name)
    oci.ok("kill", name, "TERM")
    time.sleep(0.1)
    assert oci.status(name) == "paused"
    oci.ok("resume", name)
    oci.until(name, "stopped")
    oci.ok("delete", name)


def test_delete_refuses_a_paused_container_and_force_ends_it(oci, box):
    oci.ok("pause", box)
    assert "not stopped" in oci.fails("delete", box)
    oci.ok("delete", "--force", box)
    assert box not in oci.left()


def test_exec_into_a_paused_container_is_refused(oci, box):
    oci.ok("pause", box)
    assert "cannot exec in a paused container" in oci.fails("exec", box, "/bin/true", code=255)


def test_exec_that_ignores_the_pause_runs_when_that_ends(oci, box):
    oci.ok("pause", box)
    waiting = oci.start("exec", "--ignore-paused", box, "/bin/echo", "now", stdout=subprocess.PIPE)
    time.sleep(0.4)
    assert waiting.poll() is None
    oci.ok("resume", box)
    assert waiting.communicate(timeout=60) == (b"now\n", None)


def test_ps_lists_the_containers_processes_as_the_host_numbers_them(oci, box):
    pid = oci.state(box)["pid"]
    found = json.loads(oci.ok("ps", "--format", "json", box))
    assert pid in found
    assert len(found) >= 2
    inside = os.readlink(f"/proc/{pid}/ns/pid")
    assert {os.readlink(f"/proc/{one}/ns/pid") for one in found if Path(f"/proc/{one}/ns").exists()} == {inside}


def test_ps_without_a_cgroup_asks_for_the_pid_namespace(oci):
    bundle = oci.bundle("/bin/sleep", "82").write()
    name = oci.name()
    null = {"capture_output": False, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    assert oci("--cgroup-manager", "disabled", "run", "-d", "--bundle", bundle.directory, name, **null).returncode == 0
    assert json.loads(oci.ok("ps", "--format", "json", name)) == [oci.state(name)["pid"]]
    if not oci.rootless:
        assert "no cgroup of its own" in oci.fails("pause", name)
    oci.ok("delete", "--force", name)


def test_update_changes_what_it_names_and_nothing_else(oci, box):
    oci.ok("update", "--pids-limit", "55", box)
    oci.ok("update", "--memory", "67108864", box)
    stats = json.loads(oci.ok("events", "--stats", box))
    assert (stats["type"], stats["id"]) == ("stats", box)
    assert stats["data"]["pids"]["limit"] == 55
    assert stats["data"]["memory"]["usage"]["limit"] == 67108864


def test_an_update_that_is_wrong_changes_nothing(oci, box):
    oci.fails("update", "--pids-limit", "55", "--cpu-share", "-7", box)
    assert json.loads(oci.ok("events", "--stats", box))["data"]["pids"].get("limit") != 55


def test_events_end_with_the_container(oci, box):
    events = oci.start("events", "--interval", "50ms", box, stdout=subprocess.PIPE)
    assert events.stdout
    assert json.loads(events.stdout.readline())["type"] == "stats"
    oci.ok("kill", "--all", box, "KILL")
    assert events.wait(60) == 0
    events.stdout.close()


@pytest.mark.parametrize("hours", ["9" * 30, "1" * 400])
def test_statistics_that_are_never_due_again_end_with_the_container(oci, box, hours):
    events = oci.start("events", "--interval", hours + "h", box, stdout=subprocess.PIPE)
    assert events.stdout
    assert json.loads(events.stdout.readline())["type"] == "stats"
    oci.ok("kill", "--all", box, "KILL")
    assert events.wait(60) == 0
    events.stdout.close()


def test_exec_says_that_the_container_may_have_no_more_processes(oci):
    if oci.rootless:
        pytest.skip("an ordinary user has no cgroup of his own here")
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    oci.ok("start", name)
    oci.ok("update", "--pids-limit", "1", name)
    said = oci.fails("exec", name, "true", code=255)
    assert "cannot make another process in the container: " in said
    assert "pids.limit" in said


def test_events_tell_when_memory_ran_out(oci):
    if oci.rootless:
        pytest.skip("an ordinary user has no cgroup of his own here")
    bundle = oci.bundle(script="while ! test -e /tmp/go; do sleep 0.02; done; head -c 100000000 /dev/zero | tail; sleep 83")
    bundle.linux["resources"] = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    name = oci.create(bundle)
    oci.ok("start", name)
    events = oci.start("events", "--interval", "60s", name, stdout=subprocess.PIPE)
    assert events.stdout
    assert json.loads(events.stdout.readline())["type"] == "stats"
    (bundle.rootfs / "tmp/go").touch()
    assert json.loads(events.stdout.readline()) == {"type": "oom", "id": name}
    oci.ok("delete", "--force", name)
    assert events.wait(60) == 0
    events.stdout.close()
