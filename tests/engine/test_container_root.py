"""The root of a container as a descriptor in a process of its own: what copying, exporting and comparing stand on."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from cratebox.engine import container_root
from cratebox.engine.engine import Engine
from cratebox.errors import Conflict, NotFound
from cratebox.linux import beneath
from cratebox.paths import locate

Visit = Callable[..., bytes]


@pytest.fixture
def visit(root_box) -> Visit:
    """A function that visits the container of a name in root's store."""
    crate = root_box.crate

    def visiting(name: str, work: Callable[[int], bytes]) -> bytes:
        engine = Engine(locate(str(crate.root), str(crate.state)))
        container = engine.containers.get(name)
        return container_root.visit(container_root.Whose(engine.paths, engine.identity, engine.images, container), work)

    return visiting


def entries(path: str) -> Callable[[int], bytes]:
    def work(root: int) -> bytes:
        fd = beneath.open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return " ".join(sorted(os.listdir(fd))).encode()
        finally:
            os.close(fd)

    return work


def test_of_a_running_container_what_is_mounted_is_seen(root_box, visit) -> None:
    root_box.detached("--name", "web", "--tmpfs", "/tmp", "@", "sh", "-c", "echo > /tmp/mark; exec sleep 100")
    root_box.crate.ok("logs", "web")
    assert b"mark" in visit("web", entries("/tmp"))
    assert b"self" in visit("web", entries("/proc"))


def test_of_a_stopped_container_its_changes_and_its_binds_are_seen(root_box, visit, scratch) -> None:
    (scratch / "shown").write_text("")
    root_box.create("--name", "web", "-v", f"{scratch}:/srv", "@", "sh", "-c", "echo > /made")
    root_box.crate.ok("start", "-a", "web")
    assert b"made" in visit("web", entries("/"))
    assert b"shown" in visit("web", entries("/srv"))


def test_nobody_starts_a_container_that_is_visited(root_box, visit) -> None:
    root_box.create("--name", "web", "@", "true")

    def work(_root: int) -> bytes:
        return root_box.crate("start", "web").stderr.encode()

    assert b"web is busy: another command starts or removes it" in visit("web", work)
    assert root_box.crate.ok("start", "-a", "web") == ""


def test_what_goes_wrong_there_is_raised_here(root_box, visit) -> None:
    root_box.create("--name", "web", "@", "true")

    def work(_root: int) -> bytes:
        raise NotFound("no such thing", "look elsewhere")

    with pytest.raises(NotFound, match="no such thing") as failed:
        visit("web", work)
    assert failed.value.hint == "look elsewhere"


def test_the_host_is_not_seen_through_a_procs_links(root_box, visit) -> None:
    root_box.detached("--name", "web", "@", "sleep", "100")
    with pytest.raises(Exception, match="symbolic links"):
        visit("web", entries("/proc/1/root"))


def test_a_container_of_a_directory_is_visited_while_it_runs_alone(root_box, visit, scratch) -> None:
    root_box.crate.ok("create", "--name", "web", f"rootfs:{scratch}", "true")
    with pytest.raises(Conflict, match="does not run"):
        visit("web", entries("/"))
