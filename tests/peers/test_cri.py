"""Kubernetes' way to crate-oci: a kubelet's calls to containerd's CRI plugin, whose pods the runtime under test runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import cri_words
from support.cri import UNTIL_TOLD, Container, Node, Pod, until
from support.cri_words import (
    BIDIRECTIONAL,
    CONTAINER,
    HOST_TO_CONTAINER,
    LOCALHOST,
    NODE,
    POD,
    RUNTIME_DEFAULT,
    TARGET,
    UNCONFINED,
)
from support.grpc import CallFailed
from support.images import Image

pytestmark = pytest.mark.xdist_group("cri")
ENGINE = "node"
DEADLINE_EXCEEDED = 4  # a gRPC status
ALL = int(Path("/proc/self/status").read_text().partition("CapBnd:\t")[2].split()[0], 16)


@pytest.fixture(scope="module", autouse=True)
def _pause(engine: Node, busybox_base: Image) -> None:
    """The image of a pod's own process, which holds its namespaces."""
    engine.load("pause", busybox_base.changed(Entrypoint=["sleep", "86400"], Cmd=[]))


@pytest.fixture(scope="module")
def shared_pod(node: Node, image: str, _pause: None) -> Iterator[Pod]:
    """A pod of the node's network for the containers of many tests, which may be privileged."""
    made = Pod(node, image, {"security_context": {"privileged": True}})
    yield made
    made.end()


@pytest.fixture
def pod(shared_pod: Pod) -> Iterator[Pod]:
    """The pod, with no container of another test in it."""
    yield shared_pod
    shared_pod.node.remove_containers(shared_pod.id)


@pytest.fixture
def new_pod(node: Node, image: str) -> Iterator[Callable[..., Pod]]:
    """Makes pods, as `Pod` does."""
    made: list[Pod] = []

    def make(*args: object, **config: object) -> Pod:
        made.append(Pod(node, image, *args, **config))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def box(pod: Pod) -> Container:  # type: ignore[override]
    """A container that runs until it is told to stop, and then ends with 3."""
    return pod.start(*UNTIL_TOLD)


def script(words: str) -> tuple[str, str, str]:
    return ("sh", "-c", words)


# --- the node --------------------------------------------------------------------------------------------------------


def test_the_node_is_ready_and_so_is_its_network(node: Node) -> None:
    assert node.ask("Version", version="v1")["runtime_name"] == "containerd"
    conditions = {one["type"]: one["status"] for one in node.ask("Status")["status"]["conditions"]}
    assert (conditions["RuntimeReady"], conditions["NetworkReady"]) == (True, True)
    node.ask("UpdateRuntimeConfig", runtime_config={"network_config": {"pod_cidr": "10.88.77.0/24"}})


# --- pods ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("handler", ["", "named"])
def test_a_pod_lives_from_run_to_remove(handler: str, node: Node, new_pod: Callable[..., Pod], image: str) -> None:
    pod = new_pod(handler=handler, labels={"app": "web"}, annotations={"note": "a b"})
    status = pod.status
    assert (status["state"], status["metadata"]["name"], status["runtime_handler"]) == (cri_words.READY, pod.name, handler)
    assert (status["labels"], status["annotations"]) == ({"app": "web"}, {"note": "a b"})
    assert [one["id"] for one in node.ask("ListPodSandbox", filter={"label_selector": {"app": "web"}})["items"]] == [pod.id]
    container = pod.start(*UNTIL_TOLD)
    state = node.directory / (handler or "standard") / "k8s.io"
    assert {pod.id, container.id} <= set(os.listdir(state))  # it is the runtime under test that has them
    node.ask("StopPodSandbox", pod_sandbox_id=pod.id)
    assert (pod.status["state"], container.status["state"]) == (cri_words.NOT_READY, cri_words.EXITED)
    node.ask("StopPodSandbox", pod_sandbox_id=pod.id)  # a kubelet does so more than once
    node.ask("RemovePodSandbox", pod_sandbox_id=pod.id)
    assert node.ask("ListPodSandbox", filter={"id": pod.id})["items"] == []
    with pytest.raises(CallFailed, match="not found"):
        container.ask("ContainerStatus")
    assert not {pod.id, container.id} & set(os.listdir(state))


