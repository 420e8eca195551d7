"""`crate tag` and `crate push`, as root and as an ordinary user, to a real registry."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

from support import people
from support.commands import Crate
from support.images import Image, Layer, write_docker_archive
from support.registry import Registry


def name(registry: Registry, word: str, repository: str = "app") -> str:
    return f"{registry.address}/{word}/{repository}"


def stored(registry: Registry, path: str) -> bytes:
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"}
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(urllib.request.Request(f"http://{registry.address}/v2/{path}", headers=accept), timeout=60) as answer:
        return answer.read()  # type: ignore[no-any-return]


def short(box) -> str:  # type: ignore[no-untyped-def]
    return box.crate.ok("images", "-q").splitlines()[0]  # type: ignore[no-any-return]


def test_digests_of_manifests_are_listed_where_they_are_asked_for(box) -> None:
    header, row = box.crate.ok("images", "--digests").splitlines()
    assert header.split()[:3] == ["REPOSITORY", "TAG", "DIGEST"]
    digest = box.crate.ok("images", "--format", "{{.Digest}}")
    assert digest.startswith("sha256:")
    assert row.split()[2] == digest
    assert digest not in box.crate.ok("images")


def test_a_tag_is_one_more_name(box) -> None:
    for name in ("first", "example.com/team/app:1.0"):
        box.crate.ok("tag", box.image, name)
    assert box.crate.ok("run", "--rm", "--pull=never", "example.com/team/app:1.0", "echo", "hello") == "hello"
    assert set(box.crate.json("inspect", box.image)[0]["RepoTags"]) == {"first:latest", "example.com/team/app:1.0"}
    box.crate.ok("rmi", "example.com/team/app:1.0")
    assert box.crate.ok("run", "--rm", "--pull=never", "first", "echo", "there") == "there"


def test_an_image_is_tagged_by_the_beginning_of_its_id(box) -> None:
    box.crate.ok("image", "tag", short(box), "app")
    assert "app:latest" in box.crate.json("inspect", box.image)[0]["RepoTags"]


def test_a_name_goes_over_to_another_image(box) -> None:
    made = box.crate.ok("commit", box.create("@", "true"), "app").removeprefix("sha256:")
    box.crate.ok("tag", box.image, "app")
    assert box.crate.json("inspect", made)[0]["RepoTags"] == []


def test_what_is_no_name_is_refused(box) -> None:
    assert "not the name of an image" in box.crate.fails("tag", box.image, "UPPER")
    assert "digest" in box.crate.fails("tag", box.image, "app@sha256:" + "a" * 64)
    assert "not in the store" in box.crate.fails("tag", "nothing:here", "app")
    assert "not in the store" in box.crate.fails("push", "nothing:here")


def test_a_name_that_is_not_there_is_told_with_those_that_are_like_it(box) -> None:
    for known in ("alpine:3.20", "registry.example/team/app:1.0"):
        box.crate.ok("tag", box.image, known)
    cases = {
        "alpine:3.21": "alpine:3.20",
        "alpin": "alpine:3.20",
        "registry.example/team/ap:1.0": "registry.example/team/app:1.0",
    }
    for wrong, right in cases.items():
        for words in (["push"], ["rmi"], ["save"], ["history"], ["image", "inspect"], ["image", "tree"]):
            said = box.crate(*words, wrong).stderr
            assert f"did you mean {right}? crate images lists what there is" in said, (words, said)
        assert f"did you mean {right}?" in box.crate.fails("tag", wrong, "new")
        assert f"did you mean {right}?" in box.crate.fails("run", "--pull=never", wrong)
    for words in (["push"], ["rmi"]):  # what is not here can be neither, and a pull would not help
        assert "hint: crate images lists what there is" in box.crate(*words, "nothing:like-it").stderr
    assert "hint: crate pull nothing:like-it" in box.crate.fails("history", "nothing:like-it")
    assert "crate pull" not in box.crate.fails("history", "0123456789ab")
    assert "did you mean alpine:3.20?" in box.crate.fails("push", "--all-tags", "alpin")


def test_an_image_goes_to_a_registry_and_back(box, registry: Registry, word: str) -> None:
    target = name(registry, word) + ":1.0"
    said = box.crate.ok("push", box.image, target)
    digest = said.splitlines()[-1].split()[2]
    assert said.splitlines()[0] == f"The push refers to repository [{name(registry, word)}]"
    assert said.splitlines()[-1] == f"1.0: digest: {digest} size: {len(stored(registry, f'{word}/app/manifests/1.0'))}"
    assert "already exists" in box.crate.ok("push", box.image, target)
    box.crate.ok("pull", target)
    assert box.crate.ok("run", "--rm", "--pull=never", target, "echo", "hello") == "hello"
    assert f"{name(registry, word)}@{digest}" in box.crate.json("inspect", target)[0]["RepoDigests"]


def test_what_was_committed_is_pushed(box, registry: Registry, word: str) -> None:
    target = name(registry, word)
    box.crate.ok("run", "--name", "made", box.image, "sh", "-c", "echo words > /file")
    box.crate.ok("commit", "made", target)
    box.crate.ok("push", target)
    layers = json.loads(stored(registry, f"{word}/app/manifests/latest"))["layers"]
    assert layers[-1]["mediaType"].endswith("tar+gzip")
    box.crate.ok("rmi", target)
    assert box.crate.ok("run", "--rm", target, "cat", "/file") == "words"


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_plain_layers_of_an_archive_are_packed_once(
    crate: Crate, busybox_base, registry: Registry, word: str, form: str
) -> None:  # type: ignore[no-untyped-def]
    plain = Image(tuple(Layer.of_tar(gzip.decompress(each.data), "") for each in busybox_base.layers), busybox_base.config)
    archive = write_docker_archive(crate.person.home / "plain.tar", "plain:1", plain)
    archive.chmod(0o644)
    crate.ok("load", "-q", "-i", archive)
    target, flags = name(registry, word), () if form == "gzip" else (f"--compression-format={form}",)
    said = crate.ok("push", *flags, "plain:1", target)
    manifest = json.loads(stored(registry, f"{word}/app/manifests/latest"))
    assert [layer["mediaType"].rpartition("+")[2] for layer in manifest["layers"]] == [form]
    assert manifest["config"]["digest"] == plain.id
    again = crate.ok("push", *flags, "plain:1", target)
    assert "already exists" in again
    assert again.splitlines()[-1] == said.splitlines()[-1]
    crate.ok("rmi", "plain:1")
    assert crate.ok("run", "--rm", target, "echo", "x") == "x"
    assert crate.ok("system", "check") == "nothing is damaged"


def test_all_tags_of_a_repository_are_pushed(box, registry: Registry, word: str) -> None:
    target = name(registry, word)
    for tag in ("1", "2"):
        box.crate.ok("tag", box.image, f"{target}:{tag}")
    box.crate.ok("tag", box.image, f"{target}-other:3")
    box.crate.ok("push", "--all-tags", target)
    assert set(json.loads(stored(registry, f"{word}/app/tags/list"))["tags"]) == {"1", "2"}


def test_all_tags_are_of_a_repository_alone(box, registry: Registry, word: str) -> None:
    target = name(registry, word)
    assert "has a tag or a digest" in box.crate.fails("push", "-a", f"{target}:1")
    assert "no image of" in box.crate.fails("push", "-a", target)
    assert "takes no DESTINATION" in box.crate.fails("push", "-a", target, target)


def test_quiet_says_the_name_alone(box, registry: Registry, word: str) -> None:
    assert box.crate.ok("push", "-q", box.image, name(registry, word)) == f"{name(registry, word)}:latest"


def test_another_platform_is_refused(box, registry: Registry, word: str) -> None:
    assert "not for linux/s390x" in box.crate.fails("push", "--platform", "linux/s390x", box.image, name(registry, word))


def test_a_push_is_an_event(box, registry: Registry, word: str) -> None:
    box.crate.ok("tag", box.image, name(registry, word))
    box.crate.ok("push", name(registry, word))
    events = box.crate.ok(
        "events", "--since=1", "--until=0s", "--filter=type=image", "--format={{.Action}} {{.Actor.Attributes.name}}"
    )
    assert events.splitlines()[-2:] == [f"tag {name(registry, word)}:latest", f"push {name(registry, word)}:latest"]


def test_a_registry_that_is_not_there_is_one_line(box) -> None:
    assert "cannot reach 127.0.0.1:9" in box.crate.fails("push", box.image, "127.0.0.1:9/app")


def test_all_tags_of_a_repository_are_pulled(box, registry: Registry, word: str) -> None:
    target = name(registry, word)
    for tag in ("1", "2"):
        box.crate.ok("push", "-q", box.image, f"{target}:{tag}")
    assert set(box.crate.ok("pull", "-aq", target).splitlines()) == {f"{target}:1", f"{target}:2"}
    assert {f"{target}:1", f"{target}:2"} <= set(box.crate.json("inspect", box.image)[0]["RepoTags"])
    assert "has a tag or a digest" in box.crate.fails("pull", "-a", f"{target}:1")
    assert "has no repository" in box.crate.fails("pull", "-a", f"{target}/nothing")


def skopeo(*words: str) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    argv = ["skopeo", "--insecure-policy", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, env=people.bare())
    assert done.returncode == 0, done.stderr


def test_what_skopeo_has_pushed_goes_through_the_store_bit_for_bit(box, registry: Registry, word: str, tmp_path: Path) -> None:
    first, converted, last = (f"{name(registry, word)}:{tag}" for tag in ("first", "converted", "last"))
    box.crate.ok("push", "-q", box.image, first)
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    skopeo("copy", "--format=v2s2", *plain, f"docker://{first}", f"docker://{converted}")
    box.crate.ok("pull", "-q", converted)
    box.crate.ok("push", converted, last.replace("/app:", "/other:"))
    for tag, where in ((converted, "there"), (last.replace("/app:", "/other:"), "here")):
        skopeo("copy", "--src-tls-verify=false", f"docker://{tag}", f"dir:{tmp_path}/{where}")
    names = sorted(path.name for path in (tmp_path / "there").iterdir())
    assert [(tmp_path / "here" / each).read_bytes() for each in names] == [
        (tmp_path / "there" / each).read_bytes() for each in names
    ]


def test_an_artifact_goes_to_a_registry_and_back(box, registry: Registry, word: str) -> None:
    home = box.crate.person.home
    (home / "report.json").write_text("{}")
    target = name(registry, word)
    box.crate.ok("push", "-q", box.image, f"{target}:1.0")
    digest = box.crate.ok(
        "artifact", "push", "-q", "--artifact-type=example/report", "--subject=1.0", target, "report.json:application/json"
    )
    assert "KEY=VALUE, not made" in box.crate.fails("artifact", "push", "--annotation", "made", target, "report.json")
    assert box.crate.ok("artifact", "ls", "-q", f"{target}:1.0") == digest
    shown = box.crate.json("artifact", "inspect", f"{target}@{digest}")[0]
    assert (shown["ArtifactType"], shown["Files"][0]["MediaType"]) == ("example/report", "application/json")
    assert box.crate.ok("artifact", "pull", "-q", "-o", "out", f"{target}@{digest}") == "out/report.json"
    assert "is there already" in box.crate.fails("artifact", "pull", "-o", "out", f"{target}@{digest}")
    assert "crate artifact pull" in box.crate.fails("pull", f"{target}@{digest}")
    assert box.crate.ok("artifact", "rm", f"{target}@{digest}") == f"Deleted: {digest}"
    assert box.crate.ok("artifact", "ls", "-q", f"{target}:1.0") == ""
