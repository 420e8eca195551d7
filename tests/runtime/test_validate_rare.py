"""Properties that few specs have: what is wrong with them by itself is refused, by name, before anything exists."""

from __future__ import annotations

import json

import pytest
from test_validate import changed

from cratebox.errors import InvalidValue, Unsupported
from cratebox.linux import caps
from cratebox.runtime import spec, validate

NEW_TIME = {"type": "time"}
FIFO = {"policy": "SCHED_FIFO", "priority": 10}
DEADLINE = {"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 5_000_000, "period": 5_000_000}
HOOK = {"path": "/bin/true"}
BIND = {"mode": "MPOL_BIND", "nodes": "0"}
WRONG = [
    ("ociVersion", "1.0", "ociVersion '1.0' is not a version"),
    ("ociVersion", "1.x.0", "ociVersion '1.x.0' is not a version"),
    ("ociVersion", "2.0.0", "ociVersion '2.0.0': this version of crate does 1.0.0 to 1.3.0"),
    ("ociVersion", "1.4.0", "ociVersion '1.4.0'"),
    ("ociVersion", "0.9.0", "ociVersion '0.9.0'"),
    ("ociVersion", "1.99999999999999999999.0", "ociVersion"),
    # hooks
    ("hooks.prestart", [{"path": "bin/x"}], r"hooks.prestart\[0\].path 'bin/x' is not absolute"),
    ("hooks.prestart", [{}], r"hooks.prestart\[0\].path is missing"),
    ("hooks.poststop", [HOOK, HOOK | {"timeout": 0}], r"hooks.poststop\[1\].timeout 0"),
    ("hooks.createRuntime", [HOOK | {"timeout": -1}], r"hooks.createRuntime\[0\].timeout -1"),
    ("hooks.createContainer", [HOOK | {"timeout": "1"}], r"hooks.createContainer\[0\].timeout must be an integer"),
    ("hooks.startContainer", [HOOK | {"env": ["X"]}], r"hooks.startContainer\[0\].env has 'X'"),
    ("hooks.poststart", [HOOK | {"args": ["\ud800"]}], r"hooks.poststart\[0\].args"),
    ("hooks.poststart", HOOK, r"hooks.poststart must be a list"),
    # scheduler
    ("process.scheduler", {}, "process.scheduler.policy is missing"),
    ("process.scheduler", {"policy": "FIFO"}, "process.scheduler.policy 'FIFO'"),
    ("process.scheduler", {"policy": "SCHED_ISO"}, "process.scheduler.policy SCHED_ISO was never done"),
    ("process.scheduler", {"policy": "SCHED_FIFO"}, "process.scheduler.priority 0"),
    ("process.scheduler", {"policy": "SCHED_RR", "priority": 100}, "process.scheduler.priority 100"),
    ("process.scheduler", {"policy": "SCHED_OTHER", "priority": 1}, "process.scheduler.priority 1 means nothing"),
    ("process.scheduler", {"policy": "SCHED_OTHER", "nice": 20}, "process.scheduler.nice 20"),
    ("process.scheduler", FIFO | {"nice": 1}, "process.scheduler.nice 1 means nothing"),
    ("process.scheduler", FIFO | {"period": 1}, "period mean nothing to SCHED_FIFO"),
    ("process.scheduler", FIFO | {"flags": ["RESET"]}, "process.scheduler.flags 'RESET'"),
    ("process.scheduler", FIFO | {"flags": ["SCHED_FLAG_UTIL_CLAMP_MIN"]}, "SCHED_FLAG_UTIL_CLAMP_MIN"),
    ("process.scheduler", DEADLINE | {"runtime": 0}, "0 < runtime"),
    ("process.scheduler", DEADLINE | {"deadline": 6_000_000}, "runtime <= deadline <= period"),
    ("process.scheduler", DEADLINE | {"runtime": -1}, "process.scheduler.runtime -1"),
    ("process.ioPriority", {"class": "RT"}, "process.ioPriority.class 'RT'"),
    ("process.ioPriority", {"priority": 1}, "process.ioPriority.class is missing"),
    ("process.ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 8}, "process.ioPriority.priority 8"),
    ("process.execCPUAffinity", {"initial": "0-"}, "process.execCPUAffinity.initial '0-'"),
    ("process.execCPUAffinity", {"final": "3-1"}, "process.execCPUAffinity.final '3-1'"),
    ("process.execCPUAffinity", {"final": "0,,1"}, "process.execCPUAffinity.final '0,,1'"),
    ("process.execCPUAffinity", {"final": "99999"}, "process.execCPUAffinity.final '99999'"),
    ("process.apparmorProfile", "a\nb", "process.apparmorProfile"),
    ("process.selinuxLabel", "a\x1bb", "process.selinuxLabel"),
    # namespaces and what belongs to them
    ("linux.namespaces.0", {"type": "junk"}, r"linux.namespaces\[0\].type 'junk'"),
    ("linux.namespaces.0", {"type": "mount"}, "linux.namespaces has mount twice"),
    ("linux.namespaces.5", {"type": "network", "path": "proc/1/ns/net"}, r"linux.namespaces\[5\].path 'proc/1/ns/net'"),
    ("linux.uidMappings", [{"containerID": 0, "hostID": 1, "size": 1}], "uidMappings and gidMappings without a user namespace"),
    ("linux.timeOffsets", {"boottime": {"secs": 1}}, "linux.timeOffsets without a time namespace"),
    ("linux.timeOffsets", {"realtime": {"secs": 1}}, "linux.timeOffsets has the clock 'realtime'"),
    ("linux.timeOffsets", {"boottime": {"nanosecs": 10**9}}, "linux.timeOffsets.boottime.nanosecs 1000000000"),
    ("linux.timeOffsets", {"boottime": 1}, "linux.timeOffsets.boottime must be an object"),
    ("linux.netDevices", {"a/b": {}}, "linux.netDevices 'a/b'"),
    ("linux.netDevices", {"": {}}, "linux.netDevices ''"),
    ("linux.netDevices", {"sixteen-letters-": {}}, "linux.netDevices 'sixteen-letters-'"),
    ("linux.netDevices", {"eth7": {"name": "a b"}}, "linux.netDevices.eth7.name 'a b'"),
    ("linux.netDevices", {"eth7": {"name": "%d%d"}}, "linux.netDevices.eth7.name"),
    ("linux.netDevices", {"eth7": {"name": "%s"}}, "linux.netDevices.eth7.name"),
    ("linux.netDevices", {"eth7": {"name": "x"}, "eth8": {"name": "x"}}, "two of them would be called 'x'"),
    ("linux.sysctl", {"vm.swappiness": "1"}, "linux.sysctl 'vm.swappiness' belongs to no namespace"),
    ("linux.sysctl", {"net.../../x": "1"}, "linux.sysctl 'net.../../x' is no name"),
    ("linux.sysctl", {"net/../vm/swappiness": "1"}, "linux.sysctl 'net/../vm/swappiness' is no name"),
    ("linux.sysctl", {"": "1"}, "linux.sysctl '' is no name"),
    ("linux.personality", {"domain": "BSD"}, "linux.personality.domain 'BSD'"),
    ("linux.personality", {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}, "linux.personality.flags has 'ADDR_NO_"),
    ("linux.memoryPolicy", {"mode": "BIND"}, "linux.memoryPolicy.mode 'BIND'"),
    ("linux.memoryPolicy", {"mode": "MPOL_BIND"}, "linux.memoryPolicy.nodes is missing"),
    ("linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "a"}, "linux.memoryPolicy.nodes 'a'"),
    ("linux.memoryPolicy", {"mode": "MPOL_DEFAULT", "nodes": "0"}, "MPOL_DEFAULT takes neither nodes nor flags"),
    ("linux.memoryPolicy", {"mode": "MPOL_LOCAL", "flags": ["MPOL_F_STATIC_NODES"]}, "MPOL_LOCAL takes neither"),
    ("linux.memoryPolicy", BIND | {"flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}, "exclude each other"),
    ("linux.memoryPolicy", BIND | {"mode": "MPOL_INTERLEAVE", "flags": ["MPOL_F_NUMA_BALANCING"]}, "means nothing to"),
    ("linux.memoryPolicy", BIND | {"flags": ["X"]}, "linux.memoryPolicy.flags 'X'"),
    ("linux.intelRdt", {"closID": "../x"}, "linux.intelRdt.closID '../x'"),
    ("linux.intelRdt", {"closID": "mon_groups"}, "linux.intelRdt.closID 'mon_groups'"),
    ("linux.intelRdt", {"l3CacheSchema": "MB:0=1"}, "linux.intelRdt.l3CacheSchema"),
    ("linux.intelRdt", {"memBwSchema": "MB:0=1\nL3:0=1"}, "linux.intelRdt.memBwSchema"),
    ("linux.intelRdt", {"schemata": [""]}, r"linux.intelRdt.schemata\[0\]"),
    # seccomp
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}, "listenerMetadata without"),
    (
        "linux.seccomp",
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["sync"], "action": "SCMP_ACT_NOTIFY"}]},
        "SCMP_ACT_NOTIFY without seccomp.listenerPath",
    ),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"}, "seccomp.defaultAction: SCMP_ACT_NOTIFY"),
    (
        "linux.seccomp",
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": "/x",
            "syscalls": [{"names": ["sendmsg"], "action": "SCMP_ACT_NOTIFY"}],
        },
        "SCMP_ACT_NOTIFY for sendmsg",
    ),
]


