"""Volumes against those who mean harm, hurry or kill: archives, exchanged names, many at once, half-filled, a full disk."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from support.canary import fingerprint
from support.commands import Crate
from support.images import Image, Tree
from support.ready import Ready


@pytest.fixture
def canary(scratch: Path) -> Path:
    """A directory of the machine that must stay as it is."""
    place = scratch / "volume-canary"
    place.mkdir(exist_ok=True)
    place.joinpath("file").write_text("untouched")
    return place


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, len(data), 0o755
    return info, data


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def imported(crate: Crate, name: str, data: bytes) -> subprocess.CompletedProcess[str]:
    path = crate.directory / "archive.tar"
    path.write_bytes(data)
    path.chmod(0o644)
    return crate("volume", "import", name, path)


@pytest.mark.parametrize(
    "how", ["dots", "absolute", "symlink as a parent", "hard link out", "symlink then file", "hard link to a symlink"]
)
def test_an_archive_leads_nowhere_but_into_the_volume(box, canary: Path, how: str) -> None:
    up, before = "../" * 30 + str(canary).lstrip("/"), fingerprint(canary)
    members = {
        "dots": [member(f"{up}/new", data=b"x")],
        "absolute": [member(f"{canary}/new", data=b"x")],
        "symlink as a parent": [member("link", tarfile.SYMTYPE, str(canary)), member("link/new", data=b"x")],
        "hard link out": [member("hard", tarfile.LNKTYPE, f"{up}/file"), member("hard", data=b"x")],
        "symlink then file": [member("file", tarfile.SYMTYPE, f"{canary}/file"), member("file", data=b"x")],
        "hard link to a symlink": [
            member("link", tarfile.SYMTYPE, str(canary)),
            member("hard", tarfile.LNKTYPE, "link/file"),
            member("hard", data=b"x"),
        ],
    }[how]
    box.crate.ok("volume", "create", "data")
    done = imported(box.crate, "data", archive(*members))
    assert done.returncode in (0, 125)
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    assert fingerprint(canary) == before


def test_what_is_no_archive_or_a_cut_one_is_said(box) -> None:
    box.crate.ok("volume", "create", "data")
    whole = archive(member("file", data=os.urandom(100000)))
    for data in (b"x" * 2000, whole[:50000], b"\x1f\x8b" + b"\0" * 100):
        done = imported(box.crate, "data", data)
        assert done.returncode == 125
        assert "Traceback" not in done.stderr


def test_names_exchanged_while_it_is_filled_change_nothing_on_the_machine(
    root_box: Ready, busybox_base: Image, put: Callable[[Crate, Image], Ready], canary: Path
) -> None:
    """Somebody who has the volume already makes symlinks to the machine of what is being made in it."""
    tree = Tree().directory("data")
    for number in range(150):
        tree.directory(f"data/d{number}", mode=0o777).file(f"data/d{number}/file", "x", mode=0o4777, uid=5, gid=5)
        tree.hardlink(f"data/d{number}/other", f"data/d{number}/file")
        tree.member(f"data/d{number}/pipe", type=tarfile.FIFOTYPE, mode=0o777)
    box = put(root_box.crate, replace(busybox_base, layers=(*busybox_base.layers, tree.layer())))
    before = fingerprint(canary)
    for attempt in range(3):
        name = f"data{attempt}"
        box.crate.ok("volume", "create", name)
        where, stop = box.crate.root / "volumes" / name / "_data", threading.Event()

        def exchange(where: Path = where, stop: threading.Event = stop) -> None:
            while not stop.is_set():
                for found in list(where.glob("d*")):
                    try:
                        if found.is_symlink():
                            continue
                        os.rename(found, found.with_name(f"moved-{found.name}"))
                        found.symlink_to(canary)
                    except OSError:
                        continue

        thread = threading.Thread(target=exchange)
        thread.start()
        try:
            done = box.crate("run", "--rm", "-v", f"{name}:/data", box.image, "true")
        finally:
            stop.set()
            thread.join()
        assert done.returncode in (0, 125), done.stderr
        assert "Traceback" not in done.stderr
    assert fingerprint(canary) == before


@pytest.mark.parametrize("path", ["link", "link/file", "way/out"])
def test_a_path_in_a_volume_does_not_lead_out_of_it(box, canary: Path, path: str) -> None:
    script = f"ln -s {canary} /x/link; ln -s ../../../../../../../.. /x/way"
    box.run("-v", "data:/x", "@", "sh", "-c", script)
    before = fingerprint(canary)
    said = box.fails("--mount", f"src=data,dst=/t,volume-subpath={path}", "@", "touch", "/t/new")
    assert "leads out of it" in said
    assert fingerprint(canary) == before


def test_two_that_make_one_at_once_make_one(box) -> None:
    made = [box.crate.start("volume", "create", "data") for _ in range(8)]
    assert [one.wait() for one in made] == [0] * 8
    runs = [box.start("-v", "data:/x", "-v", "other:/y", "@", "true") for _ in range(6)]
    assert [one.wait() for one in runs] == [0] * 6
    assert box.crate.ok("volume", "ls", "-q").split() == ["data", "other"]


def test_all_that_start_at_once_see_a_whole_one(
    crate: Crate, busybox_base: Image, put: Callable[[Crate, Image], Ready]
) -> None:
    tree = Tree().directory("data")
    for number in range(300):
        tree.file(f"data/{number}", str(number))
    box = put(crate, replace(busybox_base, layers=(*busybox_base.layers, tree.layer())))
    script = "ls /data | wc -l"
    runs = [box.start("-v", "data:/data", "@", "sh", "-c", script, stdout=subprocess.PIPE) for _ in range(5)]
    assert [one.communicate()[0].split() for one in runs] == [[b"300"]] * 5
    assert sorted(os.listdir(crate.root / "volumes/data")) == ["_data", "volume.json"]


def test_makers_and_removers_leave_no_container_without_its_volume(box) -> None:
    removing = [box.crate.start("volume", "rm", "-f", "data", stdout=subprocess.DEVNULL) for _ in range(4)]
    runs = [
        box.start("-v", "data:/x", "@", "sh", "-c", "echo x > /x/y && cat /x/y", stdout=subprocess.DEVNULL) for _ in range(4)
    ]
    removing += [box.crate.start("volume", "rm", "-f", "data", stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [one.wait() for one in runs] == [0] * 4
    assert {one.wait() for one in removing} <= {0, 1}  # 1: it was in use
    assert not [name for name in os.listdir(box.crate.root / "volumes") if name.startswith(".")]


def test_what_was_filled_by_halves_is_filled_further(root_box: Ready) -> None:
    """As after kill -9 within the copy: the mark says from which image, its lock is nobody's, and some of it is there."""
    identity = root_box.crate.ok("image", "inspect", "-f", "{{.Id}}", root_box.image)
    root_box.crate.ok("volume", "create", "data")
    where = root_box.crate.root / "volumes/data"
    where.joinpath("filling").write_text(identity)
    where.joinpath("_data/.crate-filling").write_text("half of /etc/group")
    where.joinpath("_data/mine").write_text("of somebody else")
    assert root_box.run("-v", "data:/etc", "@", "sh", "-c", "cat /etc/group | wc -l; ls -A /etc").split() == [
        "5", "group", "hostname", "hosts", "mine", "passwd", "resolv.conf",
    ]  # fmt: skip
    assert not where.joinpath("filling").exists()