def test_a_handler_that_is_not_configured_is_refused(new_pod: Callable[..., Pod]) -> None:
    with pytest.raises(CallFailed, match="no runtime for"):
        new_pod(handler="unheard-of")


def test_a_pod_of_the_nodes_network_has_it(pod: Pod, node: Node) -> None:
    assert pod.run("readlink", "/proc/self/ns/net") == os.readlink(f"/proc/{node.house.pid}/ns/net")


def test_pods_have_addresses_of_their_own_and_talk(node: Node, new_pod: Callable[..., Pod]) -> None:
    own = {"security_context": {"namespace_options": {"network": POD, "pid": CONTAINER, "ipc": POD}}}
    server, client = new_pod(own, hostname="server"), new_pod(own, hostname="client")
    address = server.status["network"]["ip"]
    assert address.startswith("10.88.77.")
    assert address != client.status["network"]["ip"]
    listening = server.start(*script("hostname > /tmp/who; httpd -f -p 9000 -h /tmp"))
    asking = f"until wget -q -O - http://{address}:9000/who; do sleep 0.1; done 2>/dev/null; hostname"
    assert client.run(*script(asking)).splitlines() == ["server", "client"]
    assert listening.status["state"] == cri_words.RUNNING


def test_resolv_conf_is_the_pods(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod(dns_config={"servers": ["192.0.2.53"], "searches": ["cluster.local"], "options": ["ndots:5"]})
    assert pod.run("cat", "/etc/resolv.conf").split() == (
        ["search", "cluster.local", "nameserver", "192.0.2.53", "options", "ndots:5"]
    )


def test_a_pods_own_process_is_confined_as_it_says(new_pod: Callable[..., Pod], node: Node) -> None:
    own = {"run_as_user": {"value": 1000}, "readonly_rootfs": True, "seccomp": {"profile_type": RUNTIME_DEFAULT}}
    pod = new_pod({"security_context": own})
    status = node.outside("cat", f"/proc/{pod.info['pid']}/status").stdout
    assert re.search(r"^Uid:\t1000\t", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    assert " ro," in node.outside("grep", " / / ", f"/proc/{pod.info['pid']}/mountinfo").stdout


def test_sysctls_are_the_pods(new_pod: Callable[..., Pod]) -> None:
    own = {"namespace_options": {"network": POD, "pid": CONTAINER, "ipc": POD}}
    wanted = {"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1", "net.ipv4.ip_local_port_range": "1024 65000"}
    pod = new_pod({"security_context": own, "sysctls": wanted})
    files = ["/proc/sys/" + name.replace(".", "/") for name in wanted]
    assert [line.split() for line in pod.run("cat", *files).splitlines()] == [value.split() for value in wanted.values()]


def test_the_containers_of_a_pod_share_network_ipc_and_names(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod({"security_context": {"namespace_options": {"network": POD, "pid": CONTAINER, "ipc": POD}}}, hostname="both")
    first, second = pod.start(*UNTIL_TOLD), pod.start(*UNTIL_TOLD)
    links = [f"/proc/self/ns/{kind}" for kind in ("net", "ipc", "uts", "pid", "mnt")]
    seen = [[one.ok("readlink", link) for link in links] for one in (first, second)]
    assert [mine == theirs for mine, theirs in zip(*seen, strict=True)] == [True, True, True, False, False]
    first.ok(*script("echo shared > /dev/shm/x"))
    assert (second.ok("cat", "/dev/shm/x"), second.ok("hostname")) == ("shared", "both")


def test_containers_share_processes_where_the_pod_does(new_pod: Callable[..., Pod]) -> None:
    pod = new_pod({"security_context": {"namespace_options": {"network": NODE, "pid": POD, "ipc": POD}}})
    first, second = pod.start("sleep", "86111"), pod.start(*UNTIL_TOLD)
    assert first.ok("readlink", "/proc/self/ns/pid") == second.ok("readlink", "/proc/self/ns/pid")
    listed = second.ok("ps", "-o", "pid,args")
    assert "sleep 86400" in listed.splitlines()[1]  # the pod's own process is the first
    assert "sleep 86111" in listed
    pid = next(line.split()[0] for line in listed.splitlines() if line.endswith("sleep 86111"))
    second.ok("kill", pid)
    assert first.wait()["exit_code"] == 128 + signal.SIGTERM
    assert pod.status["state"] == cri_words.READY
    assert second.ok("echo", "alive") == "alive"
    second.ask("StopContainer", timeout=60)
    assert second.status["exit_code"] == 3


def test_a_pod_has_users_of_its_own(new_pod: Callable[..., Pod], node: Node, tmp_path: Path) -> None:
    version = node.ask("Version", version="v1")["runtime_version"]
    if [int(part) for part in version.split(".")[:2]] < [1, 7]:
        pytest.skip(f"containerd {version} knows no users of a pod's own, 1.7 does")
    mapped = [{"host_id": 700_000, "container_id": 0, "length": 65_536}]
    users = {"mode": POD, "uids": mapped, "gids": mapped}
    own = {"network": POD, "pid": CONTAINER, "ipc": POD, "userns_options": users}
    pod = new_pod({"security_context": {"namespace_options": own}})
    first, second = pod.start(*UNTIL_TOLD), pod.start(*UNTIL_TOLD)
    assert first.ok("cat", "/proc/self/uid_map").split() == ["0", "700000", "65536"]
    assert first.ok("readlink", "/proc/self/ns/user") == second.ok("readlink", "/proc/self/ns/user")
    assert first.ok("readlink", "/proc/self/ns/user") != os.readlink("/proc/self/ns/user")
    assert first.ok(*script("id -u; touch /x && stat -c %u /x /bin")).split() == ["0", "0", "0"]
    first.ok(*script("echo shared > /dev/shm/x"))
    assert second.ok("cat", "/dev/shm/x") == "shared"
    assert re.search(r"^Uid:\t700000\t", node.outside("cat", f"/proc/{first.pid}/status").stdout, re.MULTILINE)


def test_a_container_of_the_nodes_processes_sees_them(new_pod: Callable[..., Pod], node: Node) -> None:
    pod = new_pod({"security_context": {"namespace_options": {"network": NODE, "pid": NODE, "ipc": NODE}}})
    box = pod.start(*UNTIL_TOLD)
    assert "containerd" in box.ok("ps", "-o", "args")
    assert box.ok("readlink", "/proc/self/ns/ipc") == os.readlink(f"/proc/{node.house.pid}/ns/ipc")
    box.ask("StopContainer", timeout=60)
    assert box.status["exit_code"] == 3


def test_a_debugging_container_joins_the_processes_of_another(pod: Pod, box: Container) -> None:
    security = {"namespace_options": pod.namespaces | {"pid": TARGET, "target_id": box.id}}
    debugger = pod.start(*UNTIL_TOLD, security=security)
    assert debugger.ok("readlink", "/proc/self/ns/pid") == box.ok("readlink", "/proc/self/ns/pid")
    assert "trap" in debugger.ok("cat", "/proc/1/cmdline")


def test_a_pod_that_is_killed_from_outside_is_not_ready_and_can_be_removed(new_pod: Callable[..., Pod], node: Node) -> None:
    pod = new_pod({"security_context": {"namespace_options": {"network": POD, "pid": CONTAINER, "ipc": POD}}})
    box = pod.start(*UNTIL_TOLD)
    node.outside("kill", "-KILL", str(pod.info["pid"]))
    until(lambda: pod.status["state"] == cri_words.NOT_READY, "the pod is still ready")
    assert box.status["state"] == cri_words.RUNNING  # its namespaces are its own by now
    assert box.ok("echo", "alive") == "alive"
    pod.end()
    assert node.ask("ListPodSandbox", filter={"id": pod.id})["items"] == []


def test_a_pod_whose_processes_end_with_its_first_one_can_be_removed(new_pod: Callable[..., Pod], node: Node) -> None:
    pod = new_pod({"security_context": {"namespace_options": {"network": NODE, "pid": POD, "ipc": POD}}})
    box = pod.start(*UNTIL_TOLD)
    node.outside("kill", "-KILL", str(pod.info["pid"]))
    assert box.wait()["exit_code"] == 128 + signal.SIGKILL
    until(lambda: pod.status["state"] == cri_words.NOT_READY, "the pod is still ready")


# --- containers ------------------------------------------------------------------------------------------------------


def test_a_container_goes_through_its_states(pod: Pod, node: Node) -> None:
    box = pod.create(*UNTIL_TOLD, labels={"l": "1"}, annotations={"a": "2"})
    assert box.status["state"] == cri_words.CREATED
    box.start()
    status = box.status
    assert status["state"] == cri_words.RUNNING
    assert (status["metadata"]["name"], status["labels"], status["annotations"]) == (box.name, {"l": "1"}, {"a": "2"})
    assert [one["id"] for one in node.ask("ListContainers", filter={"pod_sandbox_id": pod.id})["containers"]] == [box.id]
    box.ask("StopContainer", timeout=60)
    status = box.status
    assert (status["state"], status["exit_code"], status["reason"]) == (cri_words.EXITED, 3, "Error")
    assert status["created_at"] <= status["started_at"] <= status["finished_at"]
    box.ask("StopContainer", timeout=60)
    box.ask("RemoveContainer")
    box.ask("RemoveContainer")
    assert node.ask("ListContainers", filter={"pod_sandbox_id": pod.id})["containers"] == []


def test_a_container_that_does_its_work_has_completed(pod: Pod) -> None:
    status = pod.start("true").wait()
    assert (status["exit_code"], status["reason"]) == (0, "Completed")


def test_what_does_not_end_by_itself_is_killed_after_its_grace(pod: Pod) -> None:
    stubborn = pod.start(*script('trap "" TERM; touch /deaf; while :; do sleep 0.1; done'))
    until(lambda: stubborn.exec("test", "-e", "/deaf")["exit_code"] == 0, "it still listens")
    stubborn.ask("StopContainer", timeout=1)
    assert stubborn.status["exit_code"] == 128 + signal.SIGKILL


def test_a_running_container_is_removed(pod: Pod, node: Node) -> None:
    box = pod.start(*UNTIL_TOLD)
    box.ask("RemoveContainer")
    assert node.ask("ListContainers", filter={"id": box.id})["containers"] == []


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("/nowhere", "no such file or directory"),
        ("no-such-program", "executable file not found in"),
        ("/etc", "permission denied"),
    ],
)
def test_what_cannot_be_run_is_said(command: str, told: str, pod: Pod) -> None:
    broken = pod.create(command)
    with pytest.raises(CallFailed, match=re.escape(told)) as caught:
        broken.start()
    assert command in caught.value.message
    status = broken.status
    assert (status["state"], status["reason"]) == (cri_words.EXITED, "StartError")


def test_output_is_in_the_log_as_kubernetes_reads_it(pod: Pod) -> None:
    done = pod.start(*script("echo out; echo err >&2; printf '%s' unfinished"))
    done.wait()
    assert sorted(done.lines()) == [("stderr", "F", "err"), ("stdout", "F", "out"), ("stdout", "P", "unfinished")]
    assert all(
        re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d) ", line) for line in done.log.read_text().splitlines()
    )


