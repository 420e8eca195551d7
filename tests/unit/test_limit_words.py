"""The flags that limit: each by itself, together, and in the OCI's words."""

from __future__ import annotations

import pytest

from cratebox.cgroup.model import CPU, BlockIO, Memory, Pids, ThrottleDevice, WeightDevice
from cratebox.engine import capacity, limit_words, limits
from cratebox.engine.capacity import Capacity
from cratebox.engine.config import DeviceLimit, Limits
from cratebox.errors import InvalidValue, Unsupported

MIB = 1 << 20
V1 = Capacity(
    version=1, controllers=frozenset(("memory", "cpu", "cpuset", "pids", "blkio")), counts_swap=True, cpus="0-1", mems="0"
)
V2 = V1.replace(version=2, controllers=frozenset(("memory", "cpu", "cpuset", "pids", "io")))


@pytest.mark.parametrize(
    ("text", "nano"),
    [("1", 10**9), ("1.5", 1_500_000_000), (".5", 500_000_000), ("2.", 2 * 10**9), ("0", None), ("0.000000001", 1)],
)
def test_cpus_are_billionths_of_a_processor(text: str, nano: int | None) -> None:
    assert limit_words.nano_cpus(text) == nano


@pytest.mark.parametrize("text", ["", ".", "-1", "1e3", "1,5", "0.0000000001", "inf", "\uff11", "999999"])
def test_other_numbers_of_processors_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        limit_words.nano_cpus(text)


@pytest.mark.parametrize(("text", "expected"), [("0", {0}), ("0-2,4", {0, 1, 2, 4}), ("3,1", {1, 3})])
def test_a_list_is_a_set_of_numbers(text: str, expected: set[int]) -> None:
    assert limit_words.numbers(text, "--cpuset-cpus") == expected


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "2-1", "0,,1", "99999999", "0 1"])
def test_other_lists_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        limit_words.numbers(text, "--cpuset-cpus")


def test_a_rate_has_a_disk_and_bytes_or_a_number() -> None:
    assert limit_words.device_rate("/dev/sda:1mb", "--device-read-bps") == DeviceLimit("/dev/sda", MIB)
    assert limit_words.device_rate("/dev/disk/by-path/a:b:100", "--device-read-iops") == DeviceLimit(
        "/dev/disk/by-path/a:b", 100
    )
    for text in ("/dev/sda", "/dev/sda:", "/dev/sda:0", "sda:1", "/dev/../etc:1", "/dev/sda:-1", "/dev/sda:1x"):
        with pytest.raises(InvalidValue):
            limit_words.device_rate(text, "--device-read-bps")
    with pytest.raises(InvalidValue):
        limit_words.device_rate("/dev/sda:1mb", "--device-read-iops")


def test_a_weight_of_a_disk_is_10_to_1000() -> None:
    assert limit_words.device_weight("/dev/sda:10") == DeviceLimit("/dev/sda", 10)
    for text in ("/dev/sda:9", "/dev/sda:1001", "/dev/sda"):
        with pytest.raises(InvalidValue):
            limit_words.device_weight(text)