@pytest.mark.parametrize(("where", "value", "named"), WRONG)
def test_a_wrong_property_is_named(where, value, named):
    with pytest.raises((InvalidValue, Unsupported), match=named) as told:
        validate.validate(spec.decode(changed(where, value)))
    assert told.value.message.startswith("spec: ")
    assert "\n" not in told.value.message


@pytest.mark.parametrize("number", range(0, len(WRONG), 9))
def test_nothing_exists_of_what_is_refused(root_oci, number):
    where, value, _named = WRONG[number]
    bundle = root_oci.bundle("/bin/true")
    (bundle.directory / "config.json").write_text(json.dumps(changed(where, value)))
    root_oci.fails("create", "--bundle", bundle.directory, root_oci.name())
    assert not root_oci.root.exists()


RIGHT = [
    *(("ociVersion", version) for version in ("1.0.0", "1.0.2-dev", "1.1.0+dev", "1.2.1", "1.3.0", "1.3.99-rc.1")),
    ("hooks", {}),
    ("hooks", {"prestart": []}),
    ("process.scheduler", FIFO),
    ("process.scheduler", DEADLINE | {"flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_RESET_ON_FORK"]}),
    ("process.scheduler", {"policy": "SCHED_BATCH", "nice": -20}),
    ("process.ioPriority", {"class": "IOPRIO_CLASS_IDLE"}),
    ("process.execCPUAffinity", {"initial": "0-3,7", "final": ""}),
    ("linux.personality", {"domain": "LINUX32"}),
    ("linux.memoryPolicy", {"mode": "MPOL_PREFERRED"}),
    ("linux.memoryPolicy", BIND | {"flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_STATIC_NODES"]}),
    ("linux.sysctl", {"net.ipv4.conf.eth0/1.forwarding": "1", "net/ipv4/ip_forward": "1", "kernel.shmmax": "1"}),
    ("process.capabilities.bounding", ["CAP_JUNK"]),
    ("process.somethingNew", {"of": "a later specification"}),
]


