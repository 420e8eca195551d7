"""What criu is given to read: nothing that others could have written, wherever it lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cratebox.errors import StorageError
from cratebox.runtime import criu, criu_images, criu_places
from support import people

REASON = people.why_not("root")
needs_root = pytest.mark.skipif(bool(REASON), reason=REASON or "-")


def images(path: Path, parent: str = "") -> Path:
    path.mkdir(mode=0o700)
    (path / "inventory.img").touch(0o600)
    if parent:
        (path / "parent").symlink_to(parent)
    return path


def opened(path: Path) -> None:
    os.close(criu_images.open_images(str(path)))


@needs_root
def test_images_that_lean_on_others_are_looked_at_with_these(tmp_path: Path) -> None:
    first = images(tmp_path / "first")
    images(tmp_path / "second", "../first")
    last = images(tmp_path / "last", "../second")
    opened(last)
    os.chown(first / "inventory.img", 1000, 1000)
    with pytest.raises(StorageError, match=r"last/parent/parent/inventory\.img can be written by others"):
        opened(last)
    os.chown(first / "inventory.img", 0, 0)
    first.chmod(0o777)
    with pytest.raises(StorageError, match="last/parent/parent can be written by others"):
        opened(last)


@needs_root
def test_images_that_lean_on_others_are_where_nobody_can_exchange_those(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    images(theirs / "first")
    last = images(theirs / "last", "../first")
    opened(last)
    os.chown(theirs, 1000, 1000)
    with pytest.raises(StorageError, match="theirs can be changed by others"):
        opened(last)
    opened(theirs / "first")  # which is opened once and leans on nothing


@needs_root
def test_a_parent_that_leads_nowhere_or_in_a_circle_is_an_error(tmp_path: Path) -> None:
    last = images(tmp_path / "last", "../gone")
    with pytest.raises(StorageError, match=r"cannot use .*parent: no such file"):
        opened(last)
    (last / "parent").unlink()
    (last / "parent").symlink_to("../last")
    with pytest.raises(StorageError, match="in a circle"):
        opened(last)


@needs_root
def test_criu_does_not_obey_the_configuration_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert criu.environment() == dict(os.environ)
    os.chown(tmp_path, 1000, 1000)
    assert criu.environment() == {name: value for name, value in os.environ.items() if name != "HOME"}
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    assert "HOME" not in criu.environment()
    monkeypatch.delenv("HOME")
    assert criu.environment() == dict(os.environ)


def test_a_place_of_a_mount_that_is_no_text_is_read_as_its_bytes() -> None:
    assert criu_places._row("36 35 98:0 / /a\\040b\udcff\\134 rw - ext4 /dev/x rw") == ("/a b\udcff\\", "ext4")
    assert criu_places._row("36 35 98:0 / /é\\040 rw - tmpfs tmpfs rw") == ("/é ", "tmpfs")