def test_what_another_image_has_begun_is_left_to_that(root_box: Ready) -> None:
    root_box.crate.ok("volume", "create", "data")
    where = root_box.crate.root / "volumes/data"
    where.joinpath("filling").write_text("sha256:" + "0" * 64)
    where.joinpath("_data/half").touch()
    assert root_box.run("-v", "data:/home", "@", "ls", "/home") == "half"
    assert where.joinpath("filling").exists()


def test_a_disk_that_is_full_is_said_and_nothing_half_made_stays(
    root_box: Ready, small_store: Path, busybox_image: object
) -> None:
    crate = root_box.crate.within((), CRATE_ROOT=str(small_store / "root"))
    crate.ok("pull", "-q", str(busybox_image))
    small = Ready(crate, root_box.image)
    small.crate.ok("volume", "create", "there")
    with small_store.joinpath("ballast").open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        except OSError:
            pass
    assert "No space left on device" in small.crate.fails("volume", "create", "data")
    assert small.crate.ok("volume", "ls", "-q") == "there"
    done = imported(crate, "there", archive(member("file", data=bytes(1 << 20))))
    assert done.returncode == 125
    assert "No space left on device" in done.stderr
    small_store.joinpath("ballast").unlink()
    assert os.listdir(small_store / "root/volumes") == ["there"]
    assert small.run("-v", "data:/x", "@", "echo", "good") == "good"


def test_a_volume_of_an_image_begins_with_nothing_of_the_kernels_or_of_the_users(
    root_box: Ready, busybox_base: Image, put: Callable[[Crate, Image], Ready], canary: Path
) -> None:
    """What is at its place may be a mount by then: /sys, whose files do things when read, or a directory of the user's."""
    canary.joinpath("sub").mkdir(exist_ok=True)
    canary.joinpath("sub/secret").write_text("of the user's")
    box = put(root_box.crate, busybox_base.changed(Volumes={"/sys": {}, "/dev": {}, "/data/sub": {}}))
    done = box.crate("run", "--rm", "--network", "none", "-v", f"{canary}:/data", box.image, "ls", "/sys", "/dev", "/data/sub")
    assert done.returncode == 0, done.stderr
    assert "secret" not in done.stdout
    assert not {"kernel", "fs", "full", "urandom"} & set(done.stdout.split())


def test_a_hole_of_an_image_stays_one_in_the_volume(box, busybox_base: Image, put: Callable[[Crate, Image], Ready]) -> None:
    """A few bytes of an image are a file as large as it likes: copied as bytes it would fill the disk before the start."""
    size = 1 << 42
    sparse = {"GNU.sparse.numblocks": "1", "GNU.sparse.size": str(size), "GNU.sparse.map": f"{size - 4},4"}
    tree = Tree().directory("data").member("data/huge", b"tail", type=tarfile.REGTYPE, pax_headers=sparse)
    layers = (*busybox_base.layers, tree.layer())
    image = put(box.crate, replace(busybox_base.changed(Volumes={"/data": {}}), layers=layers)).image
    look = "stat -c '%s %b' /data/huge; tail -c 4 /data/huge"
    done = box.crate.ok("run", "--rm", "--network", "none", image, "sh", "-c", look)
    length, blocks = done.splitlines()[0].split()
    assert int(length) == size
    assert int(blocks) < 100
    assert done.endswith("tail")
