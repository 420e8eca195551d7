"""What holds a volume while a container starts: marks and locks, and when they are given back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cratebox.engine.volume_filling import Filling, Starting
from cratebox.errors import StorageError
from cratebox.paths import Paths
from cratebox.runtime.wish import Bind


def starting(directory: Path, name: str) -> tuple[Starting, Path]:
    """Return an empty volume of a container that starts, and its mark."""
    place = directory / name
    (place / "_data").mkdir(parents=True)
    one = Starting(
        name=name, container="c", image="i", target="/" + name, place=str(place), data=str(place / "_data"), fill=True,
        durable=False,
    )  # fmt: skip
    return one, place / "filling"


def filling(*volumes: Starting) -> Filling:
    return Filling(Paths("/root", "/state", "/config"), volumes, {one.target: Bind(fill=True) for one in volumes})


def test_what_is_settled_leaves_no_mark(tmp_path: Path) -> None:
    one, mark = starting(tmp_path, "a")
    held = filling(one)
    assert mark.read_text() == "i"
    held.settle()
    assert not mark.exists()


def test_what_is_abandoned_empty_leaves_no_mark_and_what_is_half_filled_keeps_it(tmp_path: Path) -> None:
    empty, of_empty = starting(tmp_path, "a")
    half, of_half = starting(tmp_path, "b")
    held = filling(empty, half)
    (tmp_path / "b/_data/file").touch()
    held.abandon()
    assert not of_empty.exists()
    assert of_half.exists()


def test_each_lock_is_given_back_once_where_one_of_several_cannot_be_settled(tmp_path: Path) -> None:
    """A descriptor that is closed twice may be somebody else's by then."""
    (first, mark), (second, of_second) = starting(tmp_path, "a"), starting(tmp_path, "b")
    held = filling(first, second)
    mark.unlink()
    mark.mkdir()  # which unlink refuses
    with pytest.raises(StorageError, match="cannot fill the volume a"):
        held.settle()
    others = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)  # has the number that was free first
    try:
        held.abandon()
        os.fstat(others)
    finally:
        os.close(others)
    assert not of_second.exists()
