"""`rename`, `--replace` and `port`."""

from __future__ import annotations

import os
import resource
from functools import partial

import pytest

from cratebox.engine import records, renaming
from cratebox.paths import Paths


def test_a_running_container_gets_another_name(box) -> None:
    identity = box.detached("--name", "web", "@", "sleep", "1000")
    assert box.crate.ok("rename", "web", "other") == ""
    assert box.crate.ok("ps", "--format", "{{.Names}}") == "other"
    assert box.status("other") == "running"
    assert "no container web" in box.crate.fails("exec", "web", "true")
    assert os.listdir(box.crate.root / "names") == ["other"]
    assert box.status(identity) == "running"


def test_the_old_name_is_free(box) -> None:
    box.create("--name", "web", "@", "true")
    box.crate.ok("rename", "web", "old")
    box.create("--name", "web", "@", "true")
    assert set(os.listdir(box.crate.root / "names")) == {"web", "old"}


def test_a_renamed_container_that_removes_itself_leaves_no_name(box, until) -> None:
    box.detached("--rm", "--name", "web", "@", "sleep", "1000")
    box.crate.ok("rename", "web", "other")
    box.crate.ok("kill", "other")
    until(lambda: os.listdir(box.crate.root / "names") == [])


def test_a_container_that_is_removed_while_it_is_renamed_leaves_no_name(root_box, monkeypatch) -> None:
    crate = root_box.crate
    identity = root_box.create("--name", "web", "@", "true")
    paths = Paths(str(crate.root), str(crate.state), str(crate.directory))
    real = renaming.name_links.release_old

    def late(*args: object, **more: object) -> bool:
        crate.ok("rm", identity)
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(renaming.name_links, "release_old", late)
    renaming.rename(paths, records.load(paths, identity), "other")
    assert os.listdir(crate.root / "names") == []


@pytest.mark.parametrize(("name", "said"), [("taken", "taken by"), ("web", "has that name already"), ("a/b", "not a name")])
def test_what_cannot_be_the_name_changes_nothing(box, name: str, said: str) -> None:
    box.create("--name", "web", "@", "true")
    box.create("--name", "taken", "@", "true")
    assert said in box.crate.fails("rename", "web", name)
    assert set(os.listdir(box.crate.root / "names")) == {"web", "taken"}
    assert box.status("web") == "created"


def test_a_rename_that_cannot_be_written_down_leaves_no_name(box) -> None:
    box.create("--name", "web", "@", "true")
    nothing_fits = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (0, 0))
    assert "File too large" in box.crate.fails("rename", "web", "other", preexec_fn=nothing_fits)
    assert os.listdir(box.crate.root / "names") == ["web"]
    assert box.status("web") == "created"


def test_a_rename_that_was_killed_in_between_stands_in_nobodys_way(box) -> None:
    """Before the record is written there is a name too many, and after that one that is no longer true."""
    web = box.create("--name", "web", "@", "true")
    names = box.crate.root / "names"
    for name in ("half", "free"):
        (names / name).symlink_to(web)
    assert box.status("half") == "created"
    box.crate.ok("rename", "web", "half")
    other = box.create("--name", "free", "@", "true")
    assert os.readlink(names / "free") == other
    assert set(os.listdir(names)) == {"half", "free"}


def test_events_tell_of_the_old_name(box) -> None:
    box.create("--name", "web", "@", "true")
    box.crate.ok("rename", "web", "other")
    last = (box.crate.root / "events/journal").read_text().splitlines()[-1]
    assert '"Action":"rename"' in last
    assert '"oldName":"/web"' in last


def test_replace_removes_the_container_that_has_the_name(box) -> None:
    old = box.detached("--name", "web", "@", "sleep", "1000")
    new = box.detached("--replace", "--name", "web", "@", "sleep", "1000")
    assert box.crate.ok("ps", "-aq", "--no-trunc") == new != old


def test_replace_leaves_it_where_the_new_one_cannot_be_made(box) -> None:
    old = box.detached("--name", "web", "@", "sleep", "1000")
    box.crate.fails("create", "--replace", "--name", "web", "--pull", "never", "no-such-image:1")
    assert box.crate.ok("ps", "-q", "--no-trunc") == old
    assert "--replace takes --name" in box.crate.fails("create", "--replace", box.image, "true")


def test_a_container_has_no_published_ports(box) -> None:
    box.create("--name", "web", "@", "true")
    assert box.crate.ok("port", "web") == ""
    assert "no public port 80/tcp published for web" in box.crate.fails("port", "web", "80")
    assert "80/abc: no such protocol: abc" in box.crate.fails("port", "web", "80/abc")
    assert "no container nothing" in box.crate.fails("port", "nothing")