def test_a_log_is_opened_anew(pod: Pod) -> None:
    talking = pod.start(
        *script(
            'echo first; until [ -e /go ]; do sleep 0.1; done; echo second; trap "exit 3" TERM; while :; do sleep 0.1; done'
        )
    )
    until(lambda: talking.said() == "first", "nothing is in the log")
    talking.log.rename(talking.log.with_suffix(".old"))
    talking.ask("ReopenContainerLog")
    talking.ok("touch", "/go")
    until(lambda: talking.said() == "second", "nothing is in the new log")


def test_a_terminal_is_there(pod: Pod) -> None:
    assert pod.run("tty", tty=True) == "/dev/pts/0"


def test_what_a_container_is_given_reaches_it(pod: Pod) -> None:
    said = pod.run(
        *script('echo "$A|$0|$1"; pwd'),
        args=["zero", "one two"],
        envs=[{"key": "A", "value": "b c"}],
        working_dir="/tmp",
    )  # fmt: skip
    assert said.splitlines() == ["b c|zero|one two", "/tmp"]


def test_what_has_crashed_is_made_again_in_its_pod(pod: Pod) -> None:
    first = pod.start("false", metadata={"name": "main", "attempt": 0})
    assert first.wait()["exit_code"] == 1
    second = pod.start(*UNTIL_TOLD, metadata={"name": "main", "attempt": 1})
    assert (second.status["metadata"]["attempt"], second.status["state"]) == (1, cri_words.RUNNING)


