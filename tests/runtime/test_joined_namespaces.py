"""Namespaces that are joined by path, in any mix with new ones, and clocks of a container's own."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

LINKS = {"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid", "cgroup": "cgroup", "time": "time", "user": "user"}


def namespaces(bundle, **paths: str) -> None:
    """Let `bundle` join the namespaces of `paths`, by type; the others stay as they are."""
    kept = [one for one in bundle.linux["namespaces"] if one["type"] not in paths]
    bundle.linux["namespaces"] = kept + [{"type": kind, "path": path} for kind, path in paths.items()]


def joining(oci, pid: int, *kinds: str, script: str) -> Any:
    """A bundle that joins the namespaces `kinds` of process `pid`, and its user namespace where it has one of its own."""
    bundle = oci.bundle(script=script)
    if "uts" in kinds:
        del bundle.spec["hostname"]
    more = () if oci.kind == "root" else ("user",)
    namespaces(bundle, **{kind: f"/proc/{pid}/ns/{LINKS[kind]}" for kind in (*kinds, *more)})
    return bundle


@pytest.fixture
def other(oci):
    """The pid of a container that runs, whose namespaces can be joined."""
    bundle = oci.bundle("/bin/sleep", "900")
    bundle.spec["hostname"] = "other"
    name = oci.create(bundle)
    oci.ok("start", name)
    yield oci.state(name)["pid"]
    oci("delete", "--force", name)


def links(pid: int, *kinds: str) -> list[str]:
    return [os.readlink(f"/proc/{pid}/ns/{LINKS[kind]}") for kind in kinds]


@pytest.mark.parametrize(
    "kinds",
    [
        ("network",),
        ("ipc",),
        ("uts",),
        ("pid",),
        ("cgroup",),
        ("network", "ipc", "uts"),
        ("network", "ipc", "uts", "pid", "cgroup"),
    ],
)
def test_the_container_is_in_the_namespaces_it_joins_and_in_no_other(oci, other, kinds):
    everything = ("network", "ipc", "uts", "pid", "cgroup")
    script = "; ".join(f"readlink /proc/self/ns/{LINKS[kind]}" for kind in everything)
    said = oci.output(joining(oci, other, *kinds, script=script)).split()
    theirs = links(other, *everything)
    ours = [os.readlink(f"/proc/self/ns/{LINKS[kind]}") for kind in everything]
    for kind, mine, its, hosts in zip(everything, said, theirs, ours, strict=True):
        assert (mine == its) == (kind in kinds), kind
        assert mine != hosts


def test_a_user_namespace_is_joined(oci, other):
    if oci.kind == "root":
        pytest.skip("without a user namespace there is none to join")
    said = oci.output(joining(oci, other, script="readlink /proc/self/ns/user; id -u; cat /proc/self/uid_map")).split()
    assert said[0] == links(other, "user")[0]
    assert said[1] == "0"
    assert said[2:] == Path(f"/proc/{other}/uid_map").read_text().split()


@pytest.mark.parametrize("kind", ["network", "time"])
def test_the_oom_score_is_set_of_one_whose_user_namespace_another_process_enters(kind, oci, other):
    """As containerd does it for a pod with users of its own: each container of it has a score, if only 0."""
    script = "cat /proc/self/oom_score_adj"
    if kind == "time":
        bundle = with_clocks(oci.bundle(script=script), boottime={"secs": 1})
    else:
        bundle = joining(oci, other, kind, script=script)
    bundle.spec["process"]["oomScoreAdj"] = 987
    assert oci.output(bundle) == "987\n"


def test_mappings_that_are_not_those_of_the_joined_user_namespace_are_refused(oci, other):
    if oci.kind == "root":
        pytest.skip("without a user namespace there is none to join")
    bundle = joining(oci, other, script="true")
    bundle.linux["uidMappings"] = [{"containerID": 0, "hostID": 4242, "size": 1}]
    told = oci.fails("run", "--bundle", bundle.write().directory, oci.name())
    assert "linux.uidMappings are not those of the user namespace that is joined" in told
    assert oci.left() == [next(iter(oci.ids))]


def test_a_network_namespace_that_is_bound_somewhere_is_joined(root_oci):
    name = root_oci.directory.parent.name
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "add", "bridge7", "type", "bridge"], check=True)
        bundle = root_oci.bundle(script="ls /sys/class/net")
        namespaces(bundle, network=f"/run/netns/{name}")
        assert "bridge7" in root_oci.output(bundle).split()
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_a_new_user_namespace_and_a_joined_one_of_the_machine(oci):
    """As Podman does it for a network that it has made before."""
    if oci.kind != "userns":
        pytest.skip("takes root, for the network namespace is the machine's root's")
    name = oci.directory.parent.name
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        bundle = oci.bundle(script="readlink /proc/self/ns/net; id -u").without("/sys")
        namespaces(bundle, network=f"/run/netns/{name}")
        said = oci.output(bundle).split()
        assert said == [f"net:[{Path('/run/netns', name).stat().st_ino}]", "0"]
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_the_namespace_that_the_runtime_is_in_can_be_joined(oci):
    bundle = oci.bundle(script="readlink /proc/self/ns/uts")
    del bundle.spec["hostname"]
    namespaces(bundle, uts="/proc/self/ns/uts")
    assert oci.output(bundle).strip() == os.readlink("/proc/self/ns/uts")


def test_a_path_that_is_no_namespace_of_its_type_is_refused(oci):
    fifo = oci.directory / "fifo"
    os.mkfifo(fifo, 0o666)
    for path, reason in (
        ("/proc/self/ns/uts", "is no network namespace"),
        ("/etc/passwd", "is no network namespace"),
        (str(fifo), "is no network namespace"),
        ("/nowhere", "no such file or directory"),
    ):
        bundle = oci.bundle("/bin/true")
        namespaces(bundle, network=path)
        told = oci.fails("create", "--bundle", bundle.write().directory, oci.name(), stdin=subprocess.DEVNULL)
        assert path in told
        assert reason in told
        assert oci.left() == []


def test_a_mount_namespace_of_others_is_refused(oci):
    for change in ({"path": "/proc/self/ns/mnt"}, None):
        bundle = oci.bundle("/bin/true")
        kept = [one for one in bundle.linux["namespaces"] if one["type"] != "mount"]
        bundle.linux["namespaces"] = kept + ([{"type": "mount", **change}] if change else [])
        told = oci.fails("create", "--bundle", bundle.write().directory, oci.name(), stdin=subprocess.DEVNULL)
        assert "without a mount namespace of its own" in told


def test_a_container_without_a_pid_namespace_is_ended_whole(oci):
    """Its processes are found by the cgroup: there is no end of a namespace that would take them along."""
    if oci.rootless:
        pytest.skip("an ordinary user has no cgroup of his own here")
    if not Path("/sys/fs/cgroup/pids").is_dir():
        pytest.skip("looks for the processes in cgroup v1")
    bundle = oci.bundle(script="sleep 77 & sleep 78 & wait")
    bundle.linux["namespaces"] = [one for one in bundle.linux["namespaces"] if one["type"] != "pid"]
    bundle.spec["mounts"] = [one for one in bundle.spec["mounts"] if one["destination"] != "/proc"]
    bundle.mount("/proc", "/proc", "rbind")
    del bundle.linux["maskedPaths"], bundle.linux["readonlyPaths"]
    for end in (("kill", "KILL"), ("delete", None)):
        name = oci.create(bundle)
        oci.ok("start", name)
        deadline = time.monotonic() + 30
        where = Path(f"/proc/{oci.state(name)['pid']}/cgroup").read_text().splitlines()
        procs = Path("/sys/fs/cgroup/pids" + next(line.split(":")[2] for line in where if ":pids:" in line), "cgroup.procs")
        while len(pids := procs.read_text().split()) < 3:
            assert time.monotonic() < deadline
        if end[0] == "kill":
            oci.ok("kill", name, "KILL")
            oci.until(name, "stopped")
            while any(Path(f"/proc/{pid}/exe").exists() for pid in pids):
                assert time.monotonic() < deadline
            oci.ok("delete", name)
        else:
            oci.ok("delete", "--force", name)
        assert not [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()]


def test_killing_one_container_of_a_shared_pid_namespace_spares_the_other(oci, other):
    name = oci.create(joining(oci, other, "pid", script="sleep 79 & wait"))
    oci.ok("start", name)
    oci.ok("kill", "--all", name, "KILL")
    oci.until(name, "stopped")
    oci.ok("delete", name)
    assert Path(f"/proc/{other}/stat").read_text().split()[2] != "Z"


def test_exec_joins_what_the_container_has_joined(oci, other):
    name = oci.create(joining(oci, other, "network", "uts", script="sleep 900"))
    oci.ok("start", name)
    assert oci.ok("exec", name, "/bin/hostname") == "other\n"
    oci.ok("delete", "--force", name)


def with_clocks(bundle, **offsets: dict[str, int]):
    bundle.linux["namespaces"].append({"type": "time"})
    bundle.linux["timeOffsets"] = offsets
    return bundle


def test_a_time_namespace_has_its_own_clocks(oci):
    bundle = with_clocks(oci.bundle(script="cat /proc/uptime"), boottime={"secs": 1_000_000})
    before = float(Path("/proc/uptime").read_text().split()[0])
    assert 0 <= float(oci.output(bundle).split()[0]) - before - 1_000_000 < 30


def test_a_process_that_joins_has_the_containers_clocks(oci):
    name = oci.create(
        with_clocks(oci.bundle("/bin/sleep", "900"), boottime={"secs": 1_000_000}, monotonic={"secs": 7, "nanosecs": 5})
    )
    oci.ok("start", name)
    assert float(oci.ok("exec", name, "/bin/cat", "/proc/uptime").split()[0]) > 1_000_000
    oci.ok("delete", "--force", name)


def test_a_time_namespace_is_joined(oci):
    name = oci.create(with_clocks(oci.bundle("/bin/sleep", "900"), boottime={"secs": 1_000_000}))
    oci.ok("start", name)
    pid = oci.state(name)["pid"]
    said = oci.output(joining(oci, pid, "time", script="cat /proc/uptime; readlink /proc/self/ns/time")).split()
    assert float(said[0]) > 1_000_000
    assert said[2] == os.readlink(f"/proc/{pid}/ns/time")
    oci.ok("delete", "--force", name)


def test_offsets_without_a_new_time_namespace_are_refused(oci):
    bundle = oci.bundle("/bin/true")
    bundle.linux["timeOffsets"] = {"boottime": {"secs": 1}}
    told = oci.fails("create", "--bundle", bundle.write().directory, oci.name(), stdin=subprocess.DEVNULL)
    assert "timeOffsets without a time namespace" in told


def test_a_pid_namespace_whose_first_process_has_ended_is_told(root_oci):
    with subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "sleep", "900"]) as holder:
        namespace = os.open(f"/proc/{holder.pid}/ns/pid_for_children", os.O_RDONLY) if _has_child(holder.pid) else -1
        holder.kill()
    try:
        bundle = root_oci.bundle("/bin/true")
        namespaces(bundle, pid=f"/proc/{os.getpid()}/fd/{namespace}")
        assert "cannot join the pid namespace: its first process has ended" in root_oci.fails(
            "run", "--bundle", bundle.write().directory, root_oci.name()
        )
    finally:
        os.close(namespace)


def _has_child(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while not Path(f"/proc/{pid}/task/{pid}/children").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return True
