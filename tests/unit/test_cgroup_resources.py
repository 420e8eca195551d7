"""OCI numbers become the right files and values of v1 and v2, or an error that names them."""

from __future__ import annotations

import pytest

from cratebox import document
from cratebox.cgroup import files_v1, files_v2, model
from cratebox.cgroup.resources import check
from cratebox.errors import InvalidValue, Unsupported
from cratebox.runtime import spec

MIB = 1 << 20


def for_v1(asked):
    resources = model.decode(asked)
    check(resources)
    return [(one.controller, one.file, one.value) for one in files_v1.for_v1(resources)]


def for_v2(asked):
    resources = model.decode(asked)
    check(resources)
    return [(one.file, one.value) for one in files_v2.for_v2(resources)]


def test_nothing_asked_for_writes_nothing():
    for empty in ({}, {"memory": {}, "cpu": {}, "pids": {}, "devices": [], "blockIO": {}, "hugepageLimits": [], "rdma": {}}):
        assert for_v1(empty) == []
        assert for_v2(empty) == []


def test_every_property_comes_back_as_it_was_written():
    asked = {
        "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}],
        "memory": {"limit": 1, "reservation": 2, "swap": 3, "kernel": -1, "kernelTCP": -1, "swappiness": 0,
                   "disableOOMKiller": False, "useHierarchy": True, "checkBeforeUpdate": True},
        "cpu": {"shares": 2, "quota": -1, "burst": 0, "period": 5, "realtimeRuntime": 6, "realtimePeriod": 7, "cpus": "0",
                "mems": "0", "idle": 1},
        "pids": {"limit": 0},
        "blockIO": {"weight": 10, "leafWeight": 20, "weightDevice": [{"major": 8, "minor": 0, "weight": 30, "leafWeight": 40}],
                    **{f"throttle{name}Device": [{"major": 8, "minor": 0, "rate": 5}]
                       for name in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")}},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]},
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
        "unified": {"memory.high": "5"},
    }  # fmt: skip
    resources = model.decode(asked)
    check(resources)
    assert document.encode(resources) == asked
    assert len(model.limits_in(resources)) == 25  # all but devices, useHierarchy, checkBeforeUpdate, and what is false or -1


def test_memory_in_v1_is_limit_and_limit_with_swap():
    assert for_v1({"memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB, "kernelTCP": 7}}) == [
        ("memory", "memory.limit_in_bytes", str(64 * MIB)),
        ("memory", "memory.memsw.limit_in_bytes", str(96 * MIB)),
        ("memory", "memory.soft_limit_in_bytes", str(32 * MIB)),
        ("memory", "memory.kmem.tcp.limit_in_bytes", "7"),
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
    assert for_v2(asked) == [("memory.max", "max"), ("memory.swap.max", "max"), ("cpu.max", "max"), ("pids.max", "max")]
    assert ("memory", "memory.limit_in_bytes", "-1") in for_v1(asked)
    assert ("pids", "pids.max", "max") in for_v1(asked)


def test_memory_without_limit_is_without_limit_of_swap_too():
    assert ("memory", "memory.memsw.limit_in_bytes", "-1") in for_v1({"memory": {"limit": -1}})
    assert ("memory.swap.max", "max") in for_v2({"memory": {"limit": -1}})


def test_a_limit_of_no_processes_is_one_and_none_is_none():
    assert for_v1({"pids": {"limit": 0}}) == [("pids", "pids.max", "0")]
    assert for_v2({"pids": {"limit": 0}}) == [("pids.max", "0")]
    assert for_v1({"pids": {}}) == []


@pytest.mark.parametrize(("version", "limit"), [("1.0.2-dev", -1), ("1.2.0", -1), ("1.3.0", 0), ("1.4.0", 0)])
def test_before_1_3_a_limit_of_no_processes_was_none(version, limit):
    parsed = {"ociVersion": version, "linux": {"resources": {"pids": {"limit": 0}}}}
    assert spec.decode(parsed).linux.resources.pids.limit == limit


def test_processor_time_in_v1_is_a_file_each():
    assert for_v1({"cpu": {"shares": 512, "quota": 50000, "period": 200000, "burst": 1, "cpus": "0-1", "mems": "0"}}) == [
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_period_us", "200000"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpu", "cpu.cfs_burst_us", "1"),
        ("cpuset", "cpuset.cpus", "0-1"),
        ("cpuset", "cpuset.mems", "0"),
    ]
    assert for_v1({"cpu": {"realtimeRuntime": 3, "realtimePeriod": 4, "idle": 1}}) == [
        ("cpu", "cpu.rt_period_us", "4"),
        ("cpu", "cpu.rt_runtime_us", "3"),
        ("cpu", "cpu.idle", "1"),
    ]


def test_processor_time_in_v2_is_one_file():
    assert for_v2({"cpu": {"quota": 50000}}) == [("cpu.max", "50000")]
    assert for_v2({"cpu": {"quota": 50000, "period": 20000}}) == [("cpu.max", "50000 20000")]
    assert for_v2({"cpu": {"period": 20000}}) == [("cpu.max", "max 20000")]
    assert for_v2({"cpu": {"burst": 5, "idle": 1, "cpus": "0"}}) == [
        ("cpu.max.burst", "5"), ("cpu.idle", "1"), ("cpuset.cpus", "0"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shares", "weight"), [(1, 1), (2, 1), (256, 35), (512, 59), (1024, 100), (2048, 174), (262144, 10000), (10**6, 10000)]
)
def test_shares_become_weights_and_the_default_the_default(shares, weight):
    assert files_v2.weight_of_shares(shares) == weight
    assert for_v2({"cpu": {"shares": shares}}) == [("cpu.weight", str(weight))]


@pytest.mark.parametrize(("weight", "converted"), [(10, 1), (500, 4950), (1000, 10000)])
def test_weights_of_disks_are_the_schedulers_or_converted(weight, converted):
    write = files_v2.for_v2(model.decode({"blockIO": {"weight": weight}}))[0]
    assert (write.file, write.value) == ("io.bfq.weight", str(weight))
    assert (write.otherwise.file, write.otherwise.value) == ("io.weight", str(converted))
    write = files_v1.for_v1(model.decode({"blockIO": {"weightDevice": [{"major": 8, "minor": 1, "weight": weight}]}}))[0]
    assert (write.file, write.value) == ("blkio.bfq.weight_device", f"8:1 {weight}")
    assert (write.otherwise.file, write.otherwise.value) == ("blkio.weight_device", f"8:1 {weight}")


def test_rates_of_disks():
    asked = {
        "blockIO": {
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}],
        }
    }
    assert for_v1(asked) == [
        ("blkio", "blkio.throttle.read_bps_device", "8:0 600"),
        ("blkio", "blkio.throttle.write_iops_device", "8:16 0"),
    ]
    assert for_v2(asked) == [("io.max", "8:0 rbps=600"), ("io.max", "8:16 wiops=max")]


def test_huge_pages_are_limited_in_use_and_in_reserve():
    asked = {"hugepageLimits": [{"pageSize": "2MB", "limit": 209715200}]}
    assert for_v1(asked) == [
        ("hugetlb", "hugetlb.2MB.limit_in_bytes", "209715200"),
        ("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "209715200"),
    ]
    assert for_v2(asked) == [("hugetlb.2MB.max", "209715200"), ("hugetlb.2MB.rsvd.max", "209715200")]


def test_the_network_of_v1():
    asked = {"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}, {"name": "lo", "priority": 0}]}}
    assert for_v1(asked) == [
        ("net_cls", "net_cls.classid", "1048577"),
        ("net_prio", "net_prio.ifpriomap", "eth0 500"),
        ("net_prio", "net_prio.ifpriomap", "lo 0"),
    ]


def test_rdma_is_a_line_a_device_in_both():
    asked = {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10}, "mlx4": {"hcaObjects": 0}}}
    assert for_v1(asked) == [
        ("rdma", "rdma.max", "mlx5_1 hca_handle=3 hca_object=10"),
        ("rdma", "rdma.max", "mlx4 hca_object=0"),
    ]
    assert for_v2(asked) == [("rdma.max", "mlx5_1 hca_handle=3 hca_object=10"), ("rdma.max", "mlx4 hca_object=0")]


def test_the_unified_map_goes_to_v2_line_by_line():
    assert for_v2({"unified": {"memory.high": "1000000", "io.max": "8:0 rbps=1\n8:16 rbps=2\n", "cgroup.max.depth": "3"}}) == [
        ("memory.high", "1000000"),
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:16 rbps=2"),
        ("cgroup.max.depth", "3"),
    ]


@pytest.mark.parametrize(
    "file",
    ["../x.y", "cgroup.procs", "cgroup.subtree_control", "cgroup.freeze", "memory", ".memory", "memory.max/..", "a\nb.c", ""],
)
def test_the_unified_map_reaches_controllers_files_only(file):
    with pytest.raises(InvalidValue):
        for_v2({"unified": {file: "1"}})


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"unified": {"memory.high": "1"}}, "resources.unified"),
        ({"memory": {"kernel": 1}}, "memory.kernel"),
        ({"memory": {"useHierarchy": False}}, "memory.useHierarchy"),
    ],
)
def test_what_v1_has_not_is_refused_by_name(asked, named):
    with pytest.raises(Unsupported, match=named):
        for_v1(asked)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"memory": {"kernel": 1}}, "memory.kernel"),
        ({"memory": {"kernelTCP": 1}}, "memory.kernelTCP"),
        ({"memory": {"swappiness": 0}}, "memory.swappiness"),
        ({"memory": {"disableOOMKiller": True}}, "memory.disableOOMKiller"),
        ({"memory": {"useHierarchy": False}}, "memory.useHierarchy"),
        ({"cpu": {"realtimeRuntime": 1}}, "cpu.realtimeRuntime"),
        ({"blockIO": {"leafWeight": 10}}, "blockIO.leafWeight"),
        ({"network": {"classID": 1}}, "resources.network"),
        ({"network": {"priorities": [{"name": "lo", "priority": 1}]}}, "resources.network"),
    ],
)
def test_what_v2_has_not_is_refused_by_name(asked, named):
    with pytest.raises(Unsupported, match=named):
        for_v2(asked)


