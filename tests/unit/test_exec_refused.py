"""An exec into a container that its owner may not look into."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from cratebox.errors import RuntimeFailure
from cratebox.runtime import exec as runtime


def _refused(_pid: int) -> Any:
    raise PermissionError(13, "Permission denied")


def test_it_leaves_no_descriptor_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that asks for health tries again and again."""
    reading, leader = os.pipe()
    monkeypatch.setattr(runtime, "_open", lambda _state: leader)
    monkeypatch.setattr(runtime, "_kinds", _refused)
    target: Any = SimpleNamespace(state=SimpleNamespace(pid=1), filter=None, directory="")
    nothing: Any = None
    with pytest.raises(RuntimeFailure, match="cannot enter the container"):
        runtime._fork(target, nothing, nothing, (0, 1, 2), nothing, nothing)
    os.set_blocking(reading, False)
    assert os.read(reading, 1) == b""  # its end: nobody has the other one open
    os.close(reading)


def test_no_door_is_looked_for_where_there_is_no_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(runtime, "_kinds", _refused)
    monkeypatch.setattr(runtime.os.path, "lexists", asked.append)  # type: ignore[attr-defined]
    target: Any = SimpleNamespace(state=SimpleNamespace(pid=1), directory="")
    with pytest.raises(RuntimeFailure, match="cannot enter the container"):
        runtime._way_in(target)
    assert asked == []
