"""Podman on crate-oci where systemd makes the cgroups, as it does by default on such a machine: as root and as a user."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import bundles, commands


@dataclass(frozen=True)
class Podman:
    """Podman with crate-oci, a store of its own and a root file system of busybox that needs no image."""

    directory: Path
    runtime: Path
    rootfs: Path

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        kept = ["--root", f"{self.directory}/root", "--runroot", f"{self.directory}/run", "--storage-driver", "vfs"]
        argv = ["podman", *kept, "--cgroup-manager", "systemd", "--runtime", str(self.runtime), *words]
        return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)

    def ok(self, *words: str) -> str:
        done = self(*words)
        assert done.returncode == 0, f"podman {' '.join(words)} ended with {done.returncode}: {done.stderr}"
        return done.stdout.strip()


@pytest.fixture
def podman(scratch: Path, word: str) -> Iterator[Podman]:
    directory = Path("/tmp") / word  # Podman wants the path of its state to be shorter than 50 characters
    directory.mkdir()
    rootfs = bundles.make_rootfs(directory / "rootfs")
    made = Podman(directory, commands.command("crate-oci", scratch), rootfs)
    yield made
    made("rm", "--all", "--force", "--time", "0")
    shutil.rmtree(directory, ignore_errors=True)


def test_podman_runs_a_container_in_a_scope_with_limits_and_pauses_it(podman: Podman) -> None:
    flags = ["--network", "none", "--memory", "64m", "--pids-limit", "40", "--name", "limited", "--detach"]
    podman.ok("run", *flags, "--rootfs", str(podman.rootfs), "sleep", "300")
    pid = int(podman.ok("inspect", "--format", "{{.State.Pid}}", "limited"))
    inside = podman.ok("exec", "limited", "cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max")
    cgroup = Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")
    podman.ok("pause", "limited")
    frozen = Path(f"/sys/fs/cgroup{cgroup}/cgroup.events").read_text()
    podman.ok("unpause", "limited")
    podman.ok("rm", "--force", "--time", "0", "limited")
    assert inside.split() == [str(64 << 20), "40"]
    assert cgroup.rpartition("/")[2].startswith("libpod-")
    assert (".scope" in cgroup, "user@" in cgroup) == (True, os.geteuid() != 0)
    assert "frozen 1" in frozen
    assert not Path(f"/sys/fs/cgroup{cgroup}").exists()


def test_podman_tells_the_exit_code(podman: Podman) -> None:
    assert podman("run", "--rm", "--network", "none", "--rootfs", str(podman.rootfs), "sh", "-c", "exit 7").returncode == 7
