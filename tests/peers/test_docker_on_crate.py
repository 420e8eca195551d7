"""Docker runs its containers with crate-oci, and notices nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.engines import Docker

pytestmark = pytest.mark.xdist_group("docker")
ENGINE = "docker"


def test_run_prints_and_ends_with_the_commands_code(docker: Docker, image: str) -> None:
    done = docker("run", "--rm", "--network", "none", image, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


def test_run_reads_standard_input(docker: Docker, image: str) -> None:
    assert docker.ok("run", "--rm", "-i", "--network", "none", image, "cat", input="hello") == "hello"


@pytest.mark.parametrize(
    ("command", "code"), [("/nowhere", 127), ("no-such-program", 127), ("/etc", 126), ("/etc/passwd", 126)]
)
def test_what_cannot_be_run_has_dockers_codes(command: str, code: int, docker: Docker, image: str) -> None:
    done = docker("run", "--rm", "--network", "none", image, command)
    assert done.returncode == code, done.stderr


def test_a_terminal_is_there(docker: Docker, image: str) -> None:
    name = docker.ok("run", "-d", "-t", "--network", "none", image, "sh", "-c", "tty; sleep 100")
    docker.until("/dev/pts/0", "logs", name)
    docker.ok("rm", "-f", name)


def test_exec_runs_in_the_container_with_what_it_is_given(docker: Docker, box: str) -> None:
    flags = ("-e", "A=b c", "-w", "/tmp", "-u", "1000:50")
    said = docker.ok("exec", *flags, box, "sh", "-c", 'echo "$A"; pwd; id -u; id -g')
    assert said.splitlines() == ["b c", "/tmp", "1000", "50"]


def test_exec_has_the_codes_of_what_it_runs(docker: Docker, box: str) -> None:
    codes = [docker("exec", box, *words).returncode for words in (["sh", "-c", "exit 9"], ["no-such"], ["/etc"])]
    assert codes in ([9, 127, 126], [9, 126, 126])  # the second is what Docker 20.10 makes of it


def test_exec_has_standard_input(docker: Docker, box: str) -> None:
    assert docker.ok("exec", "-i", box, "cat", input="through") == "through"


def test_stop_lets_the_command_end_itself(docker: Docker, box: str) -> None:
    docker.ok("stop", "-t", "10", box)
    assert docker.ok("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", box) == "exited 3"


def test_kill_and_wait(docker: Docker, box: str) -> None:
    docker.ok("kill", box)
    assert docker.ok("wait", box) == "137"


def test_restart_runs_it_again(docker: Docker, box: str) -> None:
    docker.ok("restart", "-t", "5", box)
    docker.until("up\nup", "logs", box)
    assert docker.ok("inspect", "--format", "{{.State.Running}}", box) == "true"


def test_a_restart_policy_restarts_what_fails(docker: Docker, image: str) -> None:
    name = docker.ok("run", "-d", "--network", "none", "--restart", "on-failure:2", image, "sh", "-c", "echo tried; exit 1")
    docker.until("tried\ntried\ntried", "logs", name)
    docker.until("exited 2", "inspect", "--format", "{{.State.Status}} {{.RestartCount}}", name)
    docker.ok("rm", name)


def test_pause_and_unpause(docker: Docker, box: str) -> None:
    docker.ok("pause", box)
    assert docker.ok("inspect", "--format", "{{.State.Status}}", box) == "paused"
    docker.ok("unpause", box)
    docker.ok("exec", box, "true")


def test_a_paused_container_is_removed(docker: Docker, image: str) -> None:
    name = docker.ok("run", "-d", "--network", "none", image, "sleep", "100")
    docker.ok("pause", name)
    docker.ok("rm", "-f", name)


def limit(docker: Docker, name: str, controller: str, v1: str, v2: str) -> str:
    """Return what stands in a file of the container's cgroup, of whichever version."""
    whole = docker.ok("inspect", "--format", "{{.Id}}", name)
    old = Path(f"/sys/fs/cgroup/{controller}/docker/{whole}/{v1}")
    return (old if old.exists() else Path(f"/sys/fs/cgroup/docker/{whole}/{v2}")).read_text().strip()