def test_many_pods_come_and_go_side_by_side(new_pod: Callable[..., Pod]) -> None:
    def life(number: int) -> str:
        pod = new_pod({"security_context": {"namespace_options": {"network": POD, "pid": CONTAINER, "ipc": POD}}})
        said = pod.start(*UNTIL_TOLD).ok("echo", str(number))
        pod.end()
        return said

    with ThreadPoolExecutor(6) as crowd:
        assert list(crowd.map(life, range(12))) == [str(number) for number in range(12)]


# --- exec ------------------------------------------------------------------------------------------------------------


def test_exec_has_its_output_and_its_code(box: Container) -> None:
    assert box.exec(*script("echo out; echo err >&2; exit 9")) == {"stdout": b"out\n", "stderr": b"err\n", "exit_code": 9}


def test_exec_has_much_output(box: Container) -> None:
    assert len(box.exec(*script("head -c 3000000 /dev/zero"))["stdout"]) == 3_000_000


def test_exec_has_the_containers_user_and_rights(pod: Pod) -> None:
    security = {"run_as_user": {"value": 1000}, "capabilities": {"drop_capabilities": ["ALL"]}, "no_new_privs": True}
    box = pod.start(*UNTIL_TOLD, security=security | {"seccomp": {"profile_type": RUNTIME_DEFAULT}})
    told = box.ok(*script("id -u; grep -E '^(CapBnd|CapEff|NoNewPrivs|Seccomp):' /proc/self/status"))
    assert told.split() == ["1000", "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2"]


