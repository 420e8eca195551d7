"""What killed pulls leave is cleared by the next one, or by the removal of an image; what somebody holds is not."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import fake_registry as fake
import pytest
from craft import CraftedImage, digest, take, tree_tar
from fake_registry import FakeRegistry
from pulls import BIG, OTHER, THREE, begin, fetch, kill_with_workers, new_store, settlers, wait_until, workers

from cratebox.errors import StorageError
from cratebox.image import blobs, locks, settling, snapshot
from cratebox.image.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(settling, "_REST", 0.0)
    return new_store(tmp_path / "store")


def layers(store: Store) -> list[str]:
    return sorted(os.listdir(store.directory + "/layers"))


def litter(store: Store) -> list[str]:
    return [name for name in layers(store) if name.startswith(".")]


def kill_a_pull(server: FakeRegistry, store: Store, name: str, after: int) -> None:
    """Kill a pull, and its workers, once `after` bytes of the large layer have come."""
    # It writes what it has read in pieces of up to a mebibyte: so much more must come for `after` bytes to be written.
    server.fault(BIG.digest, fake.stall(min(after + (1 << 20), 2_950_000), 300))
    pid = begin(lambda: fetch(store, name, settle="never"))
    partial = Path(store.directory, "blobs/.partial", BIG.digest.replace(":", "-"))
    wait_until(lambda: workers(pid) and partial.exists() and partial.stat().st_size >= after)
    kill_with_workers(pid)
    server.rules.clear()  # it may have been killed before it asked


@pytest.mark.parametrize("after", [0, 500_000, 2_000_000])
def test_the_next_pull_clears_what_a_killed_one_left(server: FakeRegistry, store: Store, after: int) -> None:
    name = server.put("a/c:t", THREE)
    kill_a_pull(server, store, name, after)
    assert litter(store)
    assert fetch(store, name).image.id == THREE.id
    store.wait_until_settled()
    assert len(layers(store)) == 3
    assert not os.listdir(store.directory + "/blobs/.partial")
    assert sorted(os.listdir(store.directory + "/locks")) == ["index", "layers", "pull", "settle", "store"]


def test_a_pull_of_something_else_clears_it_as_well(server: FakeRegistry, store: Store) -> None:
    kill_a_pull(server, store, server.put("a/c:t", THREE), 500_000)
    fetch(store, server.put("a/d:t", OTHER))
    store.wait_until_settled()
    assert not litter(store)
    assert os.listdir(store.directory + "/blobs/.partial")  # the killed pull can be gone on with


def test_the_removal_of_an_image_clears_it_as_well(server: FakeRegistry, store: Store) -> None:
    fetch(store, server.put("a/d:t", OTHER), settle="now")
    kill_a_pull(server, store, server.put("a/c:t", THREE), 500_000)
    assert litter(store)
    store.remove(f"{server.address}/a/d:t")
    assert layers(store) == []


def test_pulls_that_are_killed_one_after_the_other_leave_no_more_than_the_last(server: FakeRegistry, store: Store) -> None:
    """What the first has left is cleared by a process that outlives the second."""
    name = server.put("a/c:t", THREE)
    kill_a_pull(server, store, name, 0)
    before = len(litter(store))
    server.fault(BIG.digest, fake.stall(2_000_000, 3))
    pid = begin(lambda: fetch(store, name))
    wait_until(lambda: set(settlers(store)) - set(workers(pid)))
    wait_until(lambda: workers(pid) and len(litter(store)) > before)
    kill_with_workers(pid)
    store.wait_until_settled()
    assert not litter(store)


def test_much_litter_is_cleared_before_a_pull_begins(
    server: FakeRegistry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.prepare()
    for number in range(20):
        os.makedirs(f"{store.directory}/layers/.new-{number:016x}/fs/some/where")
    monkeypatch.setattr(Store, "settle_later", lambda _self: None)
    fetch(store, server.put("a/d:t", OTHER))
    assert not litter(store)


def test_without_settling_litter_is_cleared_before_a_pull_begins(server: FakeRegistry, store: Store) -> None:
    store.prepare()
    os.makedirs(f"{store.directory}/layers/.new-{1:016x}/fs")
    fetch(store, server.put("a/d:t", OTHER), settle="never")
    assert not litter(store)


def test_what_is_being_made_is_left_alone(store: Store) -> None:
    store.prepare()
    pending = store._layers.pending("sha256:" + "a" * 64)
    pending.make()
    os.makedirs(f"{store.directory}/layers/.old-{1:016x}/fs")
    store.sweep()
    assert litter(store) == [os.path.basename(pending.path)]
    pending.discard()
    assert layers(store) == []


def test_a_layer_that_a_sweep_takes_before_it_is_locked_is_begun_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.prepare()
    real, swept = snapshot.flock, []

    def flock(fd: int, how: int) -> None:
        if not swept:
            swept.append(os.readlink(f"/proc/self/fd/{fd}"))
            os.rmdir(swept[0])
        real(fd, how)

    monkeypatch.setattr(snapshot, "flock", flock)
    pending = store._layers.pending("sha256:" + "a" * 64)
    pending.make()
    assert swept
    assert os.path.realpath(pending.path) != swept[0]
    assert os.path.isdir(pending.path + "/fs")
    pending.discard()


def test_sweeps_and_pulls_side_by_side_do_not_hinder_each_other(store: Store) -> None:
    store.prepare()
    image = CraftedImage(tree_tar({"f": b"x"}))
    until = time.monotonic() + 2

    def sweep() -> None:
        while time.monotonic() < until:
            store.sweep()

    def make() -> None:
        while time.monotonic() < until:
            take(store, image)
            shutil.rmtree(store._layers.path(image.diff_ids[0]) + "/fs")
            Path(store._layers.path(image.diff_ids[0]), "layer.json").write_text("")

    pids = [begin(sweep), begin(sweep), begin(make)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0]
    store.sweep()
    assert not litter(store)


def test_a_layer_that_was_replaced_is_cleared(store: Store) -> None:
    image = CraftedImage(tree_tar({"f": b"x"}))
    found = take(store, image)
    path = Path(store.layer_directories(found)[0]).parent / "layer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot": "another"}))
    again = new_store(Path(store.directory))
    again.layer_directories(found)
    again.wait_until_settled()
    assert layers(store) == [digest(image.tars[0])[7:]]


@pytest.mark.parametrize("milliseconds", [0, 2, 5, 10, 20])
def test_a_sweep_may_be_killed(store: Store, milliseconds: int) -> None:
    store.prepare()
    for number in range(3):
        for inner in range(100):
            os.makedirs(f"{store.directory}/layers/.old-{number:016x}/fs/{inner}/deep")
    pid = begin(store.sweep)
    time.sleep(milliseconds / 1000)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    store.sweep()
    assert layers(store) == []


def test_what_an_ordinary_user_left_is_deleted_where_its_owners_are_mapped(store: Store) -> None:
    calls = []

    def inside(work):  # type: ignore[no-untyped-def]
        calls.append(1)
        return work()

    other = Store(store.directory, inside, userxattr=store.userxattr, owners=store.owners)
    other.prepare()
    os.makedirs(f"{store.directory}/layers/.new-{1:016x}/fs")
    other.sweep()
    assert calls
    assert layers(store) == []


def test_a_download_that_nobody_goes_on_with_is_deleted_after_a_day(store: Store) -> None:
    store.prepare()
    names = {age: "sha256-" + digit * 64 for age, digit in (("old", "a"), ("young", "b"), ("going on", "c"))}
    for age, name in names.items():
        path = Path(store.directory, "blobs/.partial", name)
        path.write_bytes(b"x")
        if age != "young":
            os.utime(path, (time.time() - blobs._KEEP_PARTIAL - 60,) * 2)
    with locks.hold(store.directory + "/locks", names["going on"]):
        store.sweep()
    assert sorted(os.listdir(store.directory + "/blobs/.partial")) == [names["young"], names["going on"]]


# What the hints say helps


def test_a_damaged_record_of_a_layer_is_mended_by_a_pull(server: FakeRegistry, store: Store) -> None:
    name = server.put("a/c:t", THREE)
    image = fetch(store, name, settle="now").image
    path = Path(store.layer_directories(image)[0]).parent / "layer.json"
    path.write_text("[]")
    with pytest.raises(StorageError, match="damaged") as caught:
        store.layer_directories(image)
    assert "pull the image again" in str(caught.value.hint)
    server.seen.clear()
    fetch(store, name, settle="now")
    assert (Path(store.layer_directories(image)[0]) / "one").read_bytes() == b"1"
    assert not any("/blobs/" in seen.path for seen in server.seen)


def test_a_damaged_index_is_moved_away_and_pulls_fetch_no_layer_again(server: FakeRegistry, store: Store) -> None:
    name = server.put("a/c:t", THREE)
    fetch(store, name, settle="now")
    path = Path(store.directory, "index.json")
    path.write_text("[]")
    with pytest.raises(StorageError, match="damaged") as caught:
        store.images()
    assert "move that file away and pull the images again" in str(caught.value.hint)
    path.rename(path.with_suffix(".damaged"))
    server.seen.clear()
    assert fetch(store, name, settle="now").image.names == (name,)
    assert not any("/blobs/" in seen.path for seen in server.seen)


def test_no_hint_of_this_room_names_a_command_that_there_is_not() -> None:
    import re

    import cratebox
    from cratebox.cli.verbs import GROUPS, VERBS

    verbs = {*VERBS, *GROUPS}
    room = Path(cratebox.__path__[0]) / "image"
    named = {
        word
        for path in room.glob("*.py")
        for word in re.findall(r'"crate ([a-z]+)|with crate ([a-z]+)|: crate ([a-z]+)[" ]', path.read_text())
    }
    assert {word for found in named for word in found if word} - verbs - {"unpacks", "reads", "fetches"} == set()
