"""Podman runs its containers with crate-oci, and notices nothing."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from support.engines import Podman
from support.images import Image

pytestmark = pytest.mark.xdist_group("podman")
ENGINE = "podman"


@pytest.fixture(scope="module")
def image(podman: Podman, image: str, busybox_base: Image) -> str:
    """With the image of what keeps a pod together."""
    podman.load("pause", busybox_base.changed(Entrypoint=["sleep", "1000"], Cmd=[]))
    return image


def test_run_prints_and_ends_with_the_commands_code(podman: Podman, image: str) -> None:
    done = podman("run", "--rm", "--network", "none", image, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


def test_run_reads_standard_input(podman: Podman, image: str) -> None:
    assert podman.ok("run", "--rm", "-i", "--network", "none", image, "cat", input="hello") == "hello"


def test_a_signal_ends_with_128_and_its_number(podman: Podman, image: str) -> None:
    assert podman("run", "--rm", "--network", "none", image, "sh", "-c", "sh -c 'kill -9 $$'; exit $?").returncode == 137


@pytest.mark.parametrize(
    ("command", "code"), [("/nowhere", 127), ("no-such-program", 127), ("/etc", 126), ("/etc/passwd", 126)]
)
def test_what_cannot_be_run_has_dockers_codes(command: str, code: int, podman: Podman, image: str) -> None:
    done = podman("run", "--rm", "--network", "none", image, command)
    assert done.returncode == code, done.stderr


def test_a_terminal_is_there_and_has_its_size(podman: Podman, image: str) -> None:
    said = podman.ok("run", "--rm", "-t", "--network", "none", image, "sh", "-c", "tty; test -t 0 -a -t 1 && echo yes")
    assert said.replace("\r", "").split() == ["/dev/pts/0", "yes"]


def test_exec_runs_in_the_container_with_what_it_is_given(podman: Podman, box: str) -> None:
    flags = ("-e", "A=b c", "-w", "/tmp", "-u", "1000:50")
    said = podman.ok("exec", *flags, box, "sh", "-c", 'echo "$A"; pwd; id -u; id -g; cat /proc/1/cmdline | tr "\\0" " "')
    assert said.splitlines()[:4] == ["b c", "/tmp", "1000", "50"]
    assert "trap" in said


def test_exec_has_the_codes_of_what_it_runs(podman: Podman, box: str) -> None:
    codes = [podman("exec", box, *words).returncode for words in (["sh", "-c", "exit 9"], ["no-such"], ["/etc"])]
    assert codes == [9, 127, 126]


def test_exec_has_a_terminal_and_standard_input(podman: Podman, box: str) -> None:
    assert podman.ok("exec", "-t", box, "tty").strip() == "/dev/pts/0"
    assert podman.ok("exec", "-i", box, "cat", input="through") == "through"


def test_exec_detached_goes_on(podman: Podman, box: str) -> None:
    podman.ok("exec", "-d", box, "sh", "-c", "echo there > /tmp/mark; sleep 100")
    podman.until("there", "exec", box, "sh", "-c", "cat /tmp/mark 2>/dev/null || true")
    assert "sleep 100" in podman.ok("top", box, "args")


def test_inspect_and_ps_know_that_it_runs(podman: Podman, box: str) -> None:
    state = podman.json("inspect", "--format", "{{json .State}}", box)
    assert isinstance(state, dict)
    assert (state["Status"], state["Running"], state["Pid"] > 0) == ("running", True, True)
    assert box in podman.ok("ps", "--format", "{{.Names}}").splitlines()


def test_stop_lets_the_command_end_itself(podman: Podman, box: str) -> None:
    podman.ok("stop", "-t", "10", box)
    assert podman.ok("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", box) == "exited 3"


def test_kill_sends_any_signal(podman: Podman, image: str) -> None:
    script = 'trap "echo got" USR1; echo up; while :; do sleep 0.1; done'
    name = podman.ok("run", "-d", "--network", "none", image, "sh", "-c", script)
    podman.until("up", "logs", name)
    podman.ok("kill", "--signal", "USR1", name)
    podman.until("up\ngot", "logs", name)
    podman.ok("kill", name)
    assert podman.ok("wait", name) == "137"
    podman.ok("rm", name)


def test_restart_runs_it_again(podman: Podman, box: str) -> None:
    podman.ok("restart", "-t", "5", box)
    podman.until("up\nup", "logs", box)
    assert podman.ok("inspect", "--format", "{{.State.Status}}", box) == "running"


def test_a_stopped_container_starts_again(podman: Podman, image: str) -> None:
    name = podman.ok("create", "--network", "none", image, "sh", "-c", "echo again >> /file; wc -l < /file")
    assert [podman.ok("start", "-a", name).strip() for _ in range(2)] == ["1", "2"]
    podman.ok("rm", name)


def test_pause_stops_it_where_it_is(podman: Podman, image: str) -> None:
    script = "while :; do echo x >> /count; sleep 0.02; done"
    name = podman.ok("run", "-d", "--network", "none", image, "sh", "-c", script)
    podman.ok("pause", name)
    assert podman.ok("inspect", "--format", "{{.State.Status}}", name) == "paused"
    counts = [podman.ok("cp", f"{name}:/count", "-") for _ in range(2)]
    assert counts[0] == counts[1]
    assert podman("exec", name, "true").returncode != 0
    podman.ok("unpause", name)
    podman.ok("exec", name, "true")
    podman.ok("pause", name)
    podman.ok("rm", "-f", "-t", "0", name)


def test_limits_are_in_the_cgroup_and_update_changes_them(podman: Podman, image: str) -> None:
    flags = ("--memory", "64m", "--pids-limit", "33", "--cpu-shares", "512", "--cpus", "0.5")
    name = podman.ok("run", "-d", "--network", "none", *flags, image, "sleep", "100")
    assert limit(podman, name, "memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert limit(podman, name, "pids", "pids.max", "pids.max") == "33"
    podman.ok("update", "--memory", "128m", "--cpus", "1.5", name)
    assert limit(podman, name, "memory", "memory.limit_in_bytes", "memory.max") == str(128 << 20)
    assert limit(podman, name, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "150000"
    podman.ok("rm", "-f", "-t", "0", name)


def limit(podman: Podman, name: str, controller: str, v1: str, v2: str) -> str:
    """Return what stands in a file of the container's cgroup, of whichever version."""
    pid = podman.ok("inspect", "--format", "{{.State.Pid}}", name)
    lines = subprocess.run(podman.house.argv("cat", f"/proc/{pid}/cgroup"), capture_output=True, text=True).stdout.splitlines()
    places = {kind: path for _number, kinds, path in (line.split(":", 2) for line in lines) for kind in kinds.split(",")}
    if controller in places:
        return Path(f"/sys/fs/cgroup/{controller}{places[controller]}/{v1}").read_text().strip()
    return Path(f"/sys/fs/cgroup{places['']}/{v2}").read_text().strip()


