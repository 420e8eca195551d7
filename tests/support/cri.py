"""Kubernetes' side of a node: containerd with its CRI plugin on the runtime under test, and what a kubelet asks of it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from support import cri_words
from support.cri_words import CONTAINER, NODE, POD, Message
from support.engines import Absent, Containerd, Ground, House
from support.grpc import CallFailed, call, decode, encode
from support.images import Image

CNI = Path("/usr/lib/cni")
PATIENCE = 60  # seconds that anything may take on a busy machine
UNTIL_TOLD = ("sh", "-c", 'trap "exit 3" TERM; while :; do sleep 0.1; done')
_SETTINGS = """\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:latest"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{directory}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "standard"
"""
_RUNTIME = """\
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}.options]
        BinaryName = "{oci}"
        Root = "{directory}/{name}"
        SystemdCgroup = {systemd}
"""
_NETWORK = {
    "type": "bridge",
    "bridge": "pods",
    "isGateway": True,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.77.0/24"}]]},
}


def until(true: Callable[[], Any], what: str) -> Any:
    """Ask again and again until the answer is one; return it."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := true()):
        assert time.monotonic() < deadline, f"after {PATIENCE} s: {what}"
        time.sleep(0.05)
    return answer


class Node(Containerd):
    """containerd whose CRI plugin runs pods by the runtime under test, as its default and as the handler "named"."""

    namespace = "k8s.io"
    systemd = False  # whether it is systemd that makes the cgroups

    def __init__(self, house: House | Ground, directory: Path, oci: Path) -> None:
        if missing := [name for name in ("bridge", "host-local", "loopback") if not (CNI / name).exists()]:
            raise Absent(f"not in {CNI}: {', '.join(missing)} (Debian's containernetworking-plugins)")
        super().__init__(house, directory, oci)

    def start(self) -> None:
        super().start()
        until(self._answers, "the CRI plugin does not answer")

    def _answers(self) -> bool:
        try:
            self.ask("Status")
        except (CallFailed, OSError):  # "server is not initialized yet", or not there yet
            return False
        return True

    def settings(self) -> str:
        networks = self.directory / "cni"
        networks.mkdir()
        plugin = _NETWORK | {"ipam": _NETWORK["ipam"] | {"dataDir": str(self.directory / "addresses")}}  # type: ignore[operator]
        told = {"cniVersion": "0.4.0", "name": "pods", "plugins": [plugin]}
        (networks / "pods.conflist").write_text(json.dumps(told))
        places = {"oci": self.oci, "directory": self.directory, "systemd": str(self.systemd).lower()}
        runtimes = [_RUNTIME.format(name=name, **places) for name in ("standard", "named")]
        return _SETTINGS.format(cni=CNI, directory=self.directory) + "".join(runtimes)

    def ask(self, method: str, **fields: Any) -> Message:
        """Make a call of the CRI. Raises CallFailed."""
        request, answer = cri_words.CALLS[method]
        service = "ImageService" if method in cri_words.IMAGE_CALLS else "RuntimeService"
        return decode(answer, call(self.socket, f"/runtime.v1.{service}/{method}", encode(request, fields)))

    def load(self, name: str, image: Image) -> str:
        loaded = super().load(name, image)
        # The plugin learns by an event what ctr has brought.
        until(lambda: self.ask("ImageStatus", image={"image": loaded})["image"], f"the CRI plugin does not see {loaded}")
        return loaded

    def outside(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program beside containerd, in the namespaces of the node."""
        return subprocess.run(
            self.house.argv(*words), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE
        )

    def end(self) -> None:
        try:
            for pod in self.ask("ListPodSandbox")["items"]:
                self.remove_pod(pod["id"])
        finally:
            super().end()

    def remove_pod(self, pod: str) -> None:
        """Stop and remove a pod with all that is in it, if it is there."""
        if self.ask("ListPodSandbox", filter={"id": pod})["items"]:
            self.ask("StopPodSandbox", pod_sandbox_id=pod)
            self.remove_containers(pod)
            self.ask("RemovePodSandbox", pod_sandbox_id=pod)

    def remove_containers(self, pod: str) -> None:
        # What dies while it is stopped is taken for stopped a moment too early by containerd 1.6, and then not removed.
        for one in self.ask("ListContainers", filter={"pod_sandbox_id": pod})["containers"]:
            self.ask("StopContainer", container_id=one["id"])
            until(partial(self._is_over, one["id"]), f"{one['id']} runs")
            self.ask("RemoveContainer", container_id=one["id"])

    def _is_over(self, container: str) -> bool:
        return self.ask("ContainerStatus", container_id=container)["status"]["state"] != cri_words.RUNNING  # type: ignore[no-any-return]


class Pod:
    """A pod sandbox. `linux` is a LinuxPodSandboxConfig; without namespaces in it, the pod has the node's network."""

    def __init__(self, node: Node, image: str, linux: Message | None = None, handler: str = "", **config: Any) -> None:
        self.node = node
        self.image = image
        self.name = f"pod-{os.urandom(3).hex()}"
        self.logs = node.directory / self.name
        self.cgroup = f"tests/{self.name}"
        linux = {"cgroup_parent": f"/{self.cgroup}"} | (linux or {})
        shared = {"network": NODE, "pid": CONTAINER, "ipc": POD}
        security = {"namespace_options": shared} | linux.get("security_context", {})
        name = {"name": self.name, "uid": self.name, "namespace": "default", "attempt": 0}
        places = {"metadata": name, "log_directory": str(self.logs), "linux": linux | {"security_context": security}}
        self.namespaces = security["namespace_options"]
        self.config: Message = places | config
        self.logs.mkdir()
        self.id = node.ask("RunPodSandbox", config=self.config, runtime_handler=handler)["pod_sandbox_id"]

    @property
    def status(self) -> Message:
        return self.node.ask("PodSandboxStatus", pod_sandbox_id=self.id)["status"]  # type: ignore[no-any-return]

    @property
    def info(self) -> Message:
        """What containerd tells of the sandbox beyond the interface: its process, the specification it was made by."""
        return json.loads(self.node.ask("PodSandboxStatus", pod_sandbox_id=self.id, verbose=True)["info"]["info"])  # type: ignore[no-any-return]

    def create(
        self, *command: str, security: Message | None = None, resources: Message | None = None, **config: Any
    ) -> Container:
        return Container(self, command, security or {}, resources or {}, config)

    def start(self, *command: str, **config: Any) -> Container:
        container = self.create(*command, **config)
        container.start()
        return container

    def run(self, *command: str, **config: Any) -> str:
        """Run a container to its end; insist on 0 and return its output, both streams of it."""
        container = self.start(*command, **config)
        assert container.wait()["exit_code"] == 0, container.said()
        return container.said()

    def end(self) -> None:
        """Stop and remove the pod with all that is in it, and the cgroup, which is the kubelet's to remove."""
        self.node.remove_pod(self.id)
        for place in (Path("/sys/fs/cgroup") / self.cgroup, *Path("/sys/fs/cgroup").glob(f"*/{self.cgroup}")):
            if place.is_dir():
                place.rmdir()


class Container:
    """A container of a pod, created and not yet started."""

    def __init__(self, pod: Pod, command: Sequence[str], security: Message, resources: Message, config: Message) -> None:
        self.pod = pod
        self.name = f"c-{os.urandom(3).hex()}"
        self.log = pod.logs / f"{self.name}.log"
        linux = {"security_context": {"namespace_options": pod.namespaces} | security, "resources": resources}
        named = {"metadata": {"name": self.name, "attempt": 0}, "image": {"image": pod.image}, "log_path": self.log.name}
        whole = named | {"command": list(command), "linux": linux} | config
        asked = {"pod_sandbox_id": pod.id, "config": whole, "sandbox_config": pod.config}
        self.id: str = pod.node.ask("CreateContainer", **asked)["container_id"]

    def ask(self, method: str, **fields: Any) -> Message:
        return self.pod.node.ask(method, container_id=self.id, **fields)

    def start(self) -> None:
        self.ask("StartContainer")

    @property
    def status(self) -> Message:
        return self.ask("ContainerStatus")["status"]  # type: ignore[no-any-return]

    @property
    def pid(self) -> int:
        """Its first process, as the node sees it."""
        return json.loads(self.ask("ContainerStatus", verbose=True)["info"]["info"])["pid"]  # type: ignore[no-any-return]

    def wait(self) -> Message:
        """Return its status when it has ended."""
        until(lambda: self.status["state"] == cri_words.EXITED, f"{self.id} runs")
        return self.status

    def exec(self, *words: str, timeout: int = 0) -> Message:
        return self.ask("ExecSync", cmd=list(words), timeout=timeout)

    def ok(self, *words: str) -> str:
        """Execute a program in it; insist on 0 and return its output without the last newline."""
        done = self.exec(*words)
        assert done["exit_code"] == 0, done
        return done["stdout"].decode().removesuffix("\n")  # type: ignore[no-any-return]

    def lines(self) -> list[tuple[str, str, str]]:
        """Return its log: stream, tag (F: a whole line) and text of each line, when what is in there is complete."""
        found = [line.split(" ", 3) for line in self.log.read_text().splitlines()]
        return [(stream, tag, text) for _, stream, tag, text in found]

    def said(self) -> str:
        return "\n".join(text for _, _, text in self.lines())

    def limit(self, controller: str, v1: str, v2: str) -> str:
        """Return what stands in a file of its cgroup, of whichever version."""
        old = Path(f"/sys/fs/cgroup/{controller}/{self.pod.cgroup}/{self.id}/{v1}")
        return (old if old.exists() else Path(f"/sys/fs/cgroup/{self.pod.cgroup}/{self.id}/{v2}")).read_text().strip()
