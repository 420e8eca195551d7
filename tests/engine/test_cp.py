"""`crate cp`: files between a container, running or not, and this machine."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("web")


@pytest.fixture(params=["running", "stopped"])
def web(request, box) -> str:
    """A container with some files in it."""
    script = (
        "mkdir -p /data/sub; echo f > /data/f; echo g > /data/sub/g; ln -s f /data/link; chmod 640 /data/f; chown 5:6 /data/f"
    )
    box.detached("--name", "web", "@", "sh", "-c", script + "; exec sleep 1000")
    for _ in range(200):
        if box.crate("exec", "web", "test", "-e", "/data/f", "-a", "!", "-O", "/data/f").returncode == 0:
            break
    if request.param == "stopped":
        box.crate.ok("kill", "web")
        box.crate.ok("wait", "web")
    return str(request.param)


@pytest.fixture
def here(box) -> Path:
    """A directory of the caller's with some files in it: the home of the person."""
    home = box.crate.person.home
    (home / "tree/sub").mkdir(parents=True)
    (home / "tree/f").write_text("f")
    (home / "tree/sub/g").write_text("g")
    (home / "tree/link").symlink_to("f")
    for path in (home / "tree", *(home / "tree").rglob("*")):
        os.chown(path, box.crate.person.uid, box.crate.person.gid, follow_symlinks=False)
    return home


def listed(box, path: str) -> list[str]:
    """Return names in a directory of the container, which may not run."""
    data = box.crate("cp", f"web:{path}", "-", text=False, errors=None).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return sorted(member.name for member in tar)


# Out of the container


def test_a_file_comes_with_its_mode_and_time_and_is_the_callers(box, here) -> None:
    box.crate.ok("cp", "web:/data/f", "copied")
    info = (here / "copied").stat()
    assert (here / "copied").read_text() == "f\n"
    assert (info.st_mode & 0o777, info.st_uid, info.st_gid) == (0o640, box.crate.person.uid, box.crate.person.gid)


def test_a_directory_that_is_not_there_is_made_and_one_that_is_there_gets_it(box, here) -> None:
    box.crate.ok("cp", "web:/data", "new")
    assert sorted(os.listdir(here / "new")) == ["f", "link", "sub"]
    box.crate.ok("cp", "web:data", "new")
    assert sorted(os.listdir(here / "new/data")) == ["f", "link", "sub"]
    box.crate.ok("cp", "web:/data/.", "tree/sub")
    assert sorted(os.listdir(here / "tree/sub")) == ["f", "g", "link", "sub"]
    assert os.readlink(here / "new/link") == "f"


def test_a_symlink_is_copied_as_such_or_followed(box, here) -> None:
    box.crate.ok("cp", "web:/data/link", "as-link")
    box.crate.ok("cp", "-L", "web:/data/link", "as-file")
    assert (here / "as-link").is_symlink()
    assert not (here / "as-file").is_symlink()
    assert (here / "as-file").read_text() == "f\n"


