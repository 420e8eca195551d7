"""Docker, and a kubelet's calls to containerd, on crate-oci where systemd makes the cgroups of v2, as is usual there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import engines, images
from support.cri import UNTIL_TOLD, Node, Pod, until
from support.engines import Docker, Ground
from support.images import Image
from support.systemd import systemctl

pytestmark = pytest.mark.timeout(900)  # a dozen programs of a second each, and ten times that on a busy host


class SystemdNode(Node):
    systemd = True


class LoneDocker(Docker):
    more = ("--bridge", "none", "--iptables=false", "--ip6tables=false")


def cgroup_of(pid: int) -> Path:
    return Path("/sys/fs/cgroup" + Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::"))


@pytest.fixture(scope="module")
def busybox() -> Image:
    return images.busybox_image()


@pytest.fixture(scope="module")
def docker(scratch: Path) -> Iterator[Docker]:
    made = LoneDocker(Ground(), scratch / f"e{os.urandom(2).hex()}", engines.runtime(scratch))
    yield made
    made.end()


@pytest.fixture(scope="module")
def image(docker: Docker, busybox: Image) -> str:
    return docker.load("busybox", busybox)


@pytest.fixture
def node(scratch: Path, busybox: Image) -> Iterator[Node]:
    made = SystemdNode(Ground(), scratch / f"e{os.urandom(2).hex()}", engines.runtime(scratch))
    made.load("pause", busybox.changed(Entrypoint=["sleep", "86400"], Cmd=[]))
    yield made
    made.end()


def test_docker_lives_with_scopes(docker: Docker, image: str) -> None:
    assert docker.ok("info", "--format", "{{.CgroupDriver}} {{.CgroupVersion}} {{.DefaultRuntime}}") == "systemd 2 crate"
    name = docker.begin(image)
    docker.ok("update", "--memory", "64m", "--memory-swap", "64m", "--pids-limit", "33", "--cpus", "0.5", name)
    pid = int(docker.ok("inspect", "--format", "{{.State.Pid}}", name))
    cgroup = cgroup_of(pid)
    limits = [(cgroup / file).read_text().strip() for file in ("memory.max", "pids.max", "cpu.max")]
    inside = docker("exec", name, "sh", "-c", "cat /sys/fs/cgroup/memory.max; exit 9")
    stats = docker.ok("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.MemUsage}}", name)
    docker.ok("pause", name)
    frozen = (cgroup / "cgroup.events").read_text()
    docker.ok("unpause", name)
    docker.ok("stop", "-t", "60", name)
    ended = docker.ok("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name)
    docker.ok("start", name)
    docker.ok("kill", name)
    killed = docker.ok("wait", name)
    docker.ok("rm", name)
    assert cgroup.name.startswith("docker-")
    assert cgroup.suffix == ".scope"
    assert limits == [str(64 << 20), "33", "50000 100000"]
    assert (inside.stdout, inside.returncode) == (f"{64 << 20}\n", 9)
    assert stats.startswith(f"{name} ")
    assert "64MiB" in stats
    assert "frozen 1" in frozen
    assert (ended, killed) == ("exited 3", "137")
    assert not cgroup.exists()


def test_what_takes_too_much_memory_is_killed_and_docker_told(docker: Docker, image: str) -> None:
    words = (
        "until [ -e /hungry ]; do sleep 0.1; done; tail /dev/zero; code=$?; until [ -e /told ]; do sleep 0.1; done; exit $code"
    )
    limits = ("--memory", "16m", "--memory-swap", "16m")
    name = docker.ok("run", "-d", "--network", "none", *limits, image, "sh", "-c", words)
    docker.ok("exec", name, "touch", "/hungry")
    events = ("events", "--since", "10m", "--until", "0s", "--filter", f"container={name}", "--filter", "event=oom")
    docker.until("oom", *events, "--format", "{{.Action}}", seconds=120)
    docker.ok("exec", name, "touch", "/told")
    docker.until("137 true", "inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", name, seconds=120)
    docker.ok("rm", name)


def test_a_pod_lives_in_its_slice(node: Node, busybox: Image) -> None:
    image = node.load("busybox", busybox)
    pod = Pod(node, image, {"cgroup_parent": "/tests.slice/tests-pod.slice"})
    box = pod.start(*UNTIL_TOLD, resources={"memory_limit_in_bytes": 64 << 20, "cpu_period": 100_000, "cpu_quota": 50_000})
    cgroup = cgroup_of(box.pid)
    limits = [(cgroup / file).read_text().strip() for file in ("memory.max", "cpu.max")]
    box.ask("UpdateContainerResources", linux={"memory_limit_in_bytes": 96 << 20, "cpu_quota": 70_000})
    later = [(cgroup / file).read_text().strip() for file in ("memory.max", "cpu.max")]
    inside = box.ok("cat", "/sys/fs/cgroup/memory.max")
    memory = until(lambda: box.ask("ContainerStats")["stats"]["memory"], "no memory is told")
    box.ask("StopContainer", timeout=60)
    code = box.status["exit_code"]
    greedy = pod.start(
        "tail", "/dev/zero", resources={"memory_limit_in_bytes": 24 << 20, "memory_swap_limit_in_bytes": 24 << 20}
    )
    killed = greedy.wait()["exit_code"]
    pod.end()
    systemctl("stop", "tests.slice")  # as the kubelet would
    assert (cgroup.name, cgroup.parent.name) == (f"cri-containerd-{box.id}.scope", "tests-pod.slice")
    assert limits == [str(64 << 20), "50000 100000"]
    assert (later, inside) == ([str(96 << 20), "70000 100000"], str(96 << 20))
    assert memory["working_set_bytes"]["value"] > 0
    assert (code, killed) == (3, 137)
    assert not cgroup.exists()
    assert node.ask("ListPodSandbox")["items"] == []
