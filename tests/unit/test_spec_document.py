"""A spec with every property of runtime-spec 1.3 is read into records and written again as it was."""

from __future__ import annotations

import pytest

from cratebox import document
from cratebox.errors import InvalidValue
from cratebox.runtime import spec

HOOK = {"path": "/h", "args": ["h"], "env": ["A=b"], "timeout": 3}
MAP = [{"containerID": 0, "hostID": 1000, "size": 5}]
WHOLE = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs", "readonly": True},
    "mounts": [
        {"destination": "/d", "type": "bind", "source": "/s", "options": ["ro"], "uidMappings": MAP, "gidMappings": MAP}
    ],
    "process": {
        "cwd": "/",
        "args": ["a"],
        "env": ["A=b"],
        "terminal": True,
        "consoleSize": {"height": 1, "width": 2},
        "user": {"uid": 1, "gid": 2, "umask": 3, "additionalGids": [4]},
        "capabilities": {"bounding": ["x"], "effective": ["x"], "inheritable": ["x"], "permitted": ["x"], "ambient": ["x"]},
        "rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 2}],
        "noNewPrivileges": True,
        "oomScoreAdj": -5,
        "apparmorProfile": "p",
        "selinuxLabel": "l",
        "scheduler": {
            "policy": "SCHED_OTHER", "nice": 1, "priority": 2, "flags": ["f"], "runtime": 3, "deadline": 4, "period": 5,
        },
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
        "execCPUAffinity": {"initial": "0", "final": "1"},
    },
    "hostname": "h",
    "domainname": "d",
    "hooks": {
        kind: [HOOK]
        for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    },
    "annotations": {"a.b/c_d": "e"},
    "linux": {
        "namespaces": [{"type": "time"}, {"type": "network", "path": "/n"}],
        "uidMappings": MAP,
        "gidMappings": MAP,
        "timeOffsets": {"monotonic": {"secs": -1, "nanosecs": 2}, "boottime": {"secs": 3}},
        "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 2, "fileMode": 3, "uid": 4, "gid": 5}],
        "netDevices": {"eth_0": {"name": "eth1"}, "eth2": {}},
        "cgroupsPath": "/c",
        "rootfsPropagation": "slave",
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/l",
            "listenerMetadata": "m",
            "syscalls": [
                {
                    "names": ["read"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": 0,
                    "args": [{"index": 0, "value": 2**64 - 1, "op": "SCMP_CMP_EQ", "valueTwo": 2}],
                }
            ],
        },
        "sysctl": {"net.a_b": "1"},
        "maskedPaths": ["/m"],
        "readonlyPaths": ["/r"],
        "mountLabel": "l",
        "personality": {"domain": "LINUX32", "flags": ["f"]},
        "intelRdt": {
            "closID": "c", "schemata": ["s"], "l3CacheSchema": "L3:", "memBwSchema": "MB:", "enableMonitoring": True,
            "enableCMT": True, "enableMBM": True,
        },
        "memoryPolicy": {"mode": "m", "nodes": "0", "flags": ["f"]},
        "resources": {
            "devices": [{"allow": True, "type": "c", "major": 1, "minor": 2, "access": "r"}],
            "memory": {
                "limit": 1, "reservation": 2, "swap": 3, "kernel": 4, "kernelTCP": 5, "swappiness": 6, "disableOOMKiller": True,
                "useHierarchy": True, "checkBeforeUpdate": True,
            },
            "cpu": {
                "shares": 1, "quota": 2, "burst": 3, "period": 4, "realtimeRuntime": 5, "realtimePeriod": 6, "cpus": "0",
                "mems": "0", "idle": 1,
            },
            "pids": {"limit": 7},
            "blockIO": {
                "weight": 1,
                "leafWeight": 2,
                "weightDevice": [{"major": 1, "minor": 2, "weight": 3, "leafWeight": 4}],
                **{
                    f"throttle{way}{what}Device": [{"major": 1, "minor": 2, "rate": 3}]
                    for way in ("Read", "Write")
                    for what in ("Bps", "IOPS")
                },
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
            "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 2}]},
            "rdma": {"mlx5_1": {"hcaHandles": 1, "hcaObjects": 2}},
            "unified": {"memory.high": "1"},
        },
    },
}  # fmt: skip


def test_every_property_is_read_and_written_as_it_was():
    read = spec.decode(WHOLE)
    assert document.encode(read) == WHOLE
    assert spec.decode(document.encode(read)) == read


def _records(value):
    if isinstance(value, document.Record):
        yield value
        for one in vars(value).values():
            yield from _records(one)
    elif isinstance(value, (tuple, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _records(one)


def test_no_property_of_the_records_is_missing_above():
    for record in _records(spec.decode(WHOLE)):
        missing = set(type(record)._fields) - vars(record).keys()
        if type(record) in {spec.Namespace, spec.TimeOffset, spec.NetDevice}:
            continue  # each is there twice, whole and with its defaults
        assert not missing, f"{type(record).__name__}: {missing}"


@pytest.mark.parametrize(
    ("linux", "named"),
    [
        ({"netDevices": {"a\nb": 1}}, r"linux.netDevices.a\\nb must be an object"),
        ({"timeOffsets": {"boottime": {"secs": 0.5}}}, "linux.timeOffsets.boottime.secs must be an integer"),
        ({"sysctl": {"x": 1}}, "linux.sysctl.x must be a string"),
        ({"seccomp": {"defaultAction": "x", "syscalls": [{"names": ["a"]}]}}, r"linux.seccomp.syscalls\[0\].action is missing"),
    ],
)
def test_what_is_of_the_wrong_kind_is_named_by_its_place(linux, named):
    with pytest.raises(InvalidValue, match=named) as told:
        spec.decode({"ociVersion": "1.3.0", "linux": linux})
    assert "\n" not in told.value.message