def test_too_many_processes_are_refused(podman: Podman, image: str) -> None:
    done = podman(
        "run",
        "--rm",
        "--network",
        "none",
        "--pids-limit",
        "5",
        image,
        "sh",
        "-c",
        "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done",
    )
    assert "fork" in done.stderr


def test_stats_and_top_look_into_it(podman: Podman, box: str) -> None:
    assert box in podman.ok("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}")
    assert "sh" in podman.ok("top", box, "comm")


def test_a_healthcheck_runs_inside(podman: Podman, image: str) -> None:
    flags = ("--health-cmd", "test -e /healthy", "--health-interval", "disable")
    name = podman.ok("run", "-d", "--network", "none", *flags, image, "sleep", "100")
    assert podman("healthcheck", "run", name).returncode == 1
    podman.ok("exec", name, "touch", "/healthy")
    assert podman("healthcheck", "run", name).returncode == 0
    podman.ok("rm", "-f", "-t", "0", name)


def test_volumes_are_shared_and_read_only_where_they_should_be(podman: Podman, image: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside\n")
    podman.ok("volume", "create", "data")
    flags = ("-v", "data:/data", "-v", f"{tmp_path}:/host:ro", "--tmpfs", "/t:size=1m")
    said = podman.run(
        image,
        "sh",
        "-c",
        "cat /host/file; echo kept > /data/x; touch /host/y || echo refused; df -k /t | tail -n 1",
        flags=flags,
    )
    assert said.splitlines()[:2] == ["from outside", "refused"]
    assert said.split()[4] == "1024"
    assert podman.run(image, "cat", "/data/x", flags=("-v", "data:/data")) == "kept"
    podman.ok("volume", "rm", "data")


def test_networks_none_host_and_bridge(podman: Podman, image: str) -> None:
    assert podman.run(image, "sh", "-c", "ls /sys/class/net | tr '\\n' ' '").split() == ["lo"]
    assert "eth0" in podman.ok("run", "--rm", image, "ls", "/sys/class/net").split()
    host = podman.ok("run", "--rm", "--network", "host", image, "readlink", "/proc/self/ns/net")
    assert host == os.readlink(f"/proc/{podman.house.pid}/ns/net")


def test_two_containers_talk_over_a_network(podman: Podman, image: str) -> None:
    podman.ok("network", "create", "talk")
    server = podman.ok("run", "-d", "--network", "talk", image, "sh", "-c", "echo heard | nc -l -p 9000")
    address = podman.ok("inspect", "--format", "{{.NetworkSettings.Networks.talk.IPAddress}}", server)
    script = f"for i in 1 2 3 4 5 6 7 8 9; do nc {address} 9000 </dev/null && exit; sleep 0.2; done"
    assert podman.ok("run", "--rm", "--network", "talk", image, "sh", "-c", script) == "heard"
    podman.ok("rm", "-f", "-t", "0", server)
    podman.ok("network", "rm", "talk")


def test_a_pod_shares_its_namespaces(podman: Podman, image: str) -> None:
    podman.ok("pod", "create", "--name", "pod", "--network", "none")
    script = "for kind in net ipc uts; do readlink /proc/self/ns/$kind; done"
    seen = {podman.ok("run", "--rm", "--pod", "pod", image, "sh", "-c", script) for _ in range(2)}
    assert len(seen) == 1
    assert podman.ok("pod", "inspect", "--format", "{{.State}}", "pod") in {"Running", "Degraded"}
    podman.ok("pod", "pause", "pod")
    podman.ok("pod", "unpause", "pod")
    podman.ok("pod", "rm", "-f", "-t", "0", "pod")


def test_play_kube_runs_a_pod(podman: Podman, image: str, tmp_path: Path) -> None:
    limits = {"limits": {"memory": "64Mi"}}
    one = {"name": "one", "image": image, "command": ["sh", "-c", "echo played; sleep 100"], "resources": limits}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "kube"}, "spec": {"containers": [one]}}
    (tmp_path / "pod.yaml").write_text(json.dumps(document))
    podman.ok("play", "kube", "--network", "none", tmp_path / "pod.yaml")
    podman.until("played", "logs", "kube-one")
    podman.ok("play", "kube", "--down", tmp_path / "pod.yaml")


