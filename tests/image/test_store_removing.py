"""The store: what is removed, and what stays because somebody needs it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from craft import NAME, CraftedImage, crafted, describe, feed, left, take, tree_tar

from cratebox.errors import Conflict
from cratebox.image.store import Store


def test_removing_the_last_name_removes_everything(store: Store) -> None:
    take(store, crafted("x", "y"))
    removed = store.remove("alpine")
    assert removed.untagged == (NAME,)
    assert (len(removed.deleted), removed.deferred) == (6, False)
    assert left(store) == []
    assert store.images() == []


def test_what_another_image_needs_stays(store: Store) -> None:
    base = tree_tar({"base": b"x"})
    one, two = CraftedImage(base, tree_tar({"one": b"1"})), CraftedImage(base, tree_tar({"two": b"2"}))
    take(store, one, "docker.io/a/one:1")
    kept = take(store, two, "docker.io/a/two:1")
    store.remove("a/one:1")
    assert len(store.layer_directories(kept)) == 2
    assert not store.has_layer(one.diff_ids[1])


def test_one_of_several_names_only_loses_the_name(store: Store) -> None:
    image = crafted("x")
    take(store, image)
    take(store, image, "ghcr.io/a/b:1")
    assert store.remove("alpine").untagged == (NAME,)
    assert store.find("ghcr.io/a/b:1").names == ("ghcr.io/a/b:1",)


def test_an_id_with_several_names_is_removed_by_force_only(store: Store) -> None:
    image = crafted("x")
    take(store, image)
    take(store, image, "ghcr.io/a/b:1")
    with pytest.raises(Conflict, match="2 names"):
        store.remove(image.id)
    assert len(store.remove(image.id, force=True).untagged) == 2
    assert store.images() == []


def test_an_image_in_use_is_not_removed_and_by_force_only_loses_its_names(store: Store) -> None:
    found = take(store, crafted("x"))
    with pytest.raises(Conflict, match="in use"):
        store.remove("alpine", {found.id})
    store.remove("alpine", lambda: {found.id}, force=True)
    assert store.find(found.id).names == ()
    assert store.layer_directories(found)


def test_collect_keeps_what_a_container_uses_even_if_nothing_else_refers_to_it(store: Store) -> None:
    found = take(store, crafted("x"))
    Path(store.directory, "index.json").write_text('{"schemaVersion":2,"manifests":[]}')
    store.collect({found.id})
    assert store.layer_directories(found)
    store.collect()
    assert left(store) == []


def test_collect_deletes_nothing_while_a_pull_is_under_way(store: Store) -> None:
    image = crafted("x")
    with store.using():
        store.ingest(describe(image.layer_type, image.blobs[0]), image.diff_ids[0], feed(image.blobs[0]))
        assert store.collect().deferred
        assert store.has_layer(image.diff_ids[0])
    assert not store.collect().deferred
    assert left(store) == []


def test_removing_while_a_pull_is_under_way_untags_now_and_collects_later(store: Store) -> None:
    take(store, crafted("x"))
    with store.using():
        assert store.remove("alpine").deferred
    assert store.images() == []
    store.collect()
    assert left(store) == []


def test_collect_keeps_young_partial_downloads(store: Store) -> None:
    store.prepare()
    for name, age in (("sha256-" + "a" * 64, 0), ("sha256-" + "b" * 64, 90_000)):
        path = Path(store.directory, "blobs/.partial", name)
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age, time.time() - age))
    store.collect()
    assert os.listdir(store.directory + "/blobs/.partial") == ["sha256-" + "a" * 64]
    store.collect(partial=True)
    assert left(store) == []


def test_collect_removes_what_a_crash_left_but_not_what_is_being_made(store: Store) -> None:
    store.prepare()
    for name in (".new-dead", ".old-dead"):
        Path(store.directory, "layers", name, "fs/deep").mkdir(parents=True)
    pending = store._layers.pending("sha256:" + "a" * 64)
    pending.make()
    store.collect()
    assert left(store) == ["layers/" + os.path.basename(pending.path)]
    pending.discard()
    assert left(store) == []


def test_lock_files_do_not_pile_up(store: Store) -> None:
    take(store, crafted("x"))
    assert len(os.listdir(store.directory + "/locks")) > 3
    store.collect()
    assert set(os.listdir(store.directory + "/locks")) == {"store", "index", "layers"}