@pytest.mark.parametrize(
    ("source", "to", "said"),
    [
        ("web:/nothing", "x", "no such file or directory"),
        ("web:/data/f/", "x", "not a directory"),
        ("web:/data/f", "x/", "the directory must be there"),
        ("web:/data/f", "no/x", "the directory that it is to be in is not there"),
        ("web:/data", "tree/f", "cannot copy a directory to a file"),
        ("web:/data/f", "tree/f/", "not a directory"),
        ("web:/data/sub/g", "tree/sub/over", "cannot overwrite the directory"),
        ("web:/data", "web:/other", "from one container to another"),
        ("nowhere:/x", "x", "no container nowhere"),
        ("tree", "x", "one of the two must be of a container"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(box, here, source: str, to: str, said: str) -> None:
    (here / "tree/sub/over/g").mkdir(parents=True)
    before = sorted(map(str, here.rglob("*")))
    assert said in box.crate.fails("cp", source, to)
    assert sorted(map(str, here.rglob("*"))) == before


def test_minus_gives_an_archive(box) -> None:
    assert listed(box, "/data") == ["data", "data/f", "data/link", "data/sub", "data/sub/g"]
    assert listed(box, "/data/.") == [".", "./f", "./link", "./sub", "./sub/g"]


def test_what_was_copied_is_told_on_demand(box, here) -> None:
    assert box.crate("cp", "web:/data/f", "x").stderr == ""
    assert "Successfully copied 2.05kB to x" in box.crate("cp", "--quiet=false", "web:/data/f", "x").stderr


# Into the container


def test_what_goes_in_is_roots_there_and_with_a_its_owners(box, here) -> None:
    (here / "tree/f").chmod(0o4755)
    box.crate.ok("cp", "tree", "web:/in")
    box.crate.ok("cp", "-a", "tree/f", "web:/kept")
    with tarfile.open(fileobj=io.BytesIO(box.crate("cp", "web:/", "-", text=False, errors=None).stdout)) as tar:
        members = {member.name: member for member in tar}
    assert members["./in/link"].linkname == "f"
    assert (members["./in/f"].uid, members["./in/f"].gid) == (0, 0)
    person = box.crate.person
    assert members["./in/f"].mode == (0o4755 if person.is_root else 0o755)  # set-user-ID meant somebody else
    if person.is_root:
        assert members["./kept"].uid == person.uid


def test_the_rules_are_the_same_on_the_way_in(box, here) -> None:
    box.crate.ok("cp", "tree", "web:/data")
    box.crate.ok("cp", "tree/.", "web:data/sub")
    box.crate.ok("cp", "tree/f", "web:/data/sub/")
    box.crate.ok("cp", "tree/sub/g", "web:/data/f")
    assert listed(box, "/data/tree") == ["tree", "tree/f", "tree/link", "tree/sub", "tree/sub/g"]
    assert listed(box, "/data/sub") == ["sub", "sub/f", "sub/g", "sub/link", "sub/sub", "sub/sub/g"]
    box.crate.ok("cp", "web:/data/f", "back")
    assert (here / "back").read_text() == "g"
    assert "cannot copy a directory to a file" in box.crate.fails("cp", "tree", "web:/data/f")
    assert "is not there" in box.crate.fails("cp", "tree/f", "web:/no/where")
    assert "the directory must be there" in box.crate.fails("cp", "tree/f", "web:/nowhere/")
    assert "no such file" in box.crate.fails("cp", "nothing", "web:/")


def test_an_archive_is_unpacked_compressed_or_not(box, here) -> None:
    for mode, to in (("w", "/data"), ("w:gz", "/data/sub")):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode=mode) as tar:
            tar.add(here / "tree", "tree")
        box.crate("cp", "-", f"web:{to}", input=made.getvalue(), text=False, errors=None)
        assert "tree/sub/g" in listed(box, f"{to}/tree")
    assert "standard input" in box.crate.fails("cp", "-", "web:/data", input="x" * 600)
    assert "not a directory" in box.crate.fails("cp", "-", "web:/data/f", input="")


def test_large_and_sparse_files_stay_what_they_are(box, here) -> None:
    with (here / "large").open("wb") as file:
        file.truncate(300 << 20)
        file.seek(100 << 20)
        file.write(os.urandom(1 << 20))
    os.chown(here / "large", box.crate.person.uid, box.crate.person.gid)
    box.crate.ok("cp", "large", "web:/large")
    box.crate.ok("cp", "web:/large", "back")
    assert (here / "back").stat().st_blocks * 512 < 32 << 20
    assert subprocess.run(["cmp", here / "large", here / "back"]).returncode == 0


def test_attributes_and_times_are_kept(box, here) -> None:
    path = here / "tree/f"
    os.setxattr(path, "user.note", b"kept")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    box.crate.ok("cp", "tree", "web:/in")
    box.crate.ok("cp", "web:/in", "out")
    assert os.getxattr(here / "out/f", "user.note") == b"kept"
    assert (here / "out/f").stat().st_mtime == 1_000_000_000


def test_events_tell_of_it(box, here) -> None:
    box.crate.ok("cp", "tree", "web:/in")
    box.crate.ok("cp", "web:/in", "out")
    actions = [line.split('"Action":"')[1].split('"')[0] for line in _journal(box) if '"Action"' in line]
    assert actions[-2:] == ["extract-to-dir", "archive-path"]


def _journal(box) -> list[str]:  # type: ignore[no-untyped-def]
    return list((box.crate.root / "events/journal").read_text().splitlines())
