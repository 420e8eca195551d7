"""Descriptors in custody are kept wherever a supervisor is killed (custody.py)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cratebox.engine import custody
from cratebox.engine.custody import Custody
from cratebox.linux import fdpass


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def kept() -> Iterator[Custody]:
    made = custody.new()
    yield made
    made.ours.close()
    made.kept.close()


@contextmanager
def _successor(of: Custody) -> Iterator[Custody]:
    """What whoever takes over makes of the same ends."""
    made = Custody.of(*(os.dup(fd) for fd in of.descriptors))
    yield made
    made.ours.close()
    made.kept.close()


def _taken(by: Custody) -> dict[str, int]:
    """Return the inodes of what is kept, by name."""
    inodes = {}
    for name, fd in by.take().items():
        inodes[name] = os.fstat(fd).st_ino
        os.close(fd)
    return inodes


def _taken_over(kept: Custody) -> dict[str, int]:
    with _successor(kept) as successor:
        return _taken(successor)


def _killed_at(call: int, act: Callable[[], object]) -> int:
    """Do that in a child which ends in place of its system call of that number, counted from 1. Return its exit code: 9, or 0
    where it made no such call.
    """
    pid = os.fork()
    if pid == 0:
        left = call

        def instead(function: Callable[..., object]) -> Callable[..., object]:
            def counted(*words: object, **named: object) -> object:
                nonlocal left
                left -= 1
                if not left:
                    os._exit(9)
                return function(*words, **named)

            return counted

        for name in ("send", "receive", "look_on"):
            setattr(fdpass, name, instead(getattr(fdpass, name)))
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_what_is_kept_last_is_taken_again_and_again(kept: Custody, pipe: tuple[int, int]) -> None:
    kept.hold({"first": pipe[0]})
    kept.hold({"console": pipe[0], "1.socket": pipe[1]})
    inode = os.fstat(pipe[0]).st_ino
    for _ in range(3):
        assert _taken_over(kept) == {"console": inode, "1.socket": inode}


@pytest.mark.parametrize("twice", [False, True])
def test_one_who_is_killed_while_it_takes_over_loses_nothing(kept: Custody, pipe: tuple[int, int], twice: bool) -> None:
    """Also where there are two messages, since the one before was killed while it had others kept."""
    inode = os.fstat(pipe[0]).st_ino
    if twice:
        fdpass.send(kept.ours, b"old", (pipe[0],))
    kept.hold({"console": pipe[0]})
    for call in range(1, 99):
        with _successor(kept) as successor:
            code = _killed_at(call, successor.take)
        assert _taken_over(kept) == {"console": inode}
        if code == 0:
            break
        assert code == 9
    assert call > 4


def test_what_is_no_longer_kept_is_gone(kept: Custody, pipe: tuple[int, int]) -> None:
    kept.hold({"console": pipe[0]})
    with _successor(kept) as successor:
        _taken(successor)
        successor.hold({})
    assert _taken_over(kept) == {}