def test_nothing_is_no_limit() -> None:
    assert limit_words.memory("0", "--memory") is None
    assert limit_words.pids("0") == limit_words.pids("-1") == -1
    assert limit_words.quota("0") is None


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (Limits(memory=6 * MIB - 1), "6 MiB"),
        (Limits(memory_reservation=5 * MIB), "6 MiB"),
        (Limits(memory_swap=64 * MIB), "no --memory"),
        (Limits(memory=64 * MIB, memory_swap=63 * MIB), "below --memory"),
        (Limits(memory=64 * MIB, memory_reservation=65 * MIB), "above --memory"),
        (Limits(nano_cpus=10**9, cpu_quota=1000), "--cpu-quota"),
        (Limits(nano_cpus=10**9, cpu_period=1000), "--cpu-period"),
        (Limits(nano_cpus=9_999_999), "0.01"),
        (Limits(cpu_period=999), "1000"),
        (Limits(cpu_period=1_000_001), "1000000"),
        (Limits(cpu_quota=999), "1000"),
        (Limits(cpuset_cpus="a"), "list"),
    ],
)
def test_limits_that_cannot_be_are_refused(wrong: Limits, why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        limits.check(wrong)


def test_swap_may_be_unlimited_or_none() -> None:
    limits.check(Limits(memory=64 * MIB, memory_swap=-1))
    limits.check(Limits(memory=64 * MIB, memory_swap=64 * MIB))
    limits.check(Limits(memory_swap=-1))


def test_memory_and_swap_are_twice_memory_unless_said() -> None:
    assert limits.resources(Limits(memory=64 * MIB), {}).memory == Memory(limit=64 * MIB, swap=128 * MIB)
    assert limits.resources(Limits(memory=64 * MIB), {}, counts_swap=False).memory == Memory(limit=64 * MIB)
    assert limits.resources(Limits(memory=64 * MIB, memory_swap=-1), {}).memory == Memory(limit=64 * MIB, swap=-1)
    assert limits.resources(Limits(memory=-1), {}).memory == Memory(limit=-1)


def test_cpus_are_a_quota_in_a_tenth_of_a_second() -> None:
    assert limits.resources(Limits(nano_cpus=1_500_000_000), {}).cpu == CPU(quota=150_000, period=100_000)


def test_disks_become_numbers() -> None:
    wanted = Limits(blkio_weight=500, weight_devices=(DeviceLimit("/dev/a", 100),), write_iops=(DeviceLimit("/dev/b", 7),))
    assert limits.disks_in(wanted) == {"/dev/a", "/dev/b"}
    assert limits.resources(wanted, {"/dev/a": (8, 0), "/dev/b": (8, 16)}).block_io == BlockIO(
        weight=500, weight_device=(WeightDevice(8, 0, 100),), throttle_write_iops_device=(ThrottleDevice(8, 16, 7),)
    )


def test_what_was_not_said_is_not_there() -> None:
    found = limits.resources(Limits(pids=10), {})
    assert (found.memory, found.cpu, found.block_io, found.pids) == (None, None, None, Pids(10))


def test_a_limit_that_cannot_be_had_is_refused_by_the_name_of_its_flag() -> None:
    nothing = Capacity(version=0, controllers=frozenset(), reason="no cgroup has been delegated", hint="systemctl ...")
    with pytest.raises(Unsupported, match=r"--memory cannot be had here: no cgroup has been delegated") as caught:
        capacity.check(Limits(memory=64 * MIB), nothing)
    assert caught.value.hint == "systemctl ..."
    for here, wanted, why in (
        (V1.replace(controllers=frozenset(("cpu",))), Limits(pids=1), "--pids-limit cannot be had here: the pids controller"),
        (V1.replace(counts_swap=False), Limits(memory_swap=-1), "--memory-swap cannot be had here: .* swap"),
        (V2, Limits(memory_swappiness=1), "--memory-swappiness cannot be had here: cgroup v2"),
        (V2, Limits(blkio_weight=10), "--blkio-weight cannot be had here: .* weights"),
        (V1, Limits(unified={"memory.high": "1"}), "--cgroup-conf cannot be had here: .* v1"),
    ):
        with pytest.raises(Unsupported, match=why):
            capacity.check(wanted, here)


def test_what_the_machine_does_not_have_is_refused() -> None:
    for wanted, why in (
        (Limits(cpuset_cpus="0-2"), "processors 0-1"),
        (Limits(cpuset_mems="1"), "memory nodes 0"),
        (Limits(nano_cpus=9000 * 10**9), "--cpus 9000"),
        (Limits(read_bps=(DeviceLimit("/dev/null", 1),)), "no block device"),
        (Limits(read_bps=(DeviceLimit("/dev/not-there", 1),)), "No such file"),
    ):
        with pytest.raises(InvalidValue, match=why):
            capacity.check(wanted, V1)
