"""Making directories below a descriptor: inside of it, whatever the names in it lead to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cratebox.linux.beneath import make_directories


@pytest.fixture
def root(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    fd = os.open(tmp_path / "root", os.O_RDONLY | os.O_DIRECTORY)
    yield fd, tmp_path / "root"
    os.close(fd)
    assert not os.listdir(tmp_path / "outside")


def make(fd: int, path: str) -> str:
    made = make_directories(fd, path)
    try:
        return os.readlink(f"/proc/self/fd/{made}")
    finally:
        os.close(made)


def test_what_is_missing_is_made(root) -> None:
    fd, where = root
    assert make(fd, "/a/b//c/./d") == f"{where}/a/b/c/d"


def test_dots_do_not_lead_out(root) -> None:
    fd, where = root
    assert make(fd, "/../../x") == f"{where}/x"


@pytest.mark.parametrize("target", ["/run/lock", "../run/lock"])
def test_a_symlink_that_leads_nowhere_is_followed_inside(root, target: str) -> None:
    fd, where = root
    (where / "var").mkdir()
    (where / "var/lock").symlink_to(target)
    assert make(fd, "/var/lock/deep") == f"{where}/run/lock/deep"


def test_an_absolute_symlink_stays_inside(root) -> None:
    fd, where = root
    (where / "out").symlink_to(where.parent / "outside")
    assert make(fd, "/out/x").startswith(f"{where}/")


def test_symlinks_in_a_circle_are_an_error(root) -> None:
    fd, where = root
    (where / "a").symlink_to("b")
    (where / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        make(fd, "/a/x")


def test_symlinks_that_grow_for_ever_are_an_error(root) -> None:
    fd, where = root
    (where / "a").symlink_to("/a/a/none")
    with pytest.raises(OSError, match=r"symlinks|symbolic"):
        make(fd, "/a")


def test_a_file_in_the_way_is_an_error(root) -> None:
    fd, where = root
    (where / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        make(fd, "/file/x")


def test_no_descriptor_is_left_open(root) -> None:
    fd, where = root
    (where / "file").write_text("")
    before = len(os.listdir("/proc/self/fd"))
    for path in ("/a/b", "/file/x", "/a/c"):
        try:
            make(fd, path)
        except OSError:
            pass
    assert len(os.listdir("/proc/self/fd")) == before
