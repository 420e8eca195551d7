"""`crate system df`: what takes the disk's space."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest

from cratebox.engine.sizes import disk_size, tree_size
from support.images import Image, Tree


def rows(box) -> dict[str, dict]:  # type: ignore[no-untyped-def,type-arg]
    return {row["Type"]: row for row in map(json.loads, box.crate.ok("system", "df", "--format", "json").splitlines())}


def test_an_empty_store_needs_nothing(crate) -> None:
    lines = crate.ok("system", "df").splitlines()
    assert lines[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert [line.split()[0] for line in lines[1:5]] == ["Images", "Containers", "Local", "Build"]
    assert all(line.split()[-4:] == ["0", "0", "0B", "0B"] for line in lines[1:])


def test_what_a_container_writes_counts_and_is_reclaimable_when_it_has_ended(box) -> None:
    box.crate.ok(
        "run", "--name", "web", box.image, "sh", "-c", "head -c 500000 /dev/zero > /a; ln /a /b; ln -s /a /c; mkdir /d"
    )
    found = rows(box)["Containers"]
    assert (found["TotalCount"], found["Active"], found["Size"], found["Reclaimable"]) == (1, 0, "500kB", "500kB (100%)")


def test_a_running_container_is_active_and_so_is_its_image(box, until) -> None:
    name = box.detached("@", "sh", "-c", "head -c 70000 /dev/zero > /a; echo said; exec sleep 100")
    until(lambda: box.crate.ok("diff", name) == "A /a")
    found = rows(box)
    assert (found["Containers"]["Active"], found["Containers"]["Reclaimable"]) == (1, "0B (0%)")
    assert (found["Images"]["Active"], found["Images"]["Reclaimable"]) == (1, "0B (0%)")
    assert found["Container Logs"]["Size"] != "0B"


def test_an_image_that_nobody_uses_is_reclaimable(box) -> None:
    found = rows(box)["Images"]
    assert (found["TotalCount"], found["Active"]) == (1, 0)
    assert found["Reclaimable"] == f"{found['Size']} (100%)"


def test_layers_that_images_share_count_once(box) -> None:
    before = rows(box)["Images"]["Size"]
    box.crate.ok("run", "--name", "web", box.image, "sh", "-c", "head -c 300000 /dev/zero > /a")
    box.crate.ok("commit", "web", "site")
    listed = json.loads(box.crate.ok("system", "df", "-v", "--format", "json"))
    by_name = {image["Repository"]: image for image in listed["Images"]}
    assert by_name["site"]["UniqueSize"] == "300kB"
    assert by_name["site"]["SharedSize"] == before == by_name["<none>"]["Size"]
    assert (by_name["<none>"]["UniqueSize"], by_name["<none>"]["Containers"]) == ("0B", 1)
    assert listed["Containers"][0]["Size"] == "300kB"


def test_each_thing_has_a_line_in_the_long_form(box) -> None:
    box.create("--name", "web", "@", "true")
    said = box.crate.ok("system", "df", "-v")
    titles = [line for line in said.splitlines() if line.endswith(("usage:", "0B")) and "usage" in line]
    assert titles == ["Images space usage:", "Containers space usage:", "Local Volumes space usage:", "Build cache usage: 0B"]
    assert any(line.split()[-1:] == ["web"] for line in said.splitlines())


@pytest.mark.parametrize(
    "script", ["mkdir -m 0 /closed; chown 5:5 /closed", "chmod 0 /etc; echo x > /home/closed; chmod 0 /home"]
)
def test_directories_that_the_user_may_not_enter_count_as_well(box, script: str) -> None:
    box.crate.ok("run", "--name", "web", box.image, "sh", "-c", f"head -c 500000 /dev/zero > /a; {script}")
    assert rows(box)["Containers"]["Size"] == "500kB"


def test_symlinks_and_mounts_are_not_followed(tmp_path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_bytes(bytes(1000))
    (tmp_path / "link").symlink_to("/usr")
    (tmp_path / "loop").symlink_to(".")
    os.mkfifo(tmp_path / "fifo")
    assert tree_size(str(tmp_path)) == 1000
    assert tree_size(str(tmp_path / "link")) == 0


@pytest.fixture
def used(box, put):  # type: ignore[no-untyped-def]
    """A store with images that share layers, a container that has written, a volume and many small files."""
    many = Tree().directory("many")
    for number in range(2000):
        many.file(f"many/{number}", "x" * (number % 300))
    put(box.crate, Image((many.layer(),), {"Cmd": ["x"]}))
    box.crate.ok("volume", "create", "data")
    box.crate.ok(
        "run", "--name", "web", "-v", "data:/data", box.image, "sh", "-c", "seq 100000 | tee /a > /data/b; mkdir -m 0 /closed"
    )
    box.crate.ok("commit", "web", "site")
    return box


def test_what_it_takes_of_the_disk_is_what_du_says(used) -> None:
    """du itself, as root: an ordinary user may not enter all of his own directories."""
    if os.geteuid():
        pytest.skip("needs root, for du")
    said = rows(used)["On Disk"]
    du = int(
        subprocess.run(
            ["du", "-s", "--block-size=1", used.crate.root], capture_output=True, text=True, check=True
        ).stdout.split()[0]
    )
    number, unit = re.fullmatch(r"([\d.]+)(\w+)", said["Size"]).groups()
    assert float(number) * {"kB": 1e3, "MB": 1e6}[unit] == pytest.approx(du, rel=0.01)
    assert (said["TotalCount"], said["Active"]) == (5, 2), (
        "three images, a container and a volume; the container's image and the volume are in use"
    )


def test_all_that_is_reclaimable_is_told_together(used) -> None:
    assert "(0%)" not in rows(used)["On Disk"]["Reclaimable"]
    used.crate.ok("rm", "web")
    used.crate.ok("volume", "rm", "data")
    used.crate.ok("system", "prune", "-af")
    after = rows(used)["On Disk"]
    assert (after["TotalCount"], after["Reclaimable"]) == (0, "0B (0%)")


def test_blocks_are_counted_once_for_a_file_of_several_names_and_not_for_holes(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    os.link(tmp_path / "file", tmp_path / "again")
    with open(tmp_path / "holes", "wb") as file:
        file.truncate(1 << 30)
    du = subprocess.run(["du", "-s", "--block-size=1", tmp_path], capture_output=True, text=True, check=True)
    assert disk_size(str(tmp_path)) == int(du.stdout.split()[0])