@pytest.mark.parametrize(("where", "value"), RIGHT)
def test_what_the_specification_allows_is_taken(where, value):
    validate.validate(spec.decode(changed(where, value)))


def test_a_capability_that_is_none_is_a_warning(monkeypatch):
    monkeypatch.setattr(caps, "get", lambda: (0, caps.mask(("CAP_KILL",)), 0))
    names = ["CAP_JUNK", "CAP_KILL"]
    document = changed("process.capabilities", {"bounding": names, "ambient": ["CAP_\n"]})
    assert validate.passed_over(spec.decode(document).process, None) == [
        r"process.capabilities has 'CAP_\n', which is no capability",
        "process.capabilities has 'CAP_JUNK', which is no capability",
    ]


def test_a_capability_that_the_caller_lacks_is_a_warning_but_for_a_user_namespace(monkeypatch):
    monkeypatch.setattr(caps, "get", lambda: (0, caps.mask(("CAP_KILL",)), 0))
    document = spec.decode(changed("process.capabilities", {"bounding": ["CAP_KILL", "CAP_SYS_ADMIN", "CAP_CHOWN"]}))
    assert validate.passed_over(document.process, document.linux) == [
        "process.capabilities: CAP_CHOWN, CAP_SYS_ADMIN: not given, for the caller does not have them"
    ]
    assert validate.passed_over(document.process, spec.Linux(namespaces=(spec.Namespace(type="user"),))) == []


def test_a_process_of_its_own_is_looked_at_by_the_same_rules():
    with pytest.raises(InvalidValue, match=r"^process: process.cwd 'x' is not absolute"):
        validate.check_process(spec.decode_process({"cwd": "x", "args": ["x"]}))


def test_an_unknown_capability_keeps_no_container_from_running(oci):
    bundle = oci.bundle("/bin/grep", "CapBnd", "/proc/self/status")
    bundle.process["capabilities"]["bounding"] = ["CAP_KILL", "CAP_JUNK"]
    bundle.process["capabilities"] |= {"effective": ["CAP_JUNK"], "permitted": ["CAP_JUNK"]}
    bundle.write()
    done = oci("run", "--bundle", bundle.directory, oci.name())
    assert done.stdout.split() == ["CapBnd:", "0000000000000020"]
    assert done.stderr == "crate-oci: warning: process.capabilities has 'CAP_JUNK', which is no capability\n"
