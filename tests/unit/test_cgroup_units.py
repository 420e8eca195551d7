"""cgroupsPath becomes the name of a unit, and limits the properties of one."""

from __future__ import annotations

import pytest

from cratebox.cgroup import model, units
from cratebox.cgroup.units import Unit
from cratebox.errors import InvalidValue

NO_LIMIT = 2**64 - 1
EVERYTHING = {"allow": True, "access": "rwm"}
NOTHING = {"allow": False, "access": "rwm"}


def limits(v2=True, **asked):
    return [(name, value) for name, (_signature, value) in units.of_limits(model.decode(asked), v2)]


@pytest.mark.parametrize(
    ("path", "rootless", "unit"),
    [
        ("machine.slice:libpod:abc", False, Unit("machine.slice", "libpod-abc.scope")),
        (":docker:abc", False, Unit("system.slice", "docker-abc.scope")),
        (":docker:abc", True, Unit("user.slice", "docker-abc.scope")),
        (
            "kubepods-burstable-pod12_3.slice:cri-containerd:x",
            False,
            Unit("kubepods-burstable-pod12_3.slice", "cri-containerd-x.scope"),
        ),
        ("-.slice::x", False, Unit("-.slice", "x.scope")),
    ],
)
def test_a_path_names_a_scope_in_a_slice(path, rootless, unit):
    assert units.parse(path, rootless) == unit


@pytest.mark.parametrize(
    "path",
    [
        "", "/crate/x", "a:b", "a.slice:b:c:d", "a.slice:b:", "a:b:c", "../a.slice:b:c", "a.slice:b/..:c", "a.slice:b:c d",
        "a--b.slice:b:c",
        "-a.slice:b:c", "a-.slice:b:c", "a.slice:b:" + "c" * 250, "a.slice:..:c", "..slice:b:c", "a.slice:b:c\n",
    ],
)  # fmt: skip
def test_a_path_that_is_none_is_refused(path):
    with pytest.raises(InvalidValue, match=r"cgroupsPath|name of a slice"):
        units.parse(path, rootless=False)


def test_a_slice_is_below_those_that_its_name_tells():
    assert units.directory_of("-.slice") == "/"
    assert units.directory_of("a.slice") == "/a.slice"
    assert units.directory_of("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"


def test_memory_of_v2_counts_swap_alone():
    assert limits(memory={"limit": 100, "swap": 150, "reservation": 50}) == [
        ("MemoryMax", 100), ("MemoryLow", 50), ("MemorySwapMax", 50),
    ]  # fmt: skip
    assert limits(memory={"limit": -1}) == [("MemoryMax", NO_LIMIT), ("MemorySwapMax", NO_LIMIT)]
    assert limits(memory={"limit": 100, "swap": -1}) == [("MemoryMax", 100), ("MemorySwapMax", NO_LIMIT)]


def test_memory_of_v1_is_one_limit():
    assert limits(v2=False, memory={"limit": 100, "swap": 150, "reservation": 50}) == [("MemoryLimit", 100)]


def test_processor_time():
    asked = {"shares": 1024, "quota": 50_000, "period": 200_000, "cpus": "0-2,9", "mems": "0"}
    assert limits(cpu=asked) == [
        ("CPUWeight", 100),
        ("CPUQuotaPeriodUSec", 200_000),
        ("CPUQuotaPerSecUSec", 250_000),
        ("AllowedCPUs", bytes([0b111, 0b10])),
        ("AllowedMemoryNodes", b"\1"),
    ]
    assert limits(v2=False, cpu=asked) == [
        ("CPUShares", 1024),
        ("CPUQuotaPeriodUSec", 200_000),
        ("CPUQuotaPerSecUSec", 250_000),
    ]


@pytest.mark.parametrize(
    ("quota", "period", "a_second"),
    [(-1, 100_000, NO_LIMIT), (100_000, 100_000, 1_000_000), (1_001, 100_000, 20_000), (1, 3, 340_000)],
)
def test_a_quota_is_never_less_than_asked_for(quota, period, a_second):
    assert units.quota_a_second(quota, period) == a_second


def test_the_number_of_tasks_and_weights_of_disks():
    assert limits(pids={"limit": -1}, blockIO={"weight": 500}) == [("TasksMax", NO_LIMIT), ("IOWeight", 4950)]
    assert limits(v2=False, pids={"limit": 0}, blockIO={"weight": 500}) == [("TasksMax", 1), ("BlockIOWeight", 500)]


def test_the_files_of_v2_that_systemd_knows():
    assert limits(unified={"memory.high": "5", "memory.swap.max": "max", "hugetlb.2MB.max": "0", "cpu.weight": "x"}) == [
        ("MemoryHigh", 5), ("MemorySwapMax", NO_LIMIT),
    ]  # fmt: skip


@pytest.mark.parametrize("numbers", ["", "a", "3-1", "1-", "-1", "9999", "0,,1"])
def test_a_list_that_is_none_is_refused(numbers):
    with pytest.raises(InvalidValue):
        units.bits(numbers)


def devices(*rules, groups=None):
    found = units.of_devices(model.decode({"devices": list(rules)}).devices, groups or {})
    return {name: value for name, (_signature, value) in found}


def test_a_list_of_allowed_devices_is_systemds():
    rules = (NOTHING, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"},
             {"allow": True, "type": "c", "major": 136, "access": "rwm"}, {"allow": True, "type": "b", "access": "m"},
             {"allow": True, "type": "c", "major": 250, "access": "m"})  # fmt: skip
    assert devices(*rules, groups={("c", 136): "pts"}) == {
        "DevicePolicy": "strict",
        "DeviceAllow": [("/dev/char/1:3", "rw"), ("char-pts", "rwm"), ("block-*", "m")],
    }


@pytest.mark.parametrize(
    "rules",
    [
        (EVERYTHING,),
        (NOTHING, EVERYTHING),
        (
            NOTHING,
            {"allow": True, "type": "c", "major": 1, "minor": 3},
            {"allow": False, "type": "c", "major": 1, "access": "w"},
        ),
        (NOTHING, {"allow": True, "type": "c", "minor": 3}),
    ],
)
def test_what_is_no_such_list_is_left_to_our_own_program(rules):
    assert devices(*rules) == {"DevicePolicy": "auto", "DeviceAllow": []}


def test_the_drivers_of_devices_are_read():
    text = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n259 blkext\n"
    assert units.groups_in(text) == {("c", 1): "mem", ("c", 136): "pts", ("b", 8): "sd", ("b", 259): "blkext"}
