"""Where a bundle runs: its view of cgroups without a cgroup namespace, and the directory of states."""

from __future__ import annotations

import os
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
