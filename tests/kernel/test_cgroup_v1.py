"""Real cgroups of v1: limits hold, devices are refused, nobody escapes the kill, nothing stays."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
import uuid

import pytest

from cratebox.cgroup import base, detect, model, tree
from cratebox.errors import Conflict, InvalidValue, RuntimeFailure, Unsupported

DRIVER = detect.driver("", rootless=False)
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or DRIVER.name != "v1", reason="needs root and writable cgroup v1 hierarchies"
)
PARENT = f"crate-test-{uuid.uuid4().hex[:8]}"
DENY_ALL = {"allow": False, "access": "rwm"}


@pytest.fixture
def path():
    yield f"{PARENT}/one"
    for _, mountpoint in DRIVER.hierarchies:
        assert not os.path.exists(f"{mountpoint}/{PARENT}/one"), "a test left a cgroup behind"
        for directory in (f"{mountpoint}/{PARENT}/deep", f"{mountpoint}/{PARENT}"):
            if os.path.exists(directory):
                os.rmdir(directory)


@pytest.fixture
def create(path):
    made = []

    def make(resources=None):
        made.append(DRIVER.create(path, resources and model.decode(resources)))
        return made[-1]

    yield make
    for cgroup in made:
        cgroup.kill()
        cgroup.remove()


def inside(cgroup, action):
    """Run `action` in a child in the cgroup; return its exit code, an errno for an OSError."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            cgroup.join()
            code = action() or 0
        except OSError as error:
            code = error.errno
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def sleeper(cgroup, script="import time; time.sleep(900)"):
    return subprocess.Popen([sys.executable, "-I", "-S", "-c", script], preexec_fn=cgroup.join)  # noqa: PLW1509


def opened(path, flags=os.O_RDWR):
    return lambda: os.close(os.open(path, flags))


def test_a_child_is_inside_in_every_hierarchy(create, path):
    cgroup = create()

    def check():
        with open("/proc/self/cgroup", encoding="ascii") as file:
            rows = [line.rstrip("\n").split(":", 2) for line in file]
        return int(not all(where == f"/{path}" for _, controllers, where in rows if controllers))

    assert inside(cgroup, check) == 0


def test_limits_are_in_the_files(create):
    cgroup = create({"memory": {"limit": 64 << 20}, "pids": {"limit": 7}, "cpu": {"shares": 300, "quota": 50000}})
    for controllers, file, value in (
        ("memory", "memory.limit_in_bytes", str(64 << 20)), ("pids", "pids.max", "7"), ("cpu", "cpu.shares", "300"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
    ):  # fmt: skip
        assert tree.read(cgroup.directories[controllers], file) == value


def test_a_limit_of_processes_holds(create):
    cgroup = create({"pids": {"limit": 1}})

    def fork():
        pid = os.fork()
        if pid == 0:
            os._exit(0)

    assert inside(cgroup, fork) == errno.EAGAIN


def test_a_denied_device_cannot_be_opened(create):
    cgroup = create({"devices": [DENY_ALL]})
    assert inside(cgroup, opened("/dev/zero")) == errno.EPERM


def test_an_allowed_device_can_be_opened_and_another_not(create):
    cgroup = create({"devices": [DENY_ALL, {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"}]})
    assert inside(cgroup, opened("/dev/zero", os.O_RDONLY)) == 0
    assert inside(cgroup, opened("/dev/zero")) == errno.EPERM
    assert inside(cgroup, opened("/dev/full")) == errno.EPERM


def test_kill_ends_everybody_inside_and_nobody_else(create):
    cgroup = create()
    victims = [sleeper(cgroup) for _ in range(3)]
    bystander = subprocess.Popen(["sleep", "900"])
    try:
        assert sorted(cgroup.pids()) == sorted(victim.pid for victim in victims)
        cgroup.kill()
        assert [victim.wait(60) for victim in victims] == [-9, -9, -9]
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_kill_ends_what_forks_without_end(create):
    cgroup = create({"pids": {"limit": 50}})
    script = """
import os, time
while True:
    try:
        if os.fork(): os._exit(0)
    except OSError:
        time.sleep(0.001)
"""
    first = sleeper(cgroup, script)
    first.wait(60)
    time.sleep(0.1)
    cgroup.kill()
    cgroup.remove()
    assert cgroup.pids() == []


def test_remove_waits_for_the_dying_and_takes_nested_cgroups_along(create, path):
    cgroup = create()
    victim = sleeper(cgroup)
    for directory in cgroup.directories.values():
        os.makedirs(f"{directory}/a/b")
    cgroup.kill()
    cgroup.remove()
    assert victim.wait(60) == -9
    for directory in cgroup.directories.values():
        assert not os.path.exists(directory)


def test_a_cgroup_with_processes_is_not_removed_and_says_so(create, monkeypatch):
    monkeypatch.setattr(tree, "SECONDS_TO_EMPTY", 0.05)
    cgroup = create()
    victim = sleeper(cgroup)
    try:
        with pytest.raises(RuntimeFailure, match="cannot remove cgroup") as refused:
            cgroup.remove()
        assert "alive" in refused.value.hint
    finally:
        victim.kill()
        victim.wait()


def test_another_process_comes_back_by_the_paths(create):
    cgroup = create()
    victim = sleeper(cgroup)
    again = base.from_paths(cgroup.paths())
    assert again.pids() == [victim.pid]
    assert inside(again, lambda: int(os.getpid() not in again.pids())) == 0
    again.kill()
    assert victim.wait(60) == -9
    again.remove()
    again.remove()
    again.kill()
    assert again.pids() == []


def test_a_path_in_use_is_a_conflict_and_the_other_stays(create, path):
    cgroup = create()
    victim = sleeper(cgroup)
    try:
        with pytest.raises(Conflict, match=str(victim.pid)):
            DRIVER.create(path)
        assert cgroup.pids() == [victim.pid]
    finally:
        victim.kill()
        victim.wait()


def test_a_value_the_kernel_refuses_leaves_nothing(path):
    with pytest.raises(RuntimeFailure, match=r"cpu.quota: write '1' to .*cpu.cfs_quota_us: Invalid argument"):
        DRIVER.create(path, model.decode({"cpu": {"quota": 1}}))


def test_a_value_that_is_none_leaves_nothing(path):
    with pytest.raises(InvalidValue):
        DRIVER.create(path, model.decode({"devices": [{"allow": True, "access": "x"}]}))


def test_a_missing_controller_is_named(path):
    from cratebox.cgroup.v1 import V1

    driver = V1(tuple(one for one in DRIVER.hierarchies if one[0] != "pids"))
    with pytest.raises(Unsupported, match="no pids cgroup controller"):
        driver.create(path, model.decode({"pids": {"limit": 3}}))


def test_nothing_stays_open(create):
    before = len(os.listdir("/proc/self/fd"))
    cgroup = create()
    cgroup.close()
    assert len(os.listdir("/proc/self/fd")) == before
    cgroup.remove()
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_at_once_from_nothing_all_work(path):
    """The first containers after a boot race for the parent, whose cpuset begins empty."""
    children = []
    for number in range(8):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                cgroup = DRIVER.create(f"{PARENT}/n{number}")
                code = inside(cgroup, lambda: 0)
                cgroup.remove()
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 8
