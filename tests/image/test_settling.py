"""Layers are put on the disk after a pull, by a process that is in nobody's way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from craft import CraftedImage, take, tree_tar
from fake_registry import FakeRegistry
from pulls import OTHER, THREE, begin, descriptors, fetch, is_settled, new_store, settlers, wait_until

from cratebox.errors import InvalidValue
from cratebox.errors import __file__ as errors_file
from cratebox.image import archive, detached, settings, settling, transport
from cratebox.image.settling import Settling
from cratebox.image.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path / "store")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "_REST", 0.0)


def test_a_pull_is_settled_without_being_asked(server: FakeRegistry, store: Store) -> None:
    fetch(store, server.put("a/c:t", THREE))
    assert not is_settled(store)
    store.wait_until_settled()
    assert is_settled(store)


def test_what_is_settled_is_used_after_a_reboot(server: FakeRegistry, store: Store, soon: None) -> None:
    image = fetch(store, server.put("a/c:t", THREE)).image
    store.wait_until_settled()
    again = new_store(Path(store.directory))
    again._layers._boot = "the next boot"
    assert all(map(again.has_layer, image.layers))


@pytest.mark.parametrize("how", ["one", "all"])
def test_what_comes_from_an_archive_is_settled(store: Store, tmp_path: Path, how: str, soon: None) -> None:
    layout = CraftedImage(tree_tar({"f": b"x"})).write_layout(tmp_path / "layout", "t")
    if how == "one":
        fetch(store, f"oci:{layout}:t")
    else:
        archive.load_all(store, transport.parse(f"oci:{layout}"))
    store.wait_until_settled()
    assert is_settled(store)


def test_an_image_that_is_there_but_not_settled_is_settled_by_the_next_pull(server: FakeRegistry, store: Store) -> None:
    name = server.put("a/c:t", THREE)
    fetch(store, name, settle="never")
    assert not settlers(store)
    assert fetch(store, name).status == "present"
    store.wait_until_settled()
    assert is_settled(store)


def test_where_all_is_settled_no_process_is_made(server: FakeRegistry, store: Store) -> None:
    name = server.put("a/c:t", THREE)
    fetch(store, name, settle="now")
    assert is_settled(store)
    fetch(store, name)
    assert not settlers(store)


def test_whoever_settles_holds_nothing_of_the_caller(server: FakeRegistry, store: Store) -> None:
    read_end, write_end = os.pipe()
    fetch(store, server.put("a/c:t", THREE))
    os.close(write_end)
    (settler,) = settlers(store)
    try:
        os.set_blocking(read_end, False)
        assert os.read(read_end, 1) == b""  # the end of the pipe, and not BlockingIOError: nobody else has it
        assert sorted(descriptors(settler)) == ["/dev/null"] * 3 + [os.path.realpath(store.directory) + "/locks/settle"]
        assert os.readlink(f"/proc/{settler}/cwd") == "/"
        assert os.getsid(settler) != os.getsid(0)
        assert str(settler) not in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        assert not store.collect().deferred
    finally:
        os.close(read_end)
    store.wait_until_settled()
    wait_until(lambda: not settlers(store))


def test_whoever_reads_what_a_pull_says_does_not_wait_for_the_disk(store: Store, tmp_path: Path) -> None:
    layout = CraftedImage(tree_tar({"f": b"x"})).write_layout(tmp_path / "layout", "t")
    code = (
        "from cratebox.image import archive, store, transport\n"
        f"s = store.Store({store.directory!r}, userxattr={store.userxattr}, owners={store.owners!r})\n"
        f"archive.load_all(s, transport.parse('oci:{layout}'))\n"
        "print('done')"
    )
    source = os.path.dirname(os.path.dirname(errors_file))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": source})
    assert done.stdout == "done\n"
    assert settlers(store)
    store.wait_until_settled()


def test_a_caller_who_ignores_its_children_is_served(store: Store) -> None:
    take(store, CraftedImage(tree_tar({"f": b"x"})))

    def work() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        store.settle_later()

    assert os.waitstatus_to_exitcode(os.waitpid(begin(work), 0)[1]) == 0
    store.wait_until_settled()
    assert is_settled(store)


def test_where_there_are_no_more_processes_a_pull_is_done_all_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    take(store, CraftedImage(tree_tar({"f": b"x"})))

    def refused() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(detached.os, "fork", refused)
    store.settle_later()
    store.wait_until_settled()


def test_one_settles_for_all(server: FakeRegistry, store: Store) -> None:
    for number in range(5):
        fetch(store, server.put(f"a/c:{number}", THREE if number else OTHER))
    assert len(settlers(store)) == 1
    store.wait_until_settled()
    assert is_settled(store)


def test_who_is_sent_away_at_the_last_moment_is_served(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer comes after the settler has looked for layers and before it lets go of its lock, which its caller has still."""
    monkeypatch.setattr(settling, "_REST", 0.0)
    take(store, CraftedImage(tree_tar({"f": b"x"})))
    real, late, start, kept = Settling.sweep, [], detached.run, []

    def run(work: Callable[[], None], lock: int) -> None:
        kept.append(os.dup(lock))
        start(work, lock)

    def sweep(self: Settling) -> None:
        real(self)
        if not late:
            late.append(take(store, CraftedImage(tree_tar({"g": b"y"})), "docker.io/a/b:c"))
            self.later()

    monkeypatch.setattr(Settling, "sweep", sweep)
    monkeypatch.setattr(detached, "run", run)
    store.settle_later()
    # It lets go of the lock and takes it again: that nobody has it for a moment does not mean that it is done.
    wait_until(lambda: len(list(Path(store.directory, "layers").glob("[0-9a-f]*/layer.json"))) == 2 and is_settled(store))
    os.close(kept.pop())
    store.wait_until_settled()


