"""`--mount type=image`: the files of one image at a place of a container of another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.images import Image, Tree

LOWER = Tree().directory("etc", "data").file("etc/motd", "low").file("etc/gone", "x").file("bin/su", "", mode=0o4755)
LOWER.file("data/of-seven", "seven", mode=0o600, uid=7, gid=7).symlink("data/out", "../../etc/hostname")
LOWER.symlink("data/in", "of-seven")
UPPER = Tree().file("etc/motd", "high").file("etc/.wh.gone", "")
MOUNT = "type=image,src=two,dst=/x"


@pytest.fixture
def two(build):  # type: ignore[no-untyped-def]
    """A function that brings an image of two layers, named "two", into the store of a box."""

    def bring(box, image: Image | None = None):  # type: ignore[no-untyped-def]
        made = image or Image((LOWER.layer("tar"), UPPER.layer("tar")))
        box.crate.ok("pull", "-q", build("two", made).docker_archive)
        return box

    return bring


def test_its_files_are_there_and_cannot_be_written(box, two) -> None:
    script = "cat /x/etc/motd; ls /x/etc; touch /x/etc/motd 2>&1; grep ' /x ' /proc/mounts"
    said = two(box)("--mount", MOUNT, "@", "sh", "-c", script).stdout.splitlines()
    assert said[:2] == ["highmotd", "touch: /x/etc/motd: Read-only file system"]
    _, _, kind, options, *_ = said[2].split()
    assert kind == "overlay"
    assert {"ro", "nosuid", "nodev"} <= set(options.split(","))


def test_an_image_of_one_layer_can_be_had_and_twice(box, two) -> None:
    two(box, Image((LOWER.layer("tar"),)))
    again = MOUNT.replace("/x", "/y/z")
    assert box.run("--mount", MOUNT, "--mount", again, "@", "cat", "/x/etc/motd", "/y/z/etc/gone") == "lowx"


@pytest.mark.parametrize("word", ["subpath", "image-subpath"])
def test_a_path_in_it_is_had_alone_be_it_a_directory_or_a_file(box, two, word: str) -> None:
    two(box)
    assert box.run("--mount", f"{MOUNT},{word}=data", "@", "cat", "/x/in") == "seven"
    assert box.run("--mount", f"{MOUNT},{word}=etc/motd", "@", "cat", "/x") == "high"
    assert box.run("--mount", f"{MOUNT},{word}=data/in", "@", "cat", "/x") == "seven"


@pytest.mark.parametrize(("path", "why"), [("data/out", "it leads out of it"), ("missing", "no such file or directory")])
def test_a_path_that_is_not_in_it_is_refused(box, two, path: str, why: str) -> None:
    assert why in two(box).fails("--mount", f"{MOUNT},subpath={path}", "@", "true")


def test_files_have_the_owners_that_they_have_in_a_container(box, two) -> None:
    assert two(box).run("--mount", MOUNT, "@", "stat", "-c", "%u:%g", "/x/data/of-seven", "/x/etc") == "7:7\n0:0"


def test_files_have_their_owners_where_the_container_has_ids_of_its_own(root_box, granted, two) -> None:
    box = two(replace(root_box, crate=granted))
    words = ("--userns", "auto", "--mount", MOUNT, "@", "stat", "-c", "%u:%g", "/x/data/of-seven", "/x/etc")
    assert box.run(*words) == "7:7\n0:0"


def test_without_root_other_ids_than_the_stores_are_refused(user_box, two) -> None:
    said = two(user_box).fails("--userns", "keep-id", "--mount", MOUNT, "@", "true")
    assert "cannot mount the image two at /x: the container has other IDs than the store" in said


def test_the_image_is_the_one_of_the_creation_and_stays_as_long_as_the_container(box, two) -> None:
    two(box)
    name = box.create("--name", "one", "--mount", MOUNT, "@", "cat", "/x/etc/motd")
    box.crate.ok("tag", "two", "kept")
    box.crate.ok("rmi", "two")
    assert "is used by" in box.crate.fails("rmi", "kept", code=1)
    box.crate.ok("image", "prune", "-af")
    two(box, Image((Tree().directory("etc").file("etc/motd", "new").layer("tar"),)))
    for _ in range(2):
        assert box.crate.ok("start", "-a", name) == "high"
    box.crate.ok("rm", name)
    box.crate.ok("rmi", "kept")


def test_inspect_and_volumes_from_know_it(box, two) -> None:
    two(box)
    box.create("--name", "one", "--mount", f"{MOUNT},subpath=etc", "@", "true")
    (found,) = box.crate.json("inspect", "one")[0]["Mounts"]
    assert (found["Type"], found["Source"], found["Destination"], found["RW"]) == ("image", "two", "/x", False)
    assert box.run("--volumes-from", "one", "@", "cat", "/x/motd") == "high"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("type=image,dst=/x", "source is missing"),
        ("type=image,src=two", "target is missing"),
        ("type=image,src=two,dst=/x,rw", "an image is mounted to be read"),
        ("type=image,src=two,dst=/x,readonly=false", "an image is mounted to be read"),
        ("type=image,src=two,dst=/x,subpath=../etc", "not a path in an image"),
        ("type=image,src=two,dst=/x,volume-nocopy", "nocopy is not for type=image"),
        ("type=image,src=none-such,dst=/x", "cannot mount an image at /x: "),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_created(root_box, words: str, why: str) -> None:
    assert why in root_box.crate.fails("create", "--mount", words, root_box.image, "true", code=125)
    assert root_box.crate.ok("ps", "-aq") == ""


def test_an_image_that_is_removed_by_force_is_there_for_who_has_it(root_box, two) -> None:
    two(root_box)
    name = root_box.create("--mount", MOUNT, "@", "cat", "/x/etc/motd")
    root_box.crate.ok("rmi", "-f", "two")
    root_box.crate.ok("image", "prune", "-af")
    assert root_box.crate.ok("start", "-a", name) == "high"
