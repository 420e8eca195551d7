"""OCI numbers become the right files and values, or an error that names them."""

from __future__ import annotations

import pytest

from cratebox.cgroup.resources import for_v1, for_v2, limits_in, weight_of
from cratebox.errors import InvalidValue, Unsupported

MIB = 1 << 20


def test_nothing_asked_for_writes_nothing():
    for empty in ({}, {"memory": {}, "cpu": {}, "pids": {}, "devices": [], "blockIO": {}, "hugepageLimits": []}):
        assert for_v1(empty) == []
        assert for_v2(empty) == []


def test_memory_in_v1_is_limit_then_limit_with_swap():
    assert for_v1({"memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB}}) == [
        ("memory", "memory.limit_in_bytes", str(64 * MIB)),
        ("memory", "memory.memsw.limit_in_bytes", str(96 * MIB)),
        ("memory", "memory.soft_limit_in_bytes", str(32 * MIB)),
    ]


def test_memory_in_v2_counts_swap_alone():
    assert for_v2({"memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB}}) == [
        ("memory.max", str(64 * MIB)),
        ("memory.swap.max", str(32 * MIB)),
        ("memory.low", str(32 * MIB)),
    ]


def test_no_swap_at_all_is_zero_in_v2():
    assert for_v2({"memory": {"limit": MIB, "swap": MIB}}) == [("memory.max", str(MIB)), ("memory.swap.max", "0")]


def test_minus_one_is_no_limit():
    asked = {"memory": {"limit": -1, "swap": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}}
    assert for_v2(asked) == [("memory.max", "max"), ("memory.swap.max", "max"), ("cpu.max", "max 100000"), ("pids.max", "max")]
    assert ("memory", "memory.limit_in_bytes", "-1") in for_v1(asked)
    assert ("pids", "pids.max", "max") in for_v1(asked)


def test_processor_time_in_v1_is_period_then_quota():
    assert for_v1({"cpu": {"shares": 512, "quota": 50000, "period": 200000, "cpus": "0-1", "mems": "0"}}) == [
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_period_us", "200000"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpuset", "cpuset.cpus", "0-1"),
        ("cpuset", "cpuset.mems", "0"),
    ]


def test_processor_time_in_v2_is_one_file():
    assert for_v2({"cpu": {"quota": 50000}}) == [("cpu.max", "50000 100000")]
    assert for_v2({"cpu": {"quota": 50000, "period": 20000}}) == [("cpu.max", "50000 20000")]
    assert for_v2({"cpu": {"period": 20000}}) == [("cpu.max", "max 20000")]


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262144, 10000), (1, 1), (10**6, 10000)])
def test_shares_become_weights(shares, weight):
    assert weight_of(shares) == weight


def test_the_unified_map_goes_to_v2_as_it_is():
    assert for_v2({"unified": {"memory.high": "1000000", "hugetlb.2MB.max": "0"}}) == [
        ("memory.high", "1000000"),
        ("hugetlb.2MB.max", "0"),
    ]


@pytest.mark.parametrize("file", ["../x.y", "cgroup.procs", "memory", ".memory", "memory.max/..", "a\nb.c", ""])
def test_the_unified_map_reaches_controllers_files_only(file):
    with pytest.raises(InvalidValue):
        for_v2({"unified": {file: "1"}})


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"blockIO": {"weight": 10}}, "blockIO"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, "hugepageLimits"),
        ({"network": {"classID": 1}}, "network"),
        ({"rdma": {"mlx": {"hcaHandles": 3}}}, "rdma"),
        ({"memory": {"kernel": 1}}, "memory.kernel"),
        ({"cpu": {"realtimeRuntime": 1}}, "cpu.realtimeRuntime"),
    ],
)
def test_what_cannot_be_set_is_refused_by_name(asked, named):
    for translate in (for_v1, for_v2):
        with pytest.raises(Unsupported, match=named):
            translate(asked)


def test_what_only_one_version_has_is_refused_by_the_other():
    with pytest.raises(Unsupported, match="unified"):
        for_v1({"unified": {"memory.high": "1"}})
    for field, value in (("swappiness", 10), ("disableOOMKiller", True)):
        with pytest.raises(Unsupported, match=field):
            for_v2({"memory": {field: value}})
    assert for_v2({"memory": {"disableOOMKiller": False}}) == []


@pytest.mark.parametrize(
    "asked",
    [
        {"memory": {"limit": "64m"}},
        {"memory": {"limit": -2}},
        {"memory": {"limit": True}},
        {"memory": {"limit": 1 << 64}},
        {"memory": []},
        {"memory": {"swap": MIB}},
        {"memory": {"limit": 2 * MIB, "swap": MIB}},
        {"cpu": {"shares": -1}},
        {"cpu": {"period": 1.5}},
        {"cpu": {"cpus": "all"}},
        {"cpu": {"cpus": "0\n1"}},
        {"pids": {"limit": None, "x": 1}, "cpu": 3},
    ],
)
def test_values_that_are_none_are_refused(asked):
    for translate in (for_v1, for_v2):
        with pytest.raises(InvalidValue):
            translate(asked)


def test_limits_are_named_for_a_machine_that_can_set_none():
    asked = {"memory": {"limit": 1, "disableOOMKiller": False}, "pids": {"limit": 5}, "devices": [{"allow": False}]}
    assert limits_in(asked) == ["memory.limit", "pids.limit"]
    assert limits_in({"memory": {}, "cpu": None, "hugepageLimits": []}) == limits_in(None) == []