def test_build_runs_its_commands(podman: Podman, image: str, tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text(f"FROM {image}\nRUN echo built > /x && id -u >> /x\nUSER 1000\nCMD cat /x; id -u\n")
    podman.ok("build", "-q", "--network", "none", "-t", "built", tmp_path)
    assert podman.run("localhost/built").split() == ["built", "0", "1000"]


def test_commit_and_cp_of_a_running_container(podman: Podman, box: str, tmp_path: Path) -> None:
    podman.ok("exec", box, "sh", "-c", "echo mine > /mine")
    podman.ok("cp", f"{box}:/mine", tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine\n"
    podman.ok("cp", tmp_path / "mine", f"{box}:/back")
    assert podman.ok("exec", box, "cat", "/back") == "mine"
    podman.ok("commit", "-q", box, "committed")
    assert podman.run("localhost/committed", "cat", "/mine") == "mine"


# "All" are those that root has here.
CAPABILITIES = Path("/proc/self/status").read_text().partition("CapBnd:\t")[2].split()[0]
FLAGS = [
    (("--read-only",), "touch /x 2>/dev/null || echo refused", "refused"),
    (("--cap-drop", "all"), "grep CapEff /proc/self/status | cut -f2", "0000000000000000"),
    (("--security-opt", "no-new-privileges"), "grep NoNewPrivs /proc/self/status | cut -f2", "1"),
    (("--user", "1000:50"), 'echo "$(id -u) $(id -g)"', "1000 50"),
    (("--privileged",), "grep CapBnd /proc/self/status | cut -f2", CAPABILITIES),
    (("--uidmap", "0:100000:5000", "--gidmap", "0:100000:5000"), "head -n 1 /proc/self/uid_map | tr -s ' '", " 0 100000 5000"),
    (("--pid", "host"), "readlink /proc/self/ns/pid", None),
    (("--ipc", "host"), "readlink /proc/self/ns/ipc", None),
    (("--uts", "host"), "readlink /proc/self/ns/uts", None),
    (("--hostname", "name", "--sysctl", "net.ipv4.ip_forward=1"), "hostname; cat /proc/sys/net/ipv4/ip_forward", "name\n1"),
    (("--ulimit", "nofile=100:200", "--ulimit", "nproc=100:100"), 'echo "$(ulimit -Sn) $(ulimit -Hn)"', "100 200"),
    (("--device", "/dev/fuse"), "test -c /dev/fuse && echo there", "there"),
    (("--shm-size", "2m"), "df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d' ' -f2", "2048"),
    (("--umask", "0077"), "umask", "0077"),
    (("--cgroups", "disabled"), "grep libpod /proc/self/cgroup || echo none", "none"),
    (("--cgroupns", "private"), "grep libpod /proc/self/cgroup || echo none", "none"),
    (("--security-opt", "mask=/etc"), "ls /etc", ""),
    (("--init",), "tr '\\0' ' ' < /proc/1/cmdline | cut -d' ' -f1", "/run/podman-init"),
    (("--group-add", "7"), "id -G | tr ' ' '\\n' | grep -x 7", "7"),
    (("--oom-score-adj", "500"), "cat /proc/self/oom_score_adj", "500"),
    (("--env", "X=a b", "--workdir", "/etc"), 'echo "$X"; pwd', "a b\n/etc"),
]


@pytest.mark.parametrize(("flags", "script", "wanted"), FLAGS, ids=lambda value: value[0] if isinstance(value, tuple) else "")
def test_flags_reach_the_container(flags: tuple[str, ...], script: str, wanted: str | None, podman: Podman, image: str) -> None:
    if "/dev/fuse" in flags and not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse on this machine")
    if wanted is None:
        wanted = os.readlink(f"/proc/{podman.house.pid}/ns/{flags[0].removeprefix('--')}")
    assert podman.run(image, "sh", "-c", script, flags=flags) == wanted
