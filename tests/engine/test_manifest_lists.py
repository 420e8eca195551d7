"""`crate manifest`: lists of the images of several platforms, made here and pushed."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest

from support.images import Image, Tree, index
from support.images import digest as digest_of

BASE = Tree().file("base", "x").layer()


def image(architecture: str) -> Image:
    return Image((BASE, Tree().file("architecture", architecture).layer()), architecture=architecture)


AMD, ARM = image("amd64"), image("arm64")


@pytest.fixture
def repository(registry, word: str) -> str:  # type: ignore[no-untyped-def]
    """A repository of the registry with the tags amd64 and arm64, and both under `both`."""
    for one in (AMD, ARM):
        registry.push(word.lower(), one.architecture, one)
    registry.push_index(word.lower(), "both", [AMD, ARM])
    return f"{registry.address}/{word.lower()}"


@pytest.fixture
def local(crate, build):  # type: ignore[no-untyped-def]
    """A crate with the image `here` in its store."""
    crate.ok("pull", "-q", build("here", AMD).docker_archive)
    return crate


def entries(crate, name: str) -> list[dict[str, object]]:  # type: ignore[no-untyped-def]
    return list(crate.json("manifest", "inspect", name)["manifests"])


def test_a_list_has_the_images_of_the_store_and_of_registries(local, repository) -> None:
    digest = local.ok("manifest", "create", "mine", "here", f"{repository}:arm64")
    here = local.ok("image", "inspect", "-f", "{{.Descriptor.digest}}", "here")
    assert [(one["digest"], one["platform"]) for one in entries(local, "mine")] == [
        (here, {"architecture": "amd64", "os": "linux"}),
        (ARM.digest, {"architecture": "arm64", "os": "linux"}),
    ]
    assert local.ok("manifest", "ls", "--format", "{{.Name}} {{.Digest}} {{.Manifests}}") == (
        f"docker.io/library/mine:latest {digest} 2"
    )


def test_of_an_index_one_platform_is_added_or_all(crate, repository) -> None:
    crate.ok("manifest", "create", "mine")
    crate.ok("manifest", "add", "--arch", "arm64", "mine", f"{repository}:both")
    assert [one["digest"] for one in entries(crate, "mine")] == [ARM.digest]
    crate.ok("manifest", "add", "--all", "mine", f"docker://{repository}:both")
    assert {one["digest"] for one in entries(crate, "mine")} == {AMD.digest, ARM.digest}


def test_what_a_list_says_of_an_image_can_be_changed(local) -> None:
    local.ok("manifest", "create", "--annotation", "list=mine", "mine")
    local.ok("manifest", "add", "--annotation", "a=b", "--os-version", "10", "mine", "here")
    digest = str(entries(local, "mine")[0]["digest"])
    flags = ["--arch", "arm", "--variant", "v7", "--os-features", "x,y", "--features", "sse4"]
    local.ok("manifest", "annotate", *flags, "mine", digest[7:15])
    (found,) = entries(local, "mine")
    platform = {"architecture": "arm", "os": "linux", "variant": "v7", "os.version": "10"}
    platform |= {"os.features": ["x", "y"], "features": ["sse4"]}
    assert (found["platform"], found["annotations"]) == (platform, {"a": "b"})
    local.ok("manifest", "annotate", "--index", "--annotation", "more=this", "mine")
    assert local.json("manifest", "inspect", "mine")["annotations"] == {"list": "mine", "more": "this"}


def test_a_list_is_pushed_with_its_images_and_pulled_by_platform(local, repository, registry, word: str) -> None:
    local.ok("manifest", "create", "mine", "here", f"{repository}:arm64")
    target = f"{registry.address}/{word.lower()}/pushed:1"
    digest = local.ok("manifest", "push", "-q", "mine", target)
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{target}"], capture_output=True, check=True
    ).stdout
    assert [one["platform"]["architecture"] for one in json.loads(raw)["manifests"]] == ["amd64", "arm64"]
    local.ok("pull", "-q", "--platform", "linux/arm64", target)
    (found,) = local.json("image", "inspect", target)
    assert (found["Architecture"], found["RepoDigests"]) == ("arm64", [f"{target.removesuffix(':1')}@{digest}"])


def test_a_list_keeps_what_it_refers_to_until_it_is_removed(local, repository) -> None:
    local.ok("manifest", "create", "mine", "here", f"{repository}:arm64")
    local.ok("rmi", "here")
    local.ok("image", "prune", "-af")
    blobs = local.root / "images/blobs/sha256"
    assert (blobs / ARM.digest[7:]).exists()
    assert local.ok("system", "check") == "nothing is damaged"
    assert local.ok("manifest", "rm", "mine").startswith("Deleted: sha256:")
    local.ok("image", "prune", "-af")
    assert os.listdir(blobs) == []


def test_a_list_and_an_image_of_one_name_do_not_touch_each_other(local) -> None:
    local.ok("manifest", "create", "here", "here")
    assert local("manifest", "exists", "here").returncode == 0
    local.ok("rmi", "here")
    assert len(entries(local, "here")) == 1
    assert local.ok("images", "-q") == ""


def test_a_list_that_is_there_is_added_to_only_where_that_is_said(local) -> None:
    local.ok("manifest", "create", "mine")
    assert "there is a list of manifests docker.io/library/mine:latest already" in local.fails(
        "manifest", "create", "mine", "here"
    )
    local.ok("manifest", "create", "--amend", "mine", "here")
    assert len(entries(local, "mine")) == 1


def test_an_image_that_cannot_be_had_leaves_the_list_as_it_was(local, repository) -> None:
    assert "no such image" in local.fails("manifest", "create", "mine", "here", f"{repository}:absent")
    assert local("manifest", "exists", "mine").returncode == 1
    local.ok("manifest", "create", "mine")
    local.fails("manifest", "add", "mine", "here", f"{repository}:absent")
    assert entries(local, "mine") == []


def test_a_manifest_is_taken_out(local, repository) -> None:
    local.ok("manifest", "create", "mine", "here", f"{repository}:arm64")
    local.ok("manifest", "remove", "mine", "here")
    assert [one["digest"] for one in entries(local, "mine")] == [ARM.digest]
    assert "the list has no manifest sha256:" in local.fails("manifest", "remove", "mine", "here")


def test_many_who_add_to_one_list_lose_nothing(local, repository) -> None:
    local.ok("manifest", "create", "mine")
    adding = [local.start("manifest", "add", "mine", one) for one in ("here", f"{repository}:arm64", f"{repository}:amd64")]
    assert [one.wait(120) for one in adding] == [0, 0, 0]
    assert len(entries(local, "mine")) == 3  # `here` has come from an archive, and has a manifest of its own


def test_inspect_of_a_name_without_a_list_asks_the_registry(crate, repository) -> None:
    assert [one["digest"] for one in entries(crate, f"{repository}:both")] == [AMD.digest, ARM.digest]
    assert not (crate.root / "images").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "nobody", "here"), "there is no list of manifests docker.io/library/nobody:latest"),
        (("create", "a@sha256:" + "0" * 64), "not the name of an image"),
        (("annotate", "mine"), "an IMAGE is missing"),
        (("annotate", "--index", "--arch", "arm", "mine"), "--index takes --annotation alone"),
        (("annotate", "--annotation", "novalue", "mine", "here"), "--annotation is KEY=VALUE"),
        (("remove", "mine", "sha256:" + "0" * 64), "the list has no manifest"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(local, words: tuple[str, ...], said: str) -> None:
    local.ok("manifest", "create", "mine")
    assert said in local.fails("manifest", *words).splitlines()[0]


def test_inspect_with_verbose_is_dockers(local, repository) -> None:
    found = local.json("manifest", "inspect", "-v", f"{repository}:both")
    assert [one["Descriptor"]["platform"]["architecture"] for one in found] == ["amd64", "arm64"]
    assert base64.b64decode(found[1]["Raw"]) == ARM.manifest
    assert found[1]["Ref"] == f"{repository}:both@{ARM.digest}"
    assert found[1]["OCIManifest"] == json.loads(ARM.manifest)
    alone = local.json("manifest", "inspect", "-v", f"{repository}:arm64")
    assert (alone["Descriptor"]["digest"], alone["Descriptor"]["platform"]["architecture"]) == (ARM.digest, "arm64")
    local.ok("manifest", "create", "mine", "here", f"{repository}:arm64")
    assert [one["Ref"].partition("@")[0] for one in local.json("manifest", "inspect", "-v", "mine")] == [
        "docker.io/library/mine:latest"
    ] * 2


def test_an_index_within_an_index_is_refused(crate, registry, word: str) -> None:
    inner = index([AMD])
    registry.push_index(word.lower(), "inner", [AMD])
    outer = json.loads(inner)
    outer["manifests"] = [{"mediaType": outer["mediaType"], "digest": digest_of(inner), "size": len(inner)}]
    registry.put_manifest(word.lower(), "outer", json.dumps(outer).encode(), outer["mediaType"])
    crate.ok("manifest", "create", "mine")
    said = crate.fails("manifest", "add", "--all", "mine", f"{registry.address}/{word.lower()}:outer")
    assert "is an index that has 'application/vnd.oci.image.index.v1+json'" in said


def test_a_damaged_list_is_told_and_can_be_removed(local) -> None:
    digest = local.ok("manifest", "create", "mine", "here")
    Path(local.root / "images/blobs/sha256" / digest[7:]).write_text("{}")
    assert "damaged" in local.fails("manifest", "inspect", "mine")
    local.ok("manifest", "rm", "mine")
    assert local.ok("manifest", "ls", "-q") == ""


@pytest.mark.parametrize("which", ["the list", "a manifest", "a config", "a layer"])
@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_each_damage_of_a_list_is_found_by_a_check(crate, repository, which: str, how: str) -> None:
    digest = crate.ok("manifest", "create", "mine", f"{repository}:arm64")
    found = {"the list": digest, "a manifest": ARM.digest, "a config": ARM.id, "a layer": ARM.layers[1].digest}[which]
    blob = crate.root / "images/blobs/sha256" / found[7:]
    if how == "gone":
        blob.unlink()
    else:
        raw = bytearray(blob.read_bytes())
        raw[len(raw) // 2] ^= 1
        blob.write_bytes(raw)
    said = crate("system", "check")
    assert said.returncode == 1
    assert "list of manifests docker.io/library/mine:latest" in said.stdout + said.stderr
    assert found[7:] in said.stdout + said.stderr
    crate.ok("manifest", "rm", "mine")
    crate.ok("image", "prune", "-f")
    assert crate.ok("system", "check") == "nothing is damaged"
