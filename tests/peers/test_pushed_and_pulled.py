"""Images that go between crate and other engines through a registry, in both directions, and what stays the same on the way."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import registry as registries
from support.commands import Crate
from support.engines import Containerd, Docker, Engine, House, Podman
from support.images import Image, Layer, Tree, write_docker_archive, write_oci_layout
from support.registry import Registry


def beside(house: House) -> tuple[str, ...]:
    """Return the words that run a program where the engines have their loopback."""
    return ("nsenter", f"--net=/proc/{house.pid}/ns/net")


@pytest.fixture(scope="module")
def shared(house: House, scratch: Path) -> Iterator[Registry]:
    """A registry that engines and crate reach at the same address."""
    if reason := registries.why_not():
        pytest.skip(reason)
    with Registry(scratch / f"shared-{os.urandom(3).hex()}", prefix=beside(house)) as running:
        yield running


@pytest.fixture
def said(busybox_base: Image, word: str) -> Image:
    """An image that says a word of this test's own, of two layers."""
    mark = Tree().file("mark", word).layer()
    return Image((*busybox_base.layers, mark), busybox_base.changed(Cmd=["cat", "/mark"]).config)


@pytest.fixture(params=["packed", "plain"])
def stored(request: pytest.FixtureRequest, rootful: Crate, house: House, shared: Registry, said: Image, word: str) -> Crate:
    """crate with that image as `said`: its layers are gzip, out of a layout, or plain tars, out of a docker-archive."""
    source = rootful.directory / "source"
    if request.param == "packed":
        write_oci_layout(source, {"docker.io/library/said:latest": said})
    else:
        plain = Image(tuple(Layer.of_tar(gzip.decompress(each.data), "") for each in said.layers), said.config)
        write_docker_archive(source, "said:latest", plain)
    rootful.ok("load", "-i", source)
    return rootful.within(beside(house))


@pytest.fixture
def name(shared: Registry, word: str) -> str:
    return f"{shared.address}/{word}/app:1"


def pushed(crate: Crate, name: str, *flags: str) -> str:
    """Push the image; return the digest that it has in the registry."""
    return crate.ok("push", *flags, "said", name).splitlines()[-1].split()[2]


def returned(crate: Crate, name: str, word: str) -> dict[str, object]:
    """Pull what another engine has pushed, into a store without it, and run it; return what `inspect` shows."""
    crate.ok("rmi", "said")
    assert crate.ok("images", "-q") == ""
    crate.ok("pull", "-q", name)
    assert crate.ok("run", "--rm", "--network", "none", name) == word
    assert crate.ok("system", "check") == "nothing is damaged"
    found = crate.json("image", "inspect", name)
    assert isinstance(found, list)
    return found[0]  # type: ignore[no-any-return]


def at_containerd(containerd: Containerd, name: str) -> str:
    """Pull an image and run it; return what it said."""
    containerd.ok("images", "pull", "--plain-http", name)
    return containerd.ok("run", "--rm", *containerd.flags(), name, f"box-{os.urandom(3).hex()}")


def test_docker_pulls_what_was_pushed_and_gives_it_back(
    docker: Docker, stored: Crate, said: Image, name: str, word: str
) -> None:
    digest = pushed(stored, name)
    docker.ok("pull", "-q", name)
    try:
        assert docker.run(name) == word
        seen = docker.json("image", "inspect", name)[0]  # type: ignore[index]
        assert (seen["Id"], seen["RepoDigests"]) == (said.id, [f"{name.removesuffix(':1')}@{digest}"])
        docker.ok("tag", name, back := name.replace("/app:", "/back:"))
        docker.ok("push", "-q", back)
    finally:
        docker("rmi", "-f", name, name.replace("/app:", "/back:"))
    assert returned(stored, back, word)["Id"] == said.id


def test_containerd_pulls_what_was_pushed_and_gives_it_back_bit_for_bit(
    containerd: Containerd, stored: Crate, said: Image, name: str, word: str
) -> None:
    digest = pushed(stored, name)
    back = name.replace("/app:", "/back:")
    try:
        assert at_containerd(containerd, name) == word
        assert digest in containerd.ok("images", "ls", f"name=={name}")
        containerd.ok("images", "tag", name, back)
        containerd.ok("images", "push", "--plain-http", back)
    finally:
        containerd("images", "rm", name, back)
    seen = returned(stored, back, word)
    assert (seen["Id"], seen["RepoDigests"]) == (said.id, [f"{back.removesuffix(':1')}@{digest}"])


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_podman_pulls_what_was_pushed_and_gives_it_back(
    podman: Podman, stored: Crate, said: Image, name: str, word: str, form: str
) -> None:
    digest = pushed(stored, name, f"--compression-format={form}")
    podman.ok("pull", "-q", "--tls-verify=false", name)
    back = name.replace("/app:", "/back:")
    try:
        assert podman.run(name) == word
        seen = podman.json("image", "inspect", name)[0]  # type: ignore[index]
        assert (f"sha256:{seen['Id']}", seen["Digest"]) == (said.id, digest)
        podman.ok("push", "-q", "--tls-verify=false", name, back)
    finally:
        podman("rmi", "-f", name)
    assert returned(stored, back, word)["Id"] == said.id


def test_containerd_reads_zstd(containerd: Containerd, stored: Crate, name: str, word: str) -> None:
    pushed(stored, name, "--compression-format=zstd")
    try:
        assert at_containerd(containerd, name) == word
    finally:
        containerd("images", "rm", name)


@pytest.mark.parametrize("peer", ["docker", "podman"])
def test_what_another_engine_made_is_pulled_and_pushed_on_bit_for_bit(
    request: pytest.FixtureRequest, stored: Crate, name: str, word: str, peer: str, said: Image
) -> None:
    engine: Engine = request.getfixturevalue(peer)
    local = engine.load(f"made-{word}", said)
    plain = ("--tls-verify=false",) if peer == "podman" else ()
    try:
        engine.ok("tag", local, name)
        engine.ok("push", "-q", *plain, name)
    finally:
        engine("rmi", "-f", local, name)
    seen = returned(stored, name, word)
    on = name.replace("/app:", "/on:")
    stored.ok("push", "-q", name, on)
    documents = [json.dumps(stored.json("manifest", "inspect", each)) for each in (name, on)]
    assert documents[0] == documents[1]
    if peer == "docker":  # Podman writes another config when it loads
        assert seen["Id"] == said.id
