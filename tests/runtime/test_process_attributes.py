"""scheduler, ioPriority, personality, memoryPolicy and sysctl: what the kernel says of a container that was given them."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from cratebox.errors import InvalidValue, RuntimeFailure
from cratebox.linux import const
from cratebox.runtime import scheduling, spec, sysctl


def stat_field(oci, bundle, number):
    """Run the bundle, a `cat /proc/self/stat`, and return field `number` of it (proc(5))."""
    text = oci.output(bundle)
    return int(text[text.rindex(")") + 2 :].split()[number - 3])


def test_a_policy_and_a_nice_value_are_the_programs(oci):
    bundle = oci.bundle("/bin/cat", "/proc/self/stat")
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7}
    assert stat_field(oci, bundle, 41) == os.SCHED_BATCH
    assert stat_field(oci, bundle, 19) == 7


def test_a_real_time_policy_has_its_priority(root_oci, word):
    bundle = root_oci.bundle("/bin/cat", "/proc/self/stat")
    bundle.process["scheduler"] = {"policy": "SCHED_RR", "priority": 12, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    # Kernels that share real time out to cgroups give a new one none.
    if os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"):
        bundle.linux["cgroupsPath"] = f"/{word}"
        bundle.linux["resources"] = {"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 1000000}}
    text = root_oci.output(bundle)
    fields = text[text.rindex(")") + 2 :].split()
    assert (int(fields[40 - 3]), int(fields[41 - 3])) == (12, os.SCHED_RR)


def test_a_deadline_is_the_programs(root_oci):
    bundle = root_oci.bundle("/bin/cat", "/proc/self/stat")
    times = {"runtime": 1_000_000, "deadline": 50_000_000, "period": 50_000_000}
    bundle.process["scheduler"] = {"policy": "SCHED_DEADLINE", **times}
    assert stat_field(root_oci, bundle, 41) == 6


def test_what_a_user_may_not_have_is_an_error_that_names_it(scratch, word, rootfs_template):
    from support import bundles

    made = bundles.make_oci("user", scratch, word, rootfs_template)
    oci = next(made)
    try:
        bundle = oci.bundle("/bin/true")
        bundle.process["scheduler"] = {"policy": "SCHED_FIFO", "priority": 1}
        bundle.write()
        assert "process.scheduler" in oci.fails("run", "--bundle", bundle.directory, oci.name())
        assert oci.left() == []
    finally:
        made.close()


def test_the_priority_of_input_and_output_is_set(oci):
    bundle = oci.bundle("/bin/ionice")
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 3}
    assert oci.output(bundle).strip() == "best-effort: prio 3"
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE"}
    assert oci.output(bundle).strip().startswith("idle")


def test_a_32_bit_personality_shows_a_32_bit_machine(oci):
    bundle = oci.bundle("/bin/uname", "-m")
    bundle.linux["personality"] = {"domain": "LINUX32"}
    assert oci.output(bundle).strip() in {"i686", "armv8l", "armv7l"}
    bundle.linux["personality"] = {"domain": "LINUX"}
    assert oci.output(bundle).strip() == const.MACHINE


NUMA = pytest.mark.skipif(not os.path.exists("/sys/devices/system/node/node0"), reason="this kernel has no NUMA")


@NUMA
def test_a_memory_policy_is_the_programs(oci):
    bundle = oci.bundle("/bin/sh", "-c", "cat /proc/self/numa_maps")
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_INTERLEAVE", "nodes": "0"}
    policies = {line.split()[1] for line in oci.output(bundle).splitlines()}
    assert policies == {"interleave:0"}


@NUMA
def test_a_node_that_is_not_there_is_an_error_that_names_the_property(oci):
    bundle = oci.bundle("/bin/true")
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "63"}
    bundle.write()
    assert "linux.memoryPolicy" in oci.fails("run", "--bundle", bundle.directory, oci.name())
    assert oci.left() == []


def test_affinity_is_that_of_the_list():
    pid = os.fork()
    if pid == 0:
        scheduling.set_affinity("0", "initial")
        os._exit(os.sched_getaffinity(0) != {0})
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    scheduling.set_affinity("", "final")
    with pytest.raises(RuntimeFailure, match=r"process.execCPUAffinity.final, 8000"):
        scheduling.set_affinity("8000", "final")


@pytest.fixture
def sleeping(oci):
    """A container whose process sleeps, and what runs a process in it: words, properties of the process."""
    bundle = oci.bundle("/bin/sleep", "900")
    bundle.linux["personality"] = {"domain": "LINUX32"}
    name = oci.create(bundle)
    oci.ok("start", name)

    def execute(*args, **fields):
        path = oci.directory / "process.json"
        path.write_text(json.dumps({"cwd": "/", "args": args, "env": bundle.process["env"], **fields}))
        return oci.ok("exec", "--process", path, name)

    yield execute
    oci.ok("delete", "--force", name)


def test_a_process_that_joins_runs_on_its_cpus(sleeping):
    for cpus in ("0", "1")[: os.cpu_count()]:
        said = sleeping("/bin/grep", "Cpus_allowed_list", "/proc/self/status", execCPUAffinity={"initial": "0", "final": cpus})
        assert said.split() == ["Cpus_allowed_list:", cpus]


def test_a_process_that_joins_has_attributes_of_its_own_and_those_of_the_container(sleeping):
    fields = {"scheduler": {"policy": "SCHED_BATCH"}, "ioPriority": {"class": "IOPRIO_CLASS_IDLE"}}
    said = sleeping("/bin/sh", "-c", "uname -m; ionice; cat /proc/self/stat", **fields)
    machine, priority, stat = said.splitlines()
    assert machine != const.MACHINE
    assert priority.startswith("idle")
    assert int(stat[stat.rindex(")") + 2 :].split()[41 - 3]) == os.SCHED_BATCH


# --- linux.sysctl -----------------------------------------------------------------------------------------------------


def test_parameters_of_every_namespace_are_the_containers_and_not_the_hosts(oci):
    bundle = oci.bundle(
        "/bin/cat", *(f"/proc/sys/{path}" for path in ("net/ipv4/ip_default_ttl", "kernel/msgmax", "kernel/domainname"))
    )
    bundle.linux["sysctl"] = {"net/ipv4/ip_default_ttl": "33", "kernel.msgmax": "4242", "kernel.domainname": "of.the.box"}
    before = subprocess.check_output(["cat", "/proc/sys/net/ipv4/ip_default_ttl"])
    assert oci.output(bundle).split() == ["33", "4242", "of.the.box"]
    assert subprocess.check_output(["cat", "/proc/sys/net/ipv4/ip_default_ttl"]) == before


def test_parameters_of_a_joined_namespace_that_is_the_runtimes_own_are_refused():
    for kind, path, name in (
        ("network", "/proc/self/ns/net", "net.ipv4.ip_forward"),
        ("ipc", f"/proc/{os.getpid()}/ns/ipc", "kernel/msgmax"),
        ("uts", "/proc/thread-self/ns/uts", "kernel.domainname"),
    ):
        with pytest.raises(InvalidValue, match=f"the {kind} namespace '{path}' is the runtime's own"):
            sysctl.check_joined({"fs.mqueue.msg_max": "1", name: "1"}, (spec.Namespace(type=kind, path=path),))
    sysctl.check_joined({"kernel.msgmax": "1"}, (spec.Namespace(type="network", path="/proc/self/ns/net"),))


def test_a_namespace_that_turned_out_to_be_the_runtimes_own_is_not_written_to():
    """Whatever was found at its path before: what counts is where the process that writes is."""
    wanted = {"net.ipv4.ip_default_ttl": "33", "kernel.domainname": "x"}
    callers = sysctl.namespaces_of(wanted)
    assert callers.keys() == {"net", "uts"}
    with pytest.raises(RuntimeFailure, match="namespace is the runtime's own"):
        sysctl.apply(wanted, callers)


def test_a_container_that_joins_the_machines_own_namespace_changes_nothing_there(root_oci):
    bundle = root_oci.bundle("/bin/true")
    for one in bundle.linux["namespaces"]:
        if one["type"] == "network":
            one["path"] = f"/proc/{os.getpid()}/ns/net"
    bundle.linux["sysctl"] = {"net.ipv4.ip_default_ttl": "33"}
    bundle.write()
    said = root_oci.fails("run", "--bundle", bundle.directory, root_oci.name())
    assert (
        f"linux.sysctl 'net.ipv4.ip_default_ttl': the network namespace '/proc/{os.getpid()}/ns/net' is the runtime's own"
        in said
    )
    with open("/proc/sys/net/ipv4/ip_default_ttl") as file:
        assert file.read() != "33\n"


def test_a_parameter_that_is_not_there_or_takes_no_such_value_is_named(oci):
    for name, value in (("net.ipv4.no_such_thing", "1"), ("net.ipv4.ip_forward", "junk")):
        bundle = oci.bundle("/bin/true")
        bundle.linux["sysctl"] = {name: value}
        bundle.write()
        assert f"linux.sysctl {name}" in oci.fails("run", "--bundle", bundle.directory, oci.name())
    assert oci.left() == []


def test_a_mount_over_the_hosts_parameters_catches_no_write(root_oci, tmp_path):
    """In a mount namespace between, where another file lies over a parameter (CVE-2025-52881)."""
    decoy = tmp_path / "decoy"
    decoy.write_text("as it was")
    bundle = root_oci.bundle("/bin/cat", "/proc/sys/net/ipv4/ip_default_ttl")
    bundle.linux["sysctl"] = {"net.ipv4.ip_default_ttl": "44"}
    bundle.write()
    run = " ".join(root_oci.argv("run", "--bundle", bundle.directory, root_oci.name()))
    script = f"mount --bind {decoy} /proc/sys/net/ipv4/ip_default_ttl && {run}"
    done = root_oci.person.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script])
    assert decoy.read_text() == "as it was"
    assert (done.returncode, done.stdout.strip()) == (0, "44"), done.stderr