def test_what_is_off_anyway_is_no_wish():
    asked = {"memory": {"disableOOMKiller": False, "kernel": -1, "kernelTCP": -1, "useHierarchy": True}}
    assert for_v2(asked) == []
    assert for_v1(asked) == [("memory", "memory.kmem.tcp.limit_in_bytes", "-1"), ("memory", "memory.oom_control", "0")]


def test_swap_alone_is_for_an_update_of_v1():
    assert for_v1({"memory": {"swap": MIB}}) == [("memory", "memory.memsw.limit_in_bytes", str(MIB))]
    with pytest.raises(InvalidValue, match=r"needs memory.limit"):
        for_v2({"memory": {"swap": MIB}})


@pytest.mark.parametrize(
    "asked",
    [
        {"memory": {"limit": "64m"}},
        {"memory": {"limit": -2}},
        {"memory": {"limit": True}},
        {"memory": {"limit": 1 << 64}},
        {"memory": {"limit": 1 << 63}},
        {"memory": {"swappiness": 201}},
        {"memory": []},
        {"memory": {"limit": 2 * MIB, "swap": MIB}},
        {"memory": {"limit": -1, "swap": MIB}},
        {"cpu": {"shares": -1}},
        {"cpu": {"idle": 2}},
        {"cpu": {"period": 1.5}},
        {"cpu": {"cpus": "all"}},
        {"cpu": {"cpus": "0\n1"}},
        {"pids": {"limit": None, "x": 1}, "cpu": 3},
        {"pids": {"limit": -2}},
        {"blockIO": {"weight": 9}},
        {"blockIO": {"weight": 1001}},
        {"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}},
        {"blockIO": {"weightDevice": [{"major": 8, "weight": 10}]}},
        {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": -1, "rate": 3}]}},
        {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": -3}]}},
        {"hugepageLimits": [{"pageSize": "2mb", "limit": 0}]},
        {"hugepageLimits": [{"pageSize": "../2MB", "limit": 0}]},
        {"hugepageLimits": [{"pageSize": "MB", "limit": 0}]},
        {"hugepageLimits": [{"pageSize": "2MB", "limit": -1}]},
        {"hugepageLimits": [{"pageSize": "2MB"}]},
        {"network": {"classID": 1 << 32}},
        {"network": {"priorities": [{"name": "eth0 5", "priority": 1}]}},
        {"network": {"priorities": [{"name": "", "priority": 1}]}},
        {"rdma": {"mlx": {}}},
        {"rdma": {"mlx": {"hcaHandles": -1}}},
        {"rdma": {"mlx 5": {"hcaHandles": 1}}},
        {"unified": {"memory.high": 5}},
        {"unified": {"memory.high": "5\x00"}},
    ],
)
def test_values_that_are_none_are_refused(asked):
    with pytest.raises(InvalidValue):
        check(model.decode(asked))


def test_limits_are_named_for_a_machine_that_can_set_none():
    asked = {"memory": {"limit": 1, "disableOOMKiller": False}, "pids": {"limit": 5}, "devices": [{"allow": False}]}
    assert model.limits_in(model.decode(asked)) == ["memory.limit", "pids.limit"]
    assert model.limits_in(model.decode({"memory": {}, "cpu": None, "hugepageLimits": []})) == model.limits_in(None) == []
