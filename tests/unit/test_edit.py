"""engine/edit.py: a container's record is changed by one after the other, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cratebox import record_file
from cratebox.engine import records
from cratebox.engine.config import ContainerConfig
from cratebox.engine.edit import edit
from cratebox.engine.records import Container
from cratebox.errors import Conflict, NotFound
from cratebox.paths import Paths

IDENTITY = "ab" * 32


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(root=str(tmp_path), state=str(tmp_path / "state"), config="")
    where = Path(records.directory(made, IDENTITY))
    where.mkdir(parents=True)
    container = Container(id=IDENTITY, name="0", created=1.0, image="i", image_id="x", config=ContainerConfig(image="i"))
    record_file.write(str(where / "container.json"), container)
    return made


def test_what_was_changed_is_on_the_disk(paths: Paths) -> None:
    assert edit(paths, IDENTITY, lambda one: one.replace(name="web")).name == "web"
    assert records.load(paths, IDENTITY).name == "web"


def test_what_the_change_raises_leaves_the_record(paths: Paths) -> None:
    def refuse(_: Container) -> Container:
        raise Conflict("no")

    with pytest.raises(Conflict):
        edit(paths, IDENTITY, refuse)
    assert records.load(paths, IDENTITY).name == "0"
    edit(paths, IDENTITY, lambda one: one.replace(name="free again"))


def test_no_change_is_lost_among_several(paths: Paths) -> None:
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            for _ in range(25):
                edit(paths, IDENTITY, lambda one: one.replace(name=str(int(one.name) + 1)))
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert records.load(paths, IDENTITY).name == "100"
    assert sorted(os.listdir(records.directory(paths, IDENTITY))) == ["container.json", "edit.lock"]


def test_a_container_that_is_gone_is_said(paths: Paths) -> None:
    with pytest.raises(NotFound):
        edit(paths, "cd" * 32, lambda one: one)
    where = records.directory(paths, IDENTITY)

    def moved(one: Container) -> Container:
        os.rename(where, where + "-removing")
        return one.replace(name="late")

    with pytest.raises(NotFound):
        edit(paths, IDENTITY, moved)
