"""Who watches a container's first process hears its end once, whoever tells it first."""

from __future__ import annotations

import os
import signal

import pytest

from cratebox.engine import vigil
from cratebox.engine.loop import Loop


def test_one_whose_end_the_guardian_told_meanwhile_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a kernel before 6.15, which tells nobody but the parent."""
    asked: list[int] = []
    monkeypatch.setattr(vigil.process, "zombie_status", lambda *_: None)
    monkeypatch.setattr(vigil.process, "reaped_status", asked.append)
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    heard: list[int] = []
    loop = Loop()
    watched = vigil.Vigil(loop, heard.append)
    watched.resume(child, 0, os.pidfd_open(child))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    loop.turn()
    assert watched.told(child, status)
    loop.turn()  # when it would have been asked again
    assert heard == [137]
    assert len(asked) == 1
    assert asked[0] >= 0
