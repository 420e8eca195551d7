"""Images of which something is missing: they hide none of the others, and can be removed or pulled again."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from support.images import Image, Tree
from support.registry import Registry


@pytest.fixture
def two(rootful, busybox_image, build, busybox_base):  # type: ignore[no-untyped-def]
    """A store with a healthy image and another one, and the config of the other."""
    rootful.ok("pull", "--quiet", str(busybox_image))
    other = build("other", Image((*busybox_base.layers, Tree().file("more", "x").layer()), busybox_base.config))
    rootful.ok("pull", "--quiet", str(other))
    return rootful, busybox_image.image, other.image


def blob(crate, digest: str) -> Path:  # type: ignore[no-untyped-def]
    return Path(crate.root, "images/blobs", digest.replace(":", "/"))


def short(image: Image) -> str:
    return image.id.removeprefix("sha256:")[:12]


def test_the_others_are_listed_and_run(two) -> None:
    crate, healthy, other = two
    blob(crate, other.id).unlink()
    done = crate("images", "--no-trunc")
    assert done.returncode == 1
    assert healthy.id in done.stdout
    assert "damaged" in done.stderr
    assert "crate rmi" in done.stderr
    assert crate.ok("run", "--rm", short(healthy), "echo", "x") == "x"
    crate.ok("info")


@pytest.mark.parametrize("what", ["config", "manifest"])
def test_a_damaged_one_can_be_removed(two, what: str) -> None:
    crate, healthy, other = two
    blob(crate, other.id if what == "config" else other.digest).unlink()
    crate.ok("rmi", short(other) if what == "config" else other.digest.removeprefix("sha256:")[:12])
    assert crate.ok("images", "-q", "--no-trunc") == healthy.id
    assert crate.ok("run", "--rm", short(healthy), "echo", "x") == "x"


def test_the_layers_of_a_container_stay_when_its_damaged_image_goes(two) -> None:
    crate, _healthy, other = two
    name = crate.ok("create", short(other), "cat", "/more")
    assert crate.ok("start", "-a", name) == "x"
    before = sorted(path.name for path in Path(crate.root, "images/layers").iterdir())
    blob(crate, other.id).unlink()
    crate.ok("rmi", "-f", short(other))
    assert sorted(path.name for path in Path(crate.root, "images/layers").iterdir()) == before
    crate.ok("rm", name)


def test_a_layer_without_its_tree_is_unpacked_again(two) -> None:
    crate, healthy, _other = two
    for layer in Path(crate.root, "images/layers").iterdir():
        shutil.rmtree(layer / "fs")
    assert crate.ok("run", "--rm", short(healthy), "echo", "x") == "x"


def test_an_image_can_be_removed_where_the_disk_is_full(rootful, busybox_image, small_store) -> None:
    crate = rootful.within((), CRATE_ROOT=str(small_store))
    crate.ok("pull", "--quiet", str(busybox_image))
    with Path(small_store, "filler").open("wb", 0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert os.statvfs(small_store).f_bavail == 0
    crate.ok("rmi", short(busybox_image.image))
    assert crate.ok("images", "-q") == ""


@pytest.fixture
def pulled(crate, registry, word: str, busybox_base):  # type: ignore[no-untyped-def]
    """A store with an image of a registry, by its name there, and that image."""
    image = Image((*busybox_base.layers, Tree().file("more", word).layer()), busybox_base.config)
    name = registry.push(word, "latest", image)
    crate.ok("pull", "--quiet", name)
    return crate, name, image


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
@pytest.mark.parametrize("harm", ["flipped", "gone", "directory"])
def test_a_repair_fetches_what_is_damaged_again(pulled, which: str, harm: str) -> None:
    crate, name, image = pulled
    crate.ok("create", "--name", "web", name, "cat", "/more")
    path = blob(crate, {"manifest": image.digest, "config": image.id, "layer": image.layers[1].digest}[which])
    raw = path.read_bytes()
    path.unlink()
    if harm == "flipped":
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    elif harm == "directory":
        path.mkdir()
    assert crate("system", "check").returncode == 1
    assert "fetched image" in crate.ok("system", "check", "--repair")
    assert path.read_bytes() == raw
    assert crate.ok("system", "check") == "nothing is damaged"
    assert crate.ok("images", "--format", "{{.Repository}}:{{.Tag}}") == name
    assert crate.ok("start", "-a", "web") == crate.ok("run", "--rm", "--pull", "never", name, "cat", "/more")


def test_a_repair_after_the_tag_has_moved_fetches_what_the_image_was(pulled, registry, word: str, busybox_base) -> None:
    crate, name, image = pulled
    registry.push(word, "latest", busybox_base)
    blob(crate, image.layers[1].digest).write_bytes(b"x")
    assert "fetched image" in crate.ok("system", "check", "--repair")
    assert crate.ok("run", "--rm", "--pull", "never", name, "cat", "/more") == word


def test_a_repair_without_the_registry_keeps_what_a_container_needs_and_removes_the_rest(
    scratch, word: str, rootful, busybox_base
) -> None:
    with Registry(scratch / word / "registry") as registry:
        name = registry.push(word, "latest", busybox_base)
        rootful.ok("pull", "--quiet", name)
    rootful.ok("create", "--name", "web", name, "true")
    path = blob(rootful, busybox_base.layers[0].digest)
    path.write_bytes(b"x")
    done = rootful("system", "check", "--repair")
    assert (done.returncode, path.read_bytes()) == (1, b"x")
    assert f"crate pull {name}" in done.stdout
    rootful.ok("start", "web")
    rootful.ok("rm", "-f", "web")
    assert "removed image" in rootful.ok("system", "check", "--repair")
    assert rootful.ok("images", "-q") == ""
