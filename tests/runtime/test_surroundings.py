"""Where a bundle runs: its view of cgroups without a cgroup namespace, and the directory of states."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

V1 = Path("/sys/fs/cgroup/memory/tasks").exists()


@pytest.mark.skipif(os.geteuid() != 0 or not V1, reason="needs root, and cgroup v1")
def test_the_container_sees_its_own_cgroup_and_nobody_elses(oci) -> None:
    if oci.rootless:
        pytest.skip("an ordinary user has no cgroup of v1")
    bundle = oci.bundle(script="cat /sys/fs/cgroup/memory/tasks; ls -d /sys/fs/cgroup/memory/*/ 2>/dev/null; echo end")
    bundle.linux["namespaces"] = [one for one in bundle.linux["namespaces"] if one["type"] != "cgroup"]
    *inside, end = oci.output(bundle).split()
    assert end == "end"
    assert 1 <= len(inside) <= 3  # its own processes, as numbers of its PID namespace
    assert inside[0] == "1"


def test_the_state_of_somebody_else_is_not_believed(oci) -> None:
    """What it names would be signalled, and removed, with the rights of whoever calls."""
    if oci.kind != "root":
        pytest.skip("needs root, to make a directory of another user's")
    oci.root.mkdir(mode=0o700)
    os.chown(oci.root, 12345, 12345)
    for words in (("state", "x"), ("kill", "x"), ("delete", "--force", "x"), ("start", "x"), ("list",)):
        assert "belongs to uid 12345" in oci.fails(*words)
    os.chown(oci.root, 0, 0)


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "directory"])
def test_what_is_no_file_in_the_place_of_config_json_is_refused_at_once(root_oci, kind):
    bundle = root_oci.bundle("true")
    config = bundle.directory / "config.json"
    config.unlink()
    make = {
        "fifo": lambda: os.mkfifo(config),
        "socket": lambda: _bind(config),
        "device": lambda: os.mknod(config, 0o20666, os.makedev(1, 5)),
        "directory": config.mkdir,
    }
    make[kind]()
    for verb in ("create", "run"):
        told = root_oci.fails(verb, "--bundle", bundle.directory, root_oci.name(), timeout=60)
        assert f"cannot read {config}: {'is a directory' if kind == 'directory' else 'not a regular file'}" in told


def test_a_relative_root_in_a_directory_that_is_gone_is_said(root_oci, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    done = root_oci.person.run(
        ["sh", "-c", f"cd {gone} && rmdir {gone} && exec {root_oci.executable} --root here list"], timeout=90
    )
    assert done.returncode == 1
    assert "--root here: the working directory is gone\n  hint: --root takes an absolute path" in done.stderr