def test_exec_of_what_is_not_there_is_an_error(box: Container) -> None:
    with pytest.raises(CallFailed, match="executable file not found in"):
        box.exec("no-such-program")
    assert box.ok("echo", "alive") == "alive"


def test_exec_that_takes_too_long_is_ended(box: Container) -> None:
    with pytest.raises(CallFailed) as caught:
        box.exec("sleep", "86222", timeout=1)
    assert caught.value.code == DEADLINE_EXCEEDED
    until(lambda: "86222" not in box.ok("ps", "-o", "args"), "what took too long still runs")


def test_probes_run_side_by_side(box: Container) -> None:
    with ThreadPoolExecutor(6) as crowd:
        assert list(crowd.map(lambda number: box.ok("echo", str(number)), range(24))) == [str(number) for number in range(24)]


def test_exec_has_a_terminal(box: Container, node: Node) -> None:
    words = node.house.argv(*node.words(), "tasks", "exec", "-t", "--exec-id", "shell", box.id, "tty")
    done = subprocess.run(["script", "-qec", shlex.join(words), "/dev/null"], capture_output=True, text=True, timeout=120)
    assert "/dev/pts/0" in done.stdout, done.stdout


def test_exec_into_what_has_ended_is_an_error(pod: Pod) -> None:
    done = pod.start("true")
    done.wait()
    with pytest.raises(CallFailed, match="CONTAINER_EXITED"):
        done.exec("true")


# --- limits ----------------------------------------------------------------------------------------------------------

LIMITS = {"memory_limit_in_bytes": 64 << 20, "cpu_period": 100_000, "cpu_quota": 50_000, "cpu_shares": 512}


def test_limits_are_in_the_cgroup_and_an_update_changes_them(pod: Pod) -> None:
    box = pod.start(*UNTIL_TOLD, resources=LIMITS)
    memory, quota = ("memory", "memory.limit_in_bytes", "memory.max"), ("cpu", "cpu.cfs_quota_us", "cpu.max")
    assert (box.limit(*memory), box.limit(*quota).split()[0]) == (str(64 << 20), "50000")
    box.ask("UpdateContainerResources", linux={"memory_limit_in_bytes": 96 << 20, "cpu_quota": 70_000, "cpuset_cpus": "0"})
    assert (box.limit(*memory), box.limit(*quota).split()[0]) == (str(96 << 20), "70000")
    assert box.limit("cpuset", "cpuset.cpus", "cpuset.cpus") == "0"
    assert box.ok("echo", "alive") == "alive"