def test_nothing_is_settled_while_somebody_pulls(store: Store, soon: None) -> None:
    take(store, CraftedImage(tree_tar({"f": b"x"})))
    with store.pulling():
        store.settle_later()
        wait_until(lambda: settlers(store))
        time.sleep(0.3)
        assert not is_settled(store)
        with new_store(Path(store.directory)).pulling():  # nor is anybody kept from pulling meanwhile
            pass
    store.wait_until_settled()
    assert is_settled(store)


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 3, 5, 8, 13, 21, 40])
def test_it_may_be_killed_at_any_moment(store: Store, soon: None, milliseconds: int) -> None:
    images = [take(store, CraftedImage(tree_tar({"f": bytes([n])})), f"docker.io/a/b:{n}") for n in range(8)]
    store.settle_later()
    time.sleep(milliseconds / 1000)
    for settler in settlers(store):
        os.kill(settler, signal.SIGKILL)
    store.wait_until_settled()
    for path in Path(store.directory, "layers").glob("*/layer.json"):
        json.loads(path.read_text())
    for number, image in enumerate(images):
        assert (Path(store.layer_directories(image)[0]) / "f").read_bytes() == bytes([number])
    store.settle_later()
    store.wait_until_settled()
    assert is_settled(store)


def test_a_pull_may_be_killed_while_it_starts_the_settler(server: FakeRegistry, store: Store, soon: None) -> None:
    name = server.put("a/c:t", THREE)
    fetch(store, name, settle="never")
    for number in range(12):
        pid = begin(store.settle_later)
        time.sleep(number / 1000)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    fetch(store, name)
    store.wait_until_settled()
    assert is_settled(store)


# The setting


def test_nothing_is_settled_where_that_is_the_wish(server: FakeRegistry, store: Store) -> None:
    fetch(store, server.put("a/c:t", THREE), settle="never")
    assert not settlers(store)
    assert not is_settled(store)


@pytest.mark.parametrize("word", ["later", "now", "never"])
def test_the_setting_is_read(tmp_path: Path, word: str) -> None:
    (tmp_path / "config.toml").write_text(f'[images]\nsettle = "{word}"\n')
    assert settings.load(str(tmp_path / "config.toml")).settle == word


def test_without_a_setting_it_is_later(tmp_path: Path) -> None:
    assert settings.load(str(tmp_path / "config.toml")).settle == "later"


@pytest.mark.parametrize("text", ["settle = true", 'settle = "soon"', "sync = 1", "settle = ['later']"])
def test_a_setting_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_text(f"[images]\n{text}\n")
    with pytest.raises(InvalidValue, match=r"\[images\]"):
        settings.load(str(tmp_path / "config.toml"))
