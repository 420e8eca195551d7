"""`crate update`: other limits for a container, running or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cratebox.cgroup import mounts

MIB = 1 << 20


def version() -> int:
    return 1 if [names for names, _ in mounts.find()[0] if not names.startswith("name=")] else 2


def inside(box, name: str, v1: str, v2: str) -> str:
    """The first line of a file of the running container's cgroup, as it sees it itself."""
    pid = box.crate.ok("inspect", "-f", "{{.State.Pid}}", name)
    return Path(f"/proc/{pid}/root/sys/fs/cgroup/{v1 if version() == 1 else v2}").read_text().split("\n")[0].strip()


@pytest.fixture
def running(root_box) -> Iterator[str]:
    name = root_box.detached("-m", "64m", "@", "sleep", "100")
    yield name
    root_box.crate.ok("rm", "-f", name)


def test_limits_of_a_running_container_change_at_once(root_box, running: str) -> None:
    flags = ("--memory", "96m", "--memory-swap", "128m", "--pids-limit", "44", "--cpus", "0.5", "--cpu-shares", "512")
    assert root_box.crate.ok("update", *flags, running) == running
    assert inside(root_box, running, "memory/memory.limit_in_bytes", "memory.max") == str(96 * MIB)
    assert inside(root_box, running, "memory/memory.memsw.limit_in_bytes", "memory.swap.max") in {str(128 * MIB), str(32 * MIB)}
    assert inside(root_box, running, "pids/pids.max", "pids.max") == "44"
    assert inside(root_box, running, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"


def test_what_was_changed_is_there_after_a_restart(root_box, running: str) -> None:
    root_box.crate.ok("update", "-m", "32m", "--pids-limit", "9", running)
    root_box.crate.ok("restart", "-t", "0", running)
    assert inside(root_box, running, "memory/memory.limit_in_bytes", "memory.max") == str(32 * MIB)
    assert inside(root_box, running, "pids/pids.max", "pids.max") == "9"


def test_what_is_not_named_stays(root_box, running: str) -> None:
    root_box.crate.ok("update", "--pids-limit", "9", running)
    root_box.crate.ok("update", "--cpu-quota", "20000", running)
    assert inside(root_box, running, "memory/memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    assert inside(root_box, running, "pids/pids.max", "pids.max") == "9"


def test_a_limit_can_be_taken_away(root_box, running: str) -> None:
    root_box.crate.ok("update", "-m", "-1", "--pids-limit", "-1", running)
    assert inside(root_box, running, "pids/pids.max", "pids.max") == "max"
    assert inside(root_box, running, "memory/memory.limit_in_bytes", "memory.max") in {"max", "9223372036854771712"}


def test_a_container_that_is_not_running_gets_them_when_it_starts(root_box) -> None:
    name = root_box.create("@", "sh", "-c", "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; true")
    assert root_box.crate.ok("update", "--pids-limit", "55", name) == name
    assert root_box.crate.ok("start", "-a", name) == "55"


def test_where_the_kernel_refuses_one_all_stay(root_box, until) -> None:
    name = root_box.detached("-m", "64m", "@", "sh", "-c", "head -c 24m /dev/zero > /dev/shm/x; echo full; exec sleep 100")
    try:
        until(lambda: "full" in root_box.crate.ok("logs", name))
        record = root_box.crate.root / "containers" / name / "container.json"
        before = record.read_bytes()
        done = root_box.crate("update", "--pids-limit", "7", "--cpuset-cpus", "0", "-m", "8m", "--memory-swap", "8m", name)
        if version() == 2:
            assert done.returncode in (0, 1)  # v2 begins to kill where v1 refuses
            return
        assert done.returncode == 1
        assert "more than that is in use" in done.stderr
        assert record.read_bytes() == before
        assert inside(root_box, name, "pids/pids.max", "pids.max") == "max"
        assert inside(root_box, name, "memory/memory.limit_in_bytes", "memory.max") == str(64 * MIB)
        root_box.crate.ok("update", "--pids-limit", "7", name)
        assert inside(root_box, name, "memory/memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    finally:
        root_box.crate.ok("rm", "-f", name)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("-m", "5m"), "less than 6 MiB"),
        (("--memory-swap", "32m"), "below --memory"),
        (("--cpus", "5000"), "this machine has"),
        (("--cpuset-cpus", "7000"), "this machine has the processors"),
        (("--cpus", "1", "--cpu-quota", "2000"), "in two ways"),
    ],
)
def test_what_cannot_be_is_refused(root_box, running: str, flags: tuple[str, ...], why: str) -> None:
    assert why in root_box.crate.fails("update", *flags, running, code=1)
    assert inside(root_box, running, "memory/memory.limit_in_bytes", "memory.max") == str(64 * MIB)


def test_nothing_to_change_is_refused(root_box, running: str) -> None:
    assert "nothing was given" in root_box.crate.fails("update", running)


def test_a_container_that_is_not_there_does_not_stop_the_others(root_box, running: str) -> None:
    done = root_box.crate("update", "--pids-limit", "7", "not-there", running)
    assert (done.returncode, done.stdout.split()) == (1, [running])
    assert "no container not-there" in done.stderr


def test_an_ordinary_user_is_told_what_it_takes(user_box) -> None:
    name = user_box.create("true")
    done = user_box.crate("update", "--pids-limit", "7", name)
    if done.returncode == 0:
        assert version() == 2
    else:
        assert "--pids-limit cannot be had here" in done.stderr
        assert "systemd-run" in done.stderr


def test_updates_at_once_all_count(root_box) -> None:
    name = root_box.create("true")
    flags = [("--pids-limit", "9"), ("-m", "64m"), ("--cpu-shares", "77"), ("--cpuset-cpus", "0")]
    started = [root_box.crate.start("update", *one, name) for one in flags]
    assert [one.wait() for one in started] == [0] * len(flags)
    found = (root_box.crate.root / "containers" / name / "container.json").read_text()
    for word in ('"pids":9', f'"memory":{64 * MIB}', '"cpuShares":77', '"cpusetCpus":"0"'):
        assert word in found


def test_a_container_has_another_restart_policy_from_now_on(box, until) -> None:
    name = box.detached("@", "sleep", "1000")
    try:
        assert box.crate.ok("update", "--restart", "on-failure:3", name) == name
        assert box.crate.ok("inspect", "-f", "{{.HostConfig.RestartPolicy.Name}}", name) == "on-failure"
        first = box.crate.ok("inspect", "-f", "{{.State.Pid}}", name)
        box.crate.ok("update", "--restart", "always", name)
        os.kill(int(first), 9)
        until(lambda: box.crate.ok("inspect", "-f", "{{.State.Pid}}", name) not in ("0", first))
    finally:
        box.crate.ok("rm", "-f", name)


def test_a_restart_policy_that_cannot_be_is_refused(box) -> None:
    name = box.create("true")
    assert "no such restart policy" in box.crate.fails("update", "--restart", "sometimes", name, code=1)
    removed = box.crate.ok("create", "--rm", box.image, "true")
    assert "contradict" in box.crate.fails("update", "--restart", "always", removed, code=1)
    assert box.crate.ok("inspect", "-f", "{{.HostConfig.RestartPolicy.Name}}", removed) == "no"
