"""`crate image mount` and `unmount`: an image's files at a path of the machine, for as long as somebody wants them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.images import Image, Tree

LOWER = Tree().directory("etc").file("etc/motd", "low").file("etc/gone", "x").file("bin/su", "", mode=0o4755).layer("tar")
UPPER = Tree().file("etc/motd", "high").file("etc/.wh.gone", "").layer("tar")


@pytest.fixture
def crate_with(rootful, build):  # type: ignore[no-untyped-def]
    """root's crate with an image of two layers."""
    rootful.ok("pull", "-q", build("two", Image((LOWER, UPPER))).docker_archive)
    yield rootful
    rootful("image", "unmount", "--all", "--force")


def mounted(crate) -> list[str]:  # type: ignore[no-untyped-def]
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{crate.state}/" in line]


def test_the_files_of_an_image_are_there_and_cannot_be_written(crate_with) -> None:
    where = Path(crate_with.ok("image", "mount", "two"))
    assert (where / "etc/motd").read_text() == "high"
    assert not (where / "etc/gone").exists()
    with pytest.raises(OSError, match="Read-only"):
        (where / "new").touch()
    assert os.statvfs(where).f_flag & os.ST_NOSUID


def test_an_image_of_one_layer_is_mounted_too(rootful, build) -> None:
    rootful.ok("pull", "-q", build("one", Image((LOWER,))).docker_archive)
    where = Path(rootful.ok("image", "mount", "one"))
    try:
        assert sorted(os.listdir(where)) == ["bin", "etc"]
    finally:
        rootful.ok("image", "unmount", "one")


def test_a_mount_ends_with_the_last_who_asked_for_it(crate_with) -> None:
    where = crate_with.ok("image", "mount", "two")
    assert crate_with.ok("image", "mount", "two") == where
    crate_with.ok("image", "unmount", "two")
    assert mounted(crate_with) == [where]
    crate_with.ok("image", "unmount", "two")
    assert mounted(crate_with) == []
    assert os.listdir(crate_with.state / "mounted-images") == ["lock"]
    assert "image two is not mounted" in crate_with.fails("image", "unmount", "two", code=1)


def test_force_takes_all_requests_back(crate_with) -> None:
    crate_with.ok("image", "mount", "two")
    crate_with.ok("image", "mount", "two")
    crate_with.ok("image", "unmount", "--force", "two")
    assert mounted(crate_with) == []


def test_what_is_mounted_is_listed(crate_with) -> None:
    where = crate_with.ok("image", "mount", "two")
    assert crate_with.ok("image", "mount") == f"docker.io/library/two:latest {where}"
    (found,) = crate_with.json("image", "mount", "--format", "json")
    assert (found["Repositories"], found["mountpoint"]) == (["docker.io/library/two:latest"], where)
    assert crate_with.ok("image", "unmount", "--all") == found["id"]
    assert crate_with.ok("image", "mount") == ""


def test_an_image_that_is_mounted_is_not_removed_and_its_layers_stay(crate_with) -> None:
    where = Path(crate_with.ok("image", "mount", "two"))
    identity = crate_with.ok("image", "inspect", "-f", "{{.Id}}", "two")
    assert "image two is mounted" in crate_with.fails("rmi", "two", code=1)
    crate_with.ok("rmi", "-f", "two")
    crate_with.ok("image", "prune", "-af")
    assert (where / "etc/motd").read_text() == "high"
    crate_with.ok("image", "unmount", identity)
    crate_with.ok("image", "prune", "-af")
    assert os.listdir(crate_with.root / "images/layers") == []


def test_one_that_somebody_is_in_stays_and_a_prune_takes_the_others(crate_with) -> None:
    where = crate_with.ok("image", "mount", "two")
    with subprocess.Popen(["cat"], cwd=where, stdin=subprocess.PIPE) as reader:
        assert "somebody is in it" in crate_with.fails("image", "unmount", "two", code=1)
        crate_with.ok("system", "prune", "-f")
        assert mounted(crate_with) == [where]
        reader.communicate(b"")
    assert "mount of image sha256:" in crate_with.ok("system", "prune", "-f")
    assert mounted(crate_with) == []


def test_a_record_without_its_mount_keeps_nothing(crate_with) -> None:
    """As a reboot leaves it, where the state directory is not forgotten."""
    where = crate_with.ok("image", "mount", "two")
    subprocess.run(["umount", where], check=True)
    assert crate_with.ok("image", "mount") == ""
    assert "image two is not mounted" in crate_with.fails("image", "unmount", "two", code=1)
    crate_with.ok("image", "mount", "two")
    subprocess.run(["umount", where], check=True)
    assert "Untagged" in crate_with.ok("rmi", "two")


def test_a_damaged_record_keeps_nobody_from_unmounting(crate_with) -> None:
    where = Path(crate_with.ok("image", "mount", "two"))
    (where.parent / "mount.json").write_text("{")
    crate_with.ok("image", "unmount", "two")
    assert mounted(crate_with) == []


def test_a_layer_that_is_gone_is_unpacked_again_for_a_mount(crate_with) -> None:
    shutil.rmtree(crate_with.root / "images/layers" / UPPER.diff_id[7:])
    where = Path(crate_with.ok("image", "mount", "two"))
    assert (where / "etc/motd").read_text() == "high"


def test_an_ordinary_user_is_told_what_else_there_is(rootless, build) -> None:
    rootless.ok("pull", "-q", build("two", Image((LOWER, UPPER))).docker_archive)
    said = rootless.fails("image", "mount", "two", code=1)
    assert "only root can do that" in said
    assert "crate export" in said
    assert rootless.ok("image", "mount") == ""


def test_images_of_stored_archives_are_pruned_beside_a_container_of_one(box, busybox_base, build) -> None:
    """The blobs of such layers are called as the layers are."""
    box.crate.ok("pull", "-q", build("kept", busybox_base).docker_archive)
    box.crate.ok("create", "--name", "user", "kept", "true")
    box.crate.ok("rmi", "-f", "kept")
    box.crate.ok("image", "prune", "-af")
    assert box.crate("start", "-a", "user").returncode == 0