def test_how_much_a_container_is_spared_from_the_oom_killer(pod: Pod) -> None:
    assert pod.run("cat", "/proc/self/oom_score_adj", resources={"oom_score_adj": 987}) == "987"


def test_a_limit_that_the_kernel_refuses_is_an_error(pod: Pod) -> None:
    box = pod.start(*UNTIL_TOLD)
    with pytest.raises(CallFailed):
        box.ask("UpdateContainerResources", linux={"cpuset_cpus": "4000"})
    assert box.ok("echo", "alive") == "alive"


def test_what_takes_too_much_memory_is_told_to_be_killed_for_it(pod: Pod) -> None:
    words = (
        "until [ -e /hungry ]; do sleep 0.1; done; tail /dev/zero; code=$?; until [ -e /told ]; do sleep 0.1; done; exit $code"
    )
    limits = {"memory_limit_in_bytes": 24 << 20, "memory_swap_limit_in_bytes": 24 << 20}
    greedy = pod.start(*script(words), resources=limits)
    greedy.ok("touch", "/hungry")
    until(lambda: greedy.status["reason"] == "OOMKilled", "nothing is told")
    greedy.ok("touch", "/told")
    status = greedy.wait()
    assert (status["reason"], status["exit_code"]) == ("OOMKilled", 137)


def test_what_containers_use_is_told(pod: Pod, box: Container, node: Node) -> None:
    box.ok(*script("i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; head -c 200000 /dev/zero > /file"))
    stats = box.ask("ContainerStats")["stats"]
    assert stats["attributes"]["id"] == box.id
    assert stats["cpu"]["usage_core_nano_seconds"]["value"] > 0
    assert stats["memory"]["working_set_bytes"]["value"] > 0
    assert [one["attributes"]["id"] for one in node.ask("ListContainerStats", filter={"id": box.id})["stats"]] == [box.id]
    of_pod = node.ask("PodSandboxStats", pod_sandbox_id=pod.id)["stats"]["linux"]
    assert of_pod["memory"]["usage_bytes"]["value"] > 0
    assert [one["attributes"]["id"] for one in of_pod["containers"]] == [box.id]


# --- the security context --------------------------------------------------------------------------------------------

CONTEXTS = [
    ({"run_as_user": {"value": 1000}, "run_as_group": {"value": 50}}, 'echo "$(id -u) $(id -g)"', "1000 50"),
    ({"run_as_username": "alice"}, "id -u", "1000"),
    ({"run_as_user": {"value": 4321}, "supplemental_groups": [4000, 4001]}, "id -G", "0 4000 4001"),
    ({"capabilities": {"drop_capabilities": ["ALL"]}}, "grep CapEff /proc/self/status | cut -f2", "0" * 16),
    (
        {"capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": ["NET_BIND_SERVICE", "CHOWN"]}},
        "grep CapBnd /proc/self/status | cut -f2",
        "0000000000000401",
    ),
    ({"readonly_rootfs": True}, "touch /x 2>/dev/null || echo refused", "refused"),
    ({"no_new_privs": True}, "grep NoNewPrivs /proc/self/status | cut -f2", "1"),
    ({}, "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | cut -f2 | xargs", "0 0"),
    ({"seccomp": {"profile_type": RUNTIME_DEFAULT}}, "grep Seccomp: /proc/self/status | cut -f2", "2"),
    ({"seccomp": {"profile_type": UNCONFINED}}, "grep Seccomp: /proc/self/status | cut -f2", "0"),
    ({"masked_paths": ["/etc/passwd", "/proc/kcore"]}, "wc -c < /etc/passwd", "0"),
    ({"readonly_paths": ["/tmp"]}, "touch /tmp/x 2>/dev/null || echo refused; touch /x && echo written", "refused\nwritten"),
    (
        {},
        "touch /sys/x 2>/dev/null || echo refused; mknod /m b 8 0 2>/dev/null && cat /m 2>/dev/null || echo refused",
        "refused\nrefused",
    ),
]


@pytest.mark.parametrize(
    ("security", "words", "wanted"), CONTEXTS, ids=lambda value: "-".join(value) if isinstance(value, dict) else ""
)
def test_security_contexts_reach_the_container(security: dict[str, object], words: str, wanted: str, pod: Pod) -> None:
    assert pod.run(*script(words), security=security) == wanted


