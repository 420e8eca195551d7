"""The flags that limit: what stands in the files of a container's cgroup, seen from inside and from outside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cratebox.cgroup import mounts
from cratebox.cgroup.files_v2 import weight_of_block_io, weight_of_shares

MIB = 1 << 20


def version() -> int:
    hierarchies, _ = mounts.find()
    return 1 if [names for names, _ in hierarchies if not names.startswith("name=")] else 2


def host_directory(controller: str, path: str) -> Path:
    hierarchies, unified = mounts.find()
    if version() == 2:
        assert unified
        return Path(unified.mountpoint + path)
    return Path(next(place for names, place in hierarchies if controller in names.split(",")) + path)


V1_FILES = [
    (("--memory", "64m"), "memory/memory.limit_in_bytes", str(64 * MIB)),
    (("-m", "64m"), "memory/memory.memsw.limit_in_bytes", str(128 * MIB)),
    (("-m", "64m", "--memory-swap", "64m"), "memory/memory.memsw.limit_in_bytes", str(64 * MIB)),
    (("-m", "64m", "--memory-reservation", "32m"), "memory/memory.soft_limit_in_bytes", str(32 * MIB)),
    (("--memory-swappiness", "7"), "memory/memory.swappiness", "7"),
    (("--oom-kill-disable", "-m", "64m"), "memory/memory.oom_control", "oom_kill_disable 1"),
    (("--cpus", "0.5"), "cpu/cpu.cfs_quota_us", "50000"),
    (("--cpu-shares", "512"), "cpu/cpu.shares", "512"),
    (("--cpu-period", "50000", "--cpu-quota", "25000"), "cpu/cpu.cfs_period_us", "50000"),
    (("--cpu-quota", "25000"), "cpu/cpu.cfs_quota_us", "25000"),
    (("--cpuset-cpus", "0"), "cpuset/cpuset.cpus", "0"),
    (("--cpuset-mems", "0"), "cpuset/cpuset.mems", "0"),
    (("--pids-limit", "33"), "pids/pids.max", "33"),
]
V2_FILES = [
    (("--memory", "64m"), "memory.max", str(64 * MIB)),
    (("-m", "64m"), "memory.swap.max", str(64 * MIB)),
    (("-m", "64m", "--memory-swap", "64m"), "memory.swap.max", "0"),
    (("-m", "64m", "--memory-reservation", "32m"), "memory.low", str(32 * MIB)),
    (("--cpus", "0.5"), "cpu.max", "50000 100000"),
    (("--cpu-shares", "512"), "cpu.weight", str(weight_of_shares(512))),
    (("--cpu-period", "50000", "--cpu-quota", "25000"), "cpu.max", "25000 50000"),
    (("--cpuset-cpus", "0"), "cpuset.cpus", "0"),
    (("--cpuset-mems", "0"), "cpuset.mems", "0"),
    (("--pids-limit", "33"), "pids.max", "33"),
    (("--cgroup-conf", "memory.high=33554432"), "memory.high", str(32 * MIB)),
]


@pytest.mark.parametrize(("flags", "file", "value"), V1_FILES if version() == 1 else V2_FILES)
def test_a_limit_stands_in_its_file(root_box, flags: tuple[str, ...], file: str, value: str) -> None:
    name = root_box.detached(*flags, "@", "sleep", "100")
    try:
        controller, _, base = file.rpartition("/")
        place = host_directory(controller, f"/crate-{name}")
        assert (place / base).read_text().split("\n")[0].strip() == value
        inside = Path(f"/proc/{root_box.crate.ok('inspect', '-f', '{{.State.Pid}}', name)}/root/sys/fs/cgroup/{file}")
        assert inside.read_text().split("\n")[0].strip() == value
    finally:
        root_box.crate.ok("rm", "-f", name)


@pytest.fixture
def disk() -> str:
    found = sorted(path for path in Path("/sys/block").iterdir() if not path.name.startswith(("loop", "zram", "ram")))
    if not found:
        pytest.skip("this machine has no disk")
    return f"/dev/{found[0].name}"


@pytest.mark.parametrize(
    ("flag", "value", "v1", "v2"),
    [
        ("--device-read-bps", "1mb", "blkio.throttle.read_bps_device", "rbps=1048576"),
        ("--device-write-bps", "2mb", "blkio.throttle.write_bps_device", "wbps=2097152"),
        ("--device-read-iops", "100", "blkio.throttle.read_iops_device", "riops=100"),
        ("--device-write-iops", "200", "blkio.throttle.write_iops_device", "wiops=200"),
    ],
)
def test_a_disk_has_a_rate(root_box, disk: str, flag: str, value: str, v1: str, v2: str) -> None:
    number = os.stat(disk).st_rdev
    device = f"{os.major(number)}:{os.minor(number)}"
    file = f"blkio/{v1}" if version() == 1 else "io.max"
    said = root_box.run(flag, f"{disk}:{value}", "@", "cat", f"/sys/fs/cgroup/{file}")
    if version() == 1:
        assert said == f"{device} {v2.partition('=')[2]}"
    else:
        assert said.startswith(device)
        assert v2 in said


def test_a_weight_of_disks(root_box) -> None:
    done = root_box(
        "--blkio-weight", "300", "@", "sh", "-c", "cat /sys/fs/cgroup/blkio/blkio.bfq.weight /sys/fs/cgroup/io.*weight"
    )
    if done.returncode == 125:
        assert "--blkio-weight cannot be had here: this kernel has no weights of disks" in done.stderr
    else:
        assert set(done.stdout.split()) & {"300", str(weight_of_block_io(300))}


def test_memory_is_held_to_its_limit(root_box) -> None:
    done = root_box("-m", "16m", "--memory-swap", "16m", "@", "sh", "-c", "head -c 64m /dev/zero | tail -c 60m | wc -c; exit 3")
    assert "62914560" not in done.stdout


def test_processes_are_held_to_their_limit(root_box) -> None:
    done = root_box("--pids-limit", "3", "@", "sh", "-c", "for n in 1 2 3 4 5; do sleep 1 & done; wait")
    assert "fork" in done.stderr


def test_the_kernel_kills_the_container_first_that_it_is_told_to(box) -> None:
    assert box.run("--oom-score-adj", "500", "@", "cat", "/proc/self/oom_score_adj") == "500"


def test_dev_shm_has_a_size(box) -> None:
    assert box.run("--shm-size", "1m", "@", "sh", "-c", "df -k /dev/shm | tail -1").split()[1] == "1024"
    assert box.run("sh", "-c", "df -k /dev/shm | tail -1").split()[1] == "65536"


@pytest.fixture
def parent(word: str) -> Iterator[str]:
    """A cgroup for cgroups, removed afterwards with what crate makes of it in every hierarchy."""
    path = f"/tests/{word}"
    yield path
    hierarchies, unified = mounts.find()
    for place in [*(place for _, place in hierarchies), *([unified.mountpoint] if unified else [])]:
        try:
            os.rmdir(place + path)
        except FileNotFoundError:
            pass


def test_the_cgroup_is_made_in_another(root_box, parent: str, until) -> None:
    name = root_box.detached("--cgroup-parent", parent, "@", "sleep", "100")
    try:
        place = host_directory("pids", f"{parent}/crate-{name}")
        assert place.is_dir()
    finally:
        root_box.crate.ok("rm", "-f", name)
    until(lambda: not place.exists())


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("-m", "5m"), "less than 6 MiB"),
        (("-m", "64m", "--memory-swap", "32m"), "--memory-swap 33554432 is below --memory"),
        (("--memory-swap", "64m"), "there is no --memory"),
        (("--cpus", "1", "--cpu-quota", "50000"), "in two ways"),
        (("--cpus", "many"), "--cpus is a number of processors"),
        (("--pids-limit", "-2"), "--pids-limit"),
        (("--oom-score-adj", "1001"), "-1000 to 1000"),
        (("--blkio-weight", "9"), "10 to 1000"),
        (("--memory-swappiness", "101"), "0 to 100"),
        (("--cgroup-parent", "../.."), "not a cgroup"),
        (("--device-read-bps", "/dev/sda"), "PATH:RATE"),
    ],
)
def test_limits_that_cannot_be_are_refused(box, flags: tuple[str, ...], why: str) -> None:
    assert why in box.fails(*flags, "@", "true")
    assert box.crate.ok("ps", "-aq") == ""


def test_what_the_machine_does_not_have_is_refused_before_anything_is_made(root_box) -> None:
    for flags, why in (
        (("--cpus", "5000"), "this machine has"),
        (("--cpuset-cpus", "8000"), "this machine has the processors"),
        (("--cpuset-mems", "900"), "this machine has the memory nodes"),
        (("--device-read-bps", "/dev/null:1m"), "no block device"),
    ):
        assert why in root_box.crate.fails("create", *flags, root_box.image, "true")
    assert root_box.crate.ok("ps", "-aq") == ""


def test_an_ordinary_user_has_limits_where_they_are_delegated(user_box) -> None:
    """Elsewhere each is refused, with the way to get it."""
    for flag, value, file, found in (
        ("--memory", "64m", "memory.max", str(64 * MIB)),
        ("--cpus", "0.5", "cpu.max", "50000 100000"),
        ("--pids-limit", "10", "pids.max", "10"),
    ):
        done = user_box("--network", "none", flag, value, "@", "cat", f"/sys/fs/cgroup/{file}")
        if done.returncode == 125:
            assert f"{flag} cannot be had here" in done.stderr
            assert "systemd-run --user --scope" in done.stderr
        else:
            assert version() == 2
            assert done.stdout.strip() == found


def test_an_ordinary_user_cannot_be_spared(user_box) -> None:
    assert "oom" in user_box.fails("--oom-score-adj", "-500", "@", "true").lower()
