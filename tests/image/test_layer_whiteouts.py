"""Unpacking a layer: what it deletes of the layers below it."""

from __future__ import annotations

from pathlib import Path

import pytest
from craft import archive, entry
from unpacking import is_whiteout, names, needs_root, opaque, run_overlay, unpack

from cratebox.errors import Untrusted


def test_a_whiteout_becomes_a_device_0_0(root: Path) -> None:
    unpack(archive(entry(b"etc/.wh.gone")), root)
    assert is_whiteout(root / "etc/gone")
    assert names(root) == {"etc", "etc/gone"}


def test_an_opaque_directory_is_marked_for_overlayfs(root: Path) -> None:
    unpack(archive(entry(b"d/", kind=b"5"), entry(b"d/.wh..wh..opq"), entry(b"d/new", b"x")), root)
    assert opaque(root / "d") == b"y"
    assert names(root) == {"d", "d/new"}


def test_an_opaque_directory_without_an_entry_of_its_own_is_made(root: Path) -> None:
    unpack(archive(entry(b"d/.wh..wh..opq")), root)
    assert opaque(root / "d") == b"y"


@pytest.mark.parametrize("order", [1, -1], ids=["whiteout first", "whiteout last"])
def test_a_directory_that_a_layer_deletes_and_makes_again_is_opaque(root: Path, order: int) -> None:
    parts = [entry(b".wh.d"), entry(b"d/", kind=b"5") + entry(b"d/new", b"x")]
    unpack(archive(*parts[::order]), root)
    assert opaque(root / "d") == b"y"
    assert (root / "d/new").read_bytes() == b"x"


def test_a_directory_made_again_without_an_entry_is_opaque_too(root: Path) -> None:
    unpack(archive(entry(b".wh.d"), entry(b"d/e/new", b"x")), root)
    assert opaque(root / "d") == b"y"


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_that_a_layer_deletes_and_makes_again_stays(root: Path, order: int) -> None:
    unpack(archive(*[entry(b".wh.f"), entry(b"f", b"x")][::order]), root)
    assert (root / "f").read_bytes() == b"x"


def test_notes_of_aufs_are_ignored(root: Path) -> None:
    unpack(archive(entry(b".wh..wh.aufs"), entry(b".wh..wh.plnk/", kind=b"5"), entry(b".wh..wh.plnk/1.2", b"x")), root)
    assert names(root) == set()


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh...", b"d/.wh...", b"../.wh.x"])
def test_a_whiteout_of_no_file_is_refused(root: Path, canary: Path, name: bytes) -> None:
    with pytest.raises(Untrusted):
        unpack(archive(entry(name)), root)


@needs_root
def test_overlayfs_hides_what_whiteouts_delete(tmp_path: Path) -> None:
    if run_overlay(tmp_path, userxattr=False) is not None:
        pytest.fail("the overlay showed what was deleted")
