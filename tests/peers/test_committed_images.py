"""An image that crate has committed, read by others: their trees are what crate's own container shows."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.ready import Ready

if TYPE_CHECKING:
    from support.engines import Podman

SCRIPT = """
echo new > /new; ln /new /hard; ln -s new /soft; chown 5:6 /new; chmod 4755 /new; rm /etc/group; rm -r /home; mkdir -p /home/bob
mkdir -p /deep/er; echo x > /deep/er/file
"""
LOOK = "cat /new /hard /deep/er/file; stat -c '%u:%g %a %h' /new; readlink /soft; ls /home; test -e /etc/group || echo gone"
SEEN = ["new", "new", "x", "5:6", "4755", "2", "new", "bob", "gone"]


@pytest.fixture
def committed(root_box: Ready) -> str:
    """The committed image, as others name it: oci:LAYOUT:NAME."""
    rootful = root_box.crate
    rootful.ok("run", "--name", "web", root_box.image, "sh", "-ec", SCRIPT)
    rootful.ok("commit", "-c", 'CMD ["sh", "-c", "echo ran"]', "web", "site")
    assert rootful.ok("run", "--rm", "site", "sh", "-c", LOOK).split() == SEEN
    return f"oci:{rootful.root}/images:docker.io/library/site:latest"


def test_podman_runs_it(podman: Podman, committed: str) -> None:
    identity = podman.ok("pull", "-q", committed)
    assert podman.ok("run", "--rm", identity, "sh", "-c", LOOK).split() == SEEN
    assert podman.ok("run", "--rm", identity) == "ran"


def test_skopeo_copies_it_and_umoci_unpacks_it(committed: str, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None or shutil.which("umoci") is None or os.geteuid():
        pytest.skip("skopeo or umoci is not installed, or this is not root")
    subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", committed, f"oci:{tmp_path}/copy:site"], check=True)
    subprocess.run(
        ["umoci", "unpack", "--image", f"{tmp_path}/copy:site", tmp_path / "bundle"], check=True, capture_output=True
    )
    root = tmp_path / "bundle/rootfs"
    assert (root / "new").read_text() == (root / "hard").read_text() == "new\n"
    assert (root / "new").stat().st_nlink == 2
    assert not (root / "etc/group").exists()
    assert os.listdir(root / "home") == ["bob"]