def test_limits_are_in_the_cgroup_and_update_changes_them(docker: Docker, image: str) -> None:
    flags = ("--memory", "64m", "--pids-limit", "33", "--cpus", "0.5", "--blkio-weight", "300")
    name = docker.ok("run", "-d", "--network", "none", *flags, image, "sleep", "100")
    assert limit(docker, name, "memory", "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    assert limit(docker, name, "pids", "pids.max", "pids.max") == "33"
    docker.ok("update", "--memory", "128m", "--memory-swap", "256m", "--pids-limit", "44", "--cpus", "1.5", name)
    assert limit(docker, name, "memory", "memory.limit_in_bytes", "memory.max") == str(128 << 20)
    assert limit(docker, name, "pids", "pids.max", "pids.max") == "44"
    docker.ok("rm", "-f", name)


def test_what_takes_too_much_memory_is_said_to_be_killed_for_it(docker: Docker, image: str) -> None:
    name = docker.ok(
        "create",
        "--network",
        "none",
        "--memory",
        "16m",
        "--memory-swap",
        "16m",
        image,
        "sh",
        "-c",
        "until [ -e /hungry ]; do sleep 0.1; done; tail /dev/zero; code=$?; until [ -e /told ]; do sleep 0.1; done; exit $code",
    )
    docker.ok("start", name)  # from then on Docker is told of what happens in the cgroup, and not of what was before
    docker.ok("exec", name, "touch", "/hungry")
    events = ("events", "--since", "10m", "--until", "0s", "--filter", f"container={name}", "--filter", "event=oom")
    docker.until("oom", *events, "--format", "{{.Action}}")  # Docker believes that of a cgroup which is there
    docker.ok("exec", name, "touch", "/told")
    docker.until("137 true", "inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", name)
    docker.ok("rm", name)


def test_stats_and_top_look_into_it(docker: Docker, box: str) -> None:
    assert box in docker.ok("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}")
    assert "sh" in docker.ok("top", box)


def test_a_healthcheck_runs_inside(docker: Docker, image: str) -> None:
    flags = ("--health-cmd", "test -e /healthy", "--health-interval", "1s", "--health-retries", "1")
    name = docker.ok("run", "-d", "--network", "none", *flags, image, "sleep", "100")
    docker.until("unhealthy", "inspect", "--format", "{{.State.Health.Status}}", name)
    docker.ok("exec", name, "touch", "/healthy")
    docker.until("healthy", "inspect", "--format", "{{.State.Health.Status}}", name)
    docker.ok("rm", "-f", name)


def test_volumes_are_shared_and_read_only_where_they_should_be(docker: Docker, image: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside\n")
    flags = ("-v", "data:/data", "-v", f"{tmp_path}:/host:ro", "--tmpfs", "/t:size=1m")
    said = docker.run(
        image,
        "sh",
        "-c",
        "cat /host/file; echo kept > /data/x; touch /host/y 2>/dev/null || echo refused; df -k /t | tail -n 1",
        flags=flags,
    )
    assert said.splitlines()[:2] == ["from outside", "refused"]
    assert said.split()[4] == "1024"
    assert docker.run(image, "cat", "/data/x", flags=("-v", "data:/data")) == "kept"
    docker.ok("volume", "rm", "data")


def test_networks_none_host_and_bridge(docker: Docker, image: str) -> None:
    assert docker.run(image, "ls", "/sys/class/net").split() == ["lo"]
    assert "eth0" in docker.ok("run", "--rm", image, "ls", "/sys/class/net").split()
    host = docker.ok("run", "--rm", "--network", "host", image, "readlink", "/proc/self/ns/net")
    assert host == os.readlink(f"/proc/{docker.house.pid}/ns/net")


def test_two_containers_talk_over_a_network(docker: Docker, image: str) -> None:
    docker.ok("network", "create", "talk")
    docker.ok("run", "-d", "--name", "server", "--network", "talk", image, "sh", "-c", "echo heard | nc -l -p 9000")
    script = "for i in 1 2 3 4 5 6 7 8 9; do nc server 9000 </dev/null && exit; sleep 0.2; done"
    assert docker.ok("run", "--rm", "--network", "talk", image, "sh", "-c", script) == "heard"
    docker.ok("rm", "-f", "server")
    docker.ok("network", "rm", "talk")


def test_build_runs_its_commands(docker: Docker, image: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\nRUN echo built > /x && id -u >> /x\nUSER 1000\nCMD cat /x; id -u\n")
    docker.environment["DOCKER_BUILDKIT"] = "0"  # buildkit runs a runtime of its own choice
    docker.ok("build", "-q", "--network", "none", "-t", "built", tmp_path)
    assert docker.run("built").split() == ["built", "0", "1000"]


def test_commit_cp_and_diff_of_a_running_container(docker: Docker, box: str, tmp_path: Path) -> None:
    docker.ok("exec", box, "sh", "-c", "echo mine > /mine")
    docker.ok("cp", f"{box}:/mine", tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine\n"
    assert "A /mine" in docker.ok("diff", box).splitlines()
    docker.ok("commit", box, "committed")
    assert docker.run("committed", "cat", "/mine") == "mine"


# "All" are those that Docker knows, the last of Docker 20.10 is CAP_AUDIT_READ, and that root has here.
ALL = int(Path("/proc/self/status").read_text().partition("CapBnd:\t")[2].split()[0], 16)
CAPABILITIES = f"{ALL & 0x3FFFFFFFFF:016x}"
FLAGS = [
    (("--read-only",), "touch /x 2>/dev/null || echo refused", "refused"),
    (("--cap-drop", "all"), "grep CapEff /proc/self/status | cut -f2", "0000000000000000"),
    (("--security-opt", "no-new-privileges"), "grep NoNewPrivs /proc/self/status | cut -f2", "1"),
    (("--user", "1000:50"), 'echo "$(id -u) $(id -g)"', "1000 50"),
    (("--privileged",), 'printf "%016x\n" $((0x$(grep CapBnd /proc/self/status | cut -f2) & 0x3fffffffff))', CAPABILITIES),
    (("--pid", "host"), "readlink /proc/self/ns/pid", None),
    (("--ipc", "host"), "readlink /proc/self/ns/ipc", None),
    (("--uts", "host"), "readlink /proc/self/ns/uts", None),
    (("--hostname", "name", "--sysctl", "net.ipv4.ip_forward=1"), "hostname; cat /proc/sys/net/ipv4/ip_forward", "name\n1"),
    (("--ulimit", "nofile=100:200"), 'echo "$(ulimit -Sn) $(ulimit -Hn)"', "100 200"),
    (("--device", "/dev/fuse"), "test -c /dev/fuse && echo there", "there"),
    (("--shm-size", "2m"), "df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d' ' -f2", "2048"),
    (("--group-add", "7"), "id -G | tr ' ' '\\n' | grep -x 7", "7"),
    (("--oom-score-adj", "500"), "cat /proc/self/oom_score_adj", "500"),
    (("--env", "X=a b", "--workdir", "/etc"), 'echo "$X"; pwd', "a b\n/etc"),
    (("--security-opt", "seccomp=unconfined"), "grep Seccomp: /proc/self/status | cut -f2", "0"),
    (("--cgroupns", "private"), "readlink /proc/self/ns/cgroup | cut -d: -f1", "cgroup"),
]


@pytest.mark.parametrize(("flags", "script", "wanted"), FLAGS, ids=lambda value: value[0] if isinstance(value, tuple) else "")
def test_flags_reach_the_container(flags: tuple[str, ...], script: str, wanted: str | None, docker: Docker, image: str) -> None:
    if "/dev/fuse" in flags and not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse on this machine")
    if wanted is None:
        wanted = os.readlink(f"/proc/{docker.house.pid}/ns/{flags[0].removeprefix('--')}")
    assert docker.run(image, "sh", "-c", script, flags=flags) == wanted
