"""Locks of linux/lock.py: held until the last descriptor is closed, and asked for without being taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cratebox.linux import lock


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "lock")


def test_it_can_be_held_once(path: str) -> None:
    held = lock.try_hold(path)
    assert held is not None
    assert lock.try_hold(path) is None
    os.close(held)
    again = lock.try_hold(path)
    assert again is not None
    os.close(again)


def test_to_ask_is_not_to_take(path: str) -> None:
    held = lock.try_hold(path)
    assert held is not None
    assert lock.is_held(path)
    os.close(held)
    assert not lock.is_held(path)


def test_a_file_that_is_not_there_is_held_by_nobody(path: str) -> None:
    assert not lock.is_held(path)
    assert not os.path.exists(path)


def test_a_child_holds_it_on(path: str) -> None:
    held = lock.try_hold(path)
    assert held is not None
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    os.close(held)
    try:
        assert lock.is_held(path)
    finally:
        os.close(write)
        os.waitpid(pid, 0)
    assert not lock.is_held(path)


def test_the_lock_of_a_file_that_was_replaced_is_none(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fstat

    def replaced(fd: int) -> os.stat_result:
        found = real(fd)
        os.unlink(path)
        Path(path).touch()
        return found

    monkeypatch.setattr(os, "fstat", replaced)
    with pytest.raises(FileNotFoundError):
        lock.try_hold(path)


def test_a_directory_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lock.try_hold(str(tmp_path / "no/lock"))
