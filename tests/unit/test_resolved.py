"""The short way past the store: it must never tell yesterday's truth."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cratebox.engine import resolved
from cratebox.engine.image_defaults import ImageDefaults
from cratebox.linux.process import boot_id
from cratebox.paths import Paths

DEFAULTS = ImageDefaults(cmd=("sh",), env=("A=b",), labels={"k": "v"})


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(root=str(tmp_path / "root"), state=str(tmp_path / "state"), config="")
    os.makedirs(found.images + "/layers/one/fs")
    Path(found.images, "index.json").write_text("{}")
    return found


def remember(paths: Paths, name: str = "alpine") -> None:
    known = resolved.Resolved(
        resolved.signature(paths), boot_id(), "sha256:1", DEFAULTS, ("sha256:2",), (paths.images + "/layers/one/fs",)
    )
    resolved.remember(paths, name, known)


def test_what_was_remembered_is_recalled(paths):
    remember(paths)
    found = resolved.recall(paths, "alpine")
    assert found
    assert (found.id, found.defaults, found.layers) == ("sha256:1", DEFAULTS, ("sha256:2",))


def test_another_name_is_not_known(paths):
    remember(paths)
    assert resolved.recall(paths, "alpine:3") is None


def test_a_new_index_makes_it_forgotten(paths):
    remember(paths)
    Path(paths.images, "new").write_text("{}")
    os.rename(paths.images + "/new", paths.images + "/index.json")
    assert resolved.recall(paths, "alpine") is None


def test_a_layer_that_is_gone_makes_it_forgotten(paths):
    remember(paths)
    os.rmdir(paths.images + "/layers/one/fs")
    assert resolved.recall(paths, "alpine") is None


def test_another_boot_makes_it_forgotten(paths, monkeypatch):
    remember(paths)
    monkeypatch.setattr(resolved, "boot_id", lambda: "another")
    assert resolved.recall(paths, "alpine") is None


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"index": [1]}', b"\xff", b"null"])
def test_a_damaged_file_is_none(paths, text):
    remember(paths)
    Path(paths.state, "images", b"alpine".hex()).write_bytes(text)
    assert resolved.recall(paths, "alpine") is None


def test_a_name_that_makes_no_file_name_is_not_kept(paths):
    remember(paths, "a" * 300)
    assert resolved.recall(paths, "a" * 300) is None
    assert not Path(paths.state, "images").exists()


def test_what_was_looked_up_before_another_command_tagged_is_not_known(paths: Paths) -> None:
    before = resolved.signature(paths)
    new = Path(paths.images, "new")
    new.write_text("{} ")
    new.rename(Path(paths.images, "index.json"))
    resolved.remember(paths, "alpine", resolved.Resolved(before, boot_id(), "sha256:old", DEFAULTS, (), ()))
    assert resolved.recall(paths, "alpine") is None
