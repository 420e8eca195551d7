"""containerd and its shim run their containers with crate-oci, and notice nothing."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from support.engines import Containerd

pytestmark = pytest.mark.xdist_group("containerd")
ENGINE = "containerd"


def status(containerd: Containerd, name: str) -> str:
    return {line.split()[0]: line.split()[2] for line in containerd.ok("tasks", "ls").splitlines()[1:]}.get(name, "gone")


def run(containerd: Containerd, image: str, *words: str, more: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return containerd("run", "--rm", *containerd.flags(), *more, image, f"one-{os.urandom(3).hex()}", *words)


def test_run_prints_and_ends_with_the_commands_code(containerd: Containerd, image: str) -> None:
    done = run(containerd, image, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


def test_a_program_that_is_not_there_is_said_by_name(containerd: Containerd, image: str) -> None:
    done = run(containerd, image, "no-such-program")
    assert done.returncode != 0
    assert "no-such-program" in done.stderr
    assert "executable file not found in" in done.stderr


def test_a_terminal_is_there(containerd: Containerd, image: str) -> None:
    argv = containerd.house.argv(
        *containerd.words(), "run", "--rm", "-t", *containerd.flags(), image, "terminal", "sh", "-c", "tty"
    )
    words = " ".join(argv)
    done = subprocess.run(["script", "-qec", words, "/dev/null"], capture_output=True, text=True, timeout=60)
    assert "/dev/pts/0" in done.stdout, done.stdout


def test_exec_has_the_commands_output_and_code(containerd: Containerd, box: str) -> None:
    # ctr itself may end before it has copied the output of what is over at once.
    done = containerd("tasks", "exec", "--exec-id", "e1", box, "sh", "-c", "echo inside; sleep 0.3; exit 9")
    assert (done.stdout, done.returncode) == ("inside\n", 9)


def test_exec_of_what_is_not_there_is_an_error(containerd: Containerd, box: str) -> None:
    done = containerd("tasks", "exec", "--exec-id", "e2", box, "no-such-program")
    assert done.returncode != 0
    assert "executable file not found in" in done.stderr
    assert status(containerd, box) == "RUNNING"


def test_pause_and_resume(containerd: Containerd, box: str) -> None:
    containerd.ok("tasks", "pause", box)
    assert status(containerd, box) == "PAUSED"
    containerd.ok("tasks", "resume", box)
    assert status(containerd, box) == "RUNNING"


def test_kill_ends_it_with_its_own_code(containerd: Containerd, box: str) -> None:
    containerd.ok("tasks", "kill", "-s", "TERM", box)
    for _ in range(100):
        if status(containerd, box) == "STOPPED":
            break
    assert status(containerd, box) == "STOPPED"


def test_ps_lists_the_processes(containerd: Containerd, box: str) -> None:
    assert len(containerd.ok("tasks", "ps", box).splitlines()) >= 2


def test_metrics_are_told(containerd: Containerd, box: str) -> None:
    metrics = containerd.ok("tasks", "metrics", "--format", "json", box)
    told = json.loads(metrics)
    assert int(told.get("pids", {}).get("current", 0)) >= 1, metrics


def test_limits_reach_the_cgroup(containerd: Containerd, image: str) -> None:
    more = ("--memory-limit", str(32 << 20), "--cpus", "0.5")
    done = run(containerd, image, "sh", "-c", "cat /proc/self/cgroup", more=more)
    assert done.returncode == 0, done.stderr


def test_a_mount_and_the_hosts_network(containerd: Containerd, image: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from outside\n")
    more = ("--mount", f"type=bind,src={tmp_path},dst=/host,options=rbind:ro", "--net-host")
    done = run(
        containerd, image, "sh", "-c", "cat /host/file; touch /host/x || echo refused; readlink /proc/self/ns/net", more=more
    )
    assert done.stdout.splitlines() == ["from outside", "refused", os.readlink(f"/proc/{containerd.house.pid}/ns/net")]


def test_nothing_is_left_in_the_state_directory(containerd: Containerd, image: str) -> None:
    containerd.ok("run", "-d", *containerd.flags(), image, "goes", "sleep", "100")
    assert status(containerd, "goes") == "RUNNING"
    containerd.ok("tasks", "kill", "-s", "KILL", "goes")
    containerd.ok("tasks", "delete", "--force", "goes")
    containerd.ok("containers", "delete", "goes")
    assert "goes" not in os.listdir(containerd.directory / "runc" / "tests")


@pytest.mark.parametrize("flag", ["--read-only", "--privileged", "--no-pivot"])
def test_flags_of_ctr(flag: str, containerd: Containerd, image: str) -> None:
    done = run(containerd, image, "sh", "-c", "touch /x && echo written", more=(flag,))
    assert (done.stdout == "written\n") is (flag != "--read-only"), done.stderr
