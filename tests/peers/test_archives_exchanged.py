"""Images that go between crate and other engines as files, in both directions, and what is still the same on the other side."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.commands import Crate
from support.engines import Containerd, Docker, Engine, Podman
from support.images import Image, Tree, write_oci_layout

ONE, TWO = "docker.io/library/site:1", "registry.example/site:2"


@pytest.fixture
def pair(busybox_base: Image) -> dict[str, Image]:
    """Two images by name, each of which says its own; one is built upon the other's layer."""
    extra = Tree().file("mark", "x").layer()
    layers = {ONE: busybox_base.layers, TWO: (*busybox_base.layers, extra)}
    return {name: Image(found, busybox_base.changed(Cmd=["echo", name]).config) for name, found in layers.items()}


@pytest.fixture
def stored(rootful: Crate, pair: dict[str, Image]) -> Crate:
    """crate with both of them, whose layers are gzip and whose manifests are those of `pair`."""
    rootful.ok("load", "-i", write_oci_layout(rootful.directory / "layout", pair))
    return rootful


def manifests(crate: Crate) -> dict[str, str]:
    return {name: crate.json("image", "inspect", name)[0]["Metadata"]["ManifestDigest"] for name in (ONE, TWO)}  # type: ignore[index]


def loaded(rootful: Crate, path: Path) -> set[str]:
    """Load an archive that another engine has written, and run both of its images; return their IDs."""
    said = rootful.ok("load", "-q", "-i", path)
    assert sorted(said.splitlines()) == ["Loaded image: registry.example/site:2", "Loaded image: site:1"]
    assert rootful.ok("system", "check") == "nothing is damaged"
    for name in (ONE, TWO):
        assert rootful.ok("run", "--rm", "--network", "none", name) == name
    return {document["Id"] for document in rootful.json("image", "inspect", ONE, TWO)}  # type: ignore[union-attr,index]


def wipe(crate: Crate) -> None:
    crate.ok("rmi", ONE, TWO)
    assert crate.ok("images", "-q") == ""


def exchange(engine: Engine, crate: Crate, pair: dict[str, Image], read: list[str], write: list[str]) -> set[str]:
    """Send both images to the engine and back; return the IDs that they have then."""
    there, back = crate.directory / "there.tar", crate.directory / "back.tar"
    crate.ok("save", "-o", there, ONE, TWO)
    engine.ok(*read, there)
    engine.ok(*write, back, ONE, TWO)
    wipe(crate)
    return loaded(crate, back)


def test_docker_takes_them_and_gives_them_back(docker: Docker, stored: Crate, pair: dict[str, Image]) -> None:
    ids = exchange(docker, stored, pair, ["load", "-i"], ["save", "-o"])
    assert ids == {image.id for image in pair.values()}
    assert docker.run("site:1") == ONE
    assert docker.run("registry.example/site:2") == TWO


def test_podman_takes_them_and_gives_them_back(podman: Podman, stored: Crate, pair: dict[str, Image]) -> None:
    ids = exchange(podman, stored, pair, ["load", "-i"], ["save", "-m", "-o"])
    assert ids == {image.id for image in pair.values()}
    assert podman.run(ONE) == ONE
    assert podman.run(TWO) == TWO


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_podman_takes_each_form_by_the_images_name(podman: Podman, stored: Crate, form: str) -> None:
    target = stored.directory / "one"
    stored.ok("save", "--format", form, "-o", target, ONE)
    podman("rmi", "-f", ONE)
    assert ONE in podman.ok("load", "-i", target)
    assert podman.run(ONE) == ONE


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive", "oci-dir"])
def test_crate_takes_each_form_that_podman_writes(podman: Podman, stored: Crate, form: str) -> None:
    stored.ok("save", "-o", stored.directory / "there.tar", ONE)
    podman.ok("load", "-i", stored.directory / "there.tar")
    podman.ok("save", "--format", form, "-o", stored.directory / "back", ONE)
    wipe(stored)
    assert stored.ok("load", "-i", stored.directory / "back") == "Loaded image: site:1"
    assert stored.ok("run", "--rm", "--network", "none", ONE) == ONE


def test_containerd_takes_them_and_gives_them_back_bit_for_bit(
    containerd: Containerd, stored: Crate, pair: dict[str, Image]
) -> None:
    before = manifests(stored)
    assert set(before.values()) == {image.digest for image in pair.values()}
    ids = exchange(containerd, stored, pair, ["images", "import"], ["images", "export"])
    assert ids == {image.id for image in pair.values()}
    assert manifests(stored) == before
    listed = {line.split()[0]: line.split()[2] for line in containerd.ok("images", "ls").splitlines()[1:]}
    assert {name: listed[name] for name in (ONE, TWO)} == before


def test_podman_takes_a_directory_and_names_it_by_its_path(podman: Podman, stored: Crate) -> None:
    target = stored.directory / "one"
    stored.ok("save", "--format", "oci-dir", "-o", target, ONE)
    assert f"localhost{target}" in podman.ok("load", "-i", target)
    assert podman.run(f"localhost{target}") == ONE


def test_skopeo_copies_an_oci_archive_bit_for_bit(stored: Crate, pair: dict[str, Image]) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    there, back = stored.directory / "there.tar", stored.directory / "back.tar"
    stored.ok("save", "--format", "oci-archive", "-o", there, ONE, TWO)
    before = manifests(stored)
    for name in (ONE, TWO):
        words = ["skopeo", "copy", "-q", "--insecure-policy", f"oci-archive:{there}:{name}", f"oci-archive:{back}:{name}"]
        subprocess.run(words, check=True, capture_output=True)
        stored.ok("rmi", name)
        assert stored.ok("load", "-i", back).startswith("Loaded image: ")
        back.unlink()
    assert manifests(stored) == before


def test_an_archive_of_docker_in_which_layers_are_links_is_taken(docker: Docker, stored: Crate, pair: dict[str, Image]) -> None:
    """Docker before 25 writes a layer that two images have once, and a symlink in the other's directory."""
    stored.ok("save", "-o", stored.directory / "there.tar", ONE, TWO)
    docker.ok("load", "-i", stored.directory / "there.tar")
    docker.ok("save", "-o", stored.directory / "back.tar", "site:1", TWO)
    with tarfile.open(stored.directory / "back.tar") as tar:
        if "index.json" in tar.getnames():
            pytest.skip("this Docker is a newer one")
        assert any(member.issym() for member in tar)
    wipe(stored)
    assert loaded(stored, stored.directory / "back.tar") == {image.id for image in pair.values()}


def test_docker_imports_what_crate_imports_to_the_same_layer(docker: Docker, rootful: Crate, tmp_path: Path) -> None:
    path = rootful.directory / "root.tar"
    path.write_bytes(Tree().directory("bin").file("bin/x", "x", mode=0o755).tar())
    docker.ok("import", path, "imported:1")
    rootful.ok("import", path, "imported:1")
    ours, theirs = rootful.json("image", "inspect", "imported:1"), json.loads(docker.ok("image", "inspect", "imported:1"))
    assert ours[0]["RootFS"]["Layers"] == theirs[0]["RootFS"]["Layers"]  # type: ignore[index]
    assert ours[0]["Comment"] == theirs[0]["Comment"]  # type: ignore[index]