def test_a_profile_of_the_node_filters_system_calls(pod: Pod, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    security = {"seccomp": {"profile_type": LOCALHOST, "localhost_ref": str(profile)}}
    assert "Function not implemented" in pod.run(*script("mkdir /x 2>&1 || touch /y"), security=security)


def test_a_privileged_container_may_do_all_that_root_may(pod: Pod) -> None:
    words = (
        "grep CapBnd /proc/self/status | cut -f2; mount -t tmpfs no /tmp && echo mounted; test -w /sys/kernel && echo written"
    )
    bounding, *rest = pod.run(*script(words), security={"privileged": True}).splitlines()
    assert rest == ["mounted", "written"]
    assert int(bounding, 16) & ALL == int(bounding, 16)
    assert int(bounding, 16) & 0x3FFFFFFFFF == ALL & 0x3FFFFFFFFF


def test_a_device_of_the_node_is_given(pod: Pod) -> None:
    device = {"container_path": "/dev/mine", "host_path": "/dev/zero", "permissions": "rw"}
    assert pod.run(*script("head -c 3 /dev/mine | wc -c"), devices=[device]) == "3"


# --- mounts ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def exported(node: Node) -> Iterator[Path]:
    """A directory of the node on which mounts are shared."""
    place = node.directory / f"m-{os.urandom(3).hex()}"
    place.mkdir()
    assert node.outside("mount", "-t", "tmpfs", "none", place).returncode == 0
    assert node.outside("mount", "--make-rshared", place).returncode == 0
    node.outside("mkdir", place / "sub")
    yield place
    node.outside("umount", "-R", place)
    place.rmdir()


def test_a_volume_is_there_and_read_only_where_it_should_be(pod: Pod, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside\n")
    mounts = [
        {"container_path": "/ro", "host_path": str(tmp_path), "readonly": True},
        {"container_path": "/rw/deep", "host_path": str(tmp_path)},
        {"container_path": "/etc/one-file", "host_path": str(tmp_path / "file")},
    ]
    words = "cat /ro/file /etc/one-file; touch /ro/x 2>/dev/null || echo refused; echo mine > /rw/deep/x"
    assert pod.run(*script(words), mounts=mounts).splitlines() == ["from outside", "from outside", "refused"]
    assert (tmp_path / "x").read_text() == "mine\n"


@pytest.mark.parametrize("propagation", [cri_words.PRIVATE, HOST_TO_CONTAINER])
def test_mounts_of_the_node_reach_a_container_that_wants_them(propagation: int, pod: Pod, node: Node, exported: Path) -> None:
    mount = {"container_path": "/host", "host_path": str(exported), "propagation": propagation}
    box = pod.start(*UNTIL_TOLD, mounts=[mount])
    assert node.outside("mount", "-t", "tmpfs", "none", exported / "sub").returncode == 0
    node.outside("touch", exported / "sub/new")
    assert (box.exec("test", "-e", "/host/sub/new")["exit_code"] == 0) is (propagation == HOST_TO_CONTAINER)


def test_mounts_of_a_container_reach_the_node_where_both_want_them(pod: Pod, node: Node, exported: Path) -> None:
    mount = {"container_path": "/host", "host_path": str(exported), "propagation": BIDIRECTIONAL}
    box = pod.start(*UNTIL_TOLD, mounts=[mount], security={"privileged": True})
    box.ok(*script("mount -t tmpfs none /host/sub && touch /host/sub/new"))
    assert node.outside("test", "-e", exported / "sub/new").returncode == 0


# --- what outlives containerd ----------------------------------------------------------------------------------------


def test_pods_outlive_containerd(new_pod: Callable[..., Pod], node: Node) -> None:
    pod = new_pod()
    box, gone = pod.start(*UNTIL_TOLD), pod.start(*UNTIL_TOLD)
    doomed = gone.pid
    node.stop()
    node.outside("kill", "-KILL", str(doomed))
    node.start()
    assert (pod.status["state"], box.status["state"]) == (cri_words.READY, cri_words.RUNNING)
    assert box.ok("echo", "alive") == "alive"
    assert gone.wait()["exit_code"] in (137, 255)
    box.ask("StopContainer", timeout=60)
    assert box.status["exit_code"] == 3
