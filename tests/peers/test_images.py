"""The images that the tests make are real ones to a client that is not ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.images import Image

if TYPE_CHECKING:
    from conftest import Built


@pytest.mark.parametrize("form", ["__str__", "docker_archive", "oci_archive"])
def test_skopeo_reads_busybox_in_each_form(busybox_image: Built, form: str) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    name = str(busybox_image) if form == "__str__" else getattr(busybox_image, form)
    done = subprocess.run(["skopeo", "inspect", "--config", name], capture_output=True, text=True)
    assert json.loads(done.stdout)["config"]["Cmd"] == ["sh"], done.stderr


def test_umoci_unpacks_alpine(alpine_image: Built, tmp_path: object) -> None:
    if shutil.which("umoci") is None or os.geteuid():
        pytest.skip("umoci is not installed, or this is not root")
    name = f"{alpine_image.layout}:{alpine_image.name}"
    done = subprocess.run(["umoci", "unpack", "--image", name, f"{tmp_path}/bundle"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert os.path.exists(f"{tmp_path}/bundle/rootfs/etc/alpine-release")


@pytest.mark.xdist_group("debian")
def test_the_debian_image_has_a_debian_in_it(debian_base: Image) -> None:
    assert len(debian_base.layers[0].data) > 20_000_000
