"""The store: what it keeps, what it refuses, and what is found when it is damaged."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from craft import CraftedImage, archive, describe, digest, entry, feed, fingerprint, left, take, tree_tar
from inside import IS_ROOT, USER, run_as_user

from cratebox.errors import Conflict, NotFound, RegistryError, StorageError, Untrusted
from cratebox.errors import __file__ as errors_file
from cratebox.image import locks, reference, snapshot
from cratebox.image.manifest import Descriptor
from cratebox.image.store import Store

NAME = "docker.io/library/alpine:latest"


def crafted(*texts: str) -> CraftedImage:
    return CraftedImage(*(tree_tar({f"file{number}": text.encode()}) for number, text in enumerate(texts)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "images"), userxattr=not IS_ROOT, owners="keep" if IS_ROOT else "record")


# Finding.


def test_what_was_tagged_is_found_by_name_and_id(store: Store) -> None:
    image = crafted("one", "two")
    take(store, image)
    for name in ("alpine", "docker.io/library/alpine", NAME, image.id, image.id[:19], image.id[7:17]):
        assert store.find(name).id == image.id
    found = store.find(reference.parse("alpine"))
    assert (found.names, found.layers, found.config.cmd) == ((NAME,), tuple(image.diff_ids), ("sh",))
    assert (found.manifest_digest, found.size) == (digest(image.manifest), 6)


def test_the_directories_of_an_image_are_its_layers_lowest_first(store: Store) -> None:
    found = take(store, crafted("one", "two"))
    texts = [(Path(directory) / f"file{n}").read_text() for n, directory in enumerate(store.layer_directories(found))]
    assert texts == ["one", "two"]


def test_the_digest_that_the_registry_gave_finds_the_image_too(store: Store) -> None:
    index = "sha256:" + "ab" * 32
    found = take(store, crafted("x"), source=index)
    assert found.repo_digests == (f"docker.io/library/alpine@{index}",)
    assert store.find(f"alpine@{index}").id == store.find(f"alpine:other@{found.manifest_digest}").id == found.id


@pytest.mark.parametrize(
    "name", ["debian", "alpine:3", "alpine@sha256:" + "0" * 64, "abc", "sha256:abc", "NOT/valid::", "zz", ""]
)
def test_what_is_not_there_is_not_found(store: Store, name: str) -> None:
    take(store, crafted("x"))
    with pytest.raises(NotFound, match="not in the store"):
        store.find(name)


def test_an_empty_store_is_no_error_and_nothing_is_made_by_looking(store: Store) -> None:
    assert store.images() == []
    with pytest.raises(NotFound):
        store.find("alpine")
    assert not os.path.exists(store.directory)


def test_a_prefix_of_two_ids_is_refused(store: Store) -> None:
    one, other = take(store, crafted("1"), "a/one:1"), crafted("2")
    config = other.config
    for number in range(60_000):
        other.config = config.replace(b'"amd64"', b'"amd64", "comment": "%d"' % number)
        if other.id[7:10] == one.id[7:10]:
            break
    assert other.id[7:10] == one.id[7:10], "one in four thousand begins so"
    other.rebuild()
    take(store, other, "a/two:1")
    with pytest.raises(Conflict, match="2 images"):
        store.find(one.id[7:10])


def test_reading_takes_no_lock(store: Store) -> None:
    found = take(store, crafted("x"))
    held = [locks.hold(store.directory + "/locks", name) for name in ("store", "index", "layers")]
    assert store.layer_directories(store.find("alpine")) == store.layer_directories(found)
    assert len(store.images()) == 1
    for lock in held:
        lock.release()


def test_a_layer_that_an_image_has_twice_is_given_once_where_it_is_highest(store: Store) -> None:
    a, b = tree_tar({"f": b"a"}), tree_tar({"f": b"b"})
    directories = store.layer_directories(take(store, CraftedImage(a, b, a)))
    assert [(Path(directory) / "f").read_text() for directory in directories] == ["b", "a"]


def test_an_image_without_layers_is_an_image(store: Store) -> None:
    assert store.layer_directories(take(store, CraftedImage())) == ()


def skopeo(*words: str) -> None:
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    done = subprocess.run(["skopeo", "copy", "-q", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_skopeo_reads_the_store_by_name(store: Store, tmp_path: Path) -> None:
    image = crafted("one")
    take(store, image)
    skopeo(f"oci:{store.directory}:{NAME}", f"dir:{tmp_path}/out")
    assert (tmp_path / "out" / image.id[7:]).read_bytes() == image.config


def test_what_skopeo_puts_in_is_unpacked_when_it_is_used(store: Store, tmp_path: Path) -> None:
    take(store, crafted("mine"), "a/mine:1")
    crafted("theirs").write_layout(tmp_path / "layout", "x")
    skopeo(f"oci:{tmp_path}/layout:x", f"oci:{store.directory}:docker.io/a/theirs:1")
    (directory,) = store.layer_directories(store.find("a/theirs:1"))
    assert (Path(directory) / "file0").read_text() == "theirs"
    assert [image.names for image in store.images()] == [("a/mine:1",), ("docker.io/a/theirs:1",)]


# Digests and sizes.


@pytest.mark.parametrize("harm", ["flipped", "long", "other", "short"])
def test_wrong_bytes_of_a_layer_are_never_kept(store: Store, harm: str) -> None:
    image = CraftedImage(tree_tar({"f": os.urandom(20_000)}))
    blob = image.blobs[0]
    flipped = bytearray(blob)
    flipped[len(blob) // 2] ^= 1
    sent = {"flipped": bytes(flipped), "long": blob + b"x", "other": gzip.compress(os.urandom(len(blob))), "short": blob[:-100]}
    with pytest.raises(Untrusted, match="blob sha256"):
        store.ingest(describe(image.layer_type, blob), image.diff_ids[0], feed(sent[harm]))
    # Too few bytes are a beginning, to go on from.
    assert [name.partition("/sha256-")[0] for name in left(store)] == (["blobs/.partial"] if harm == "short" else [])
    store.ingest(describe(image.layer_type, blob), image.diff_ids[0], feed(blob))
    assert store.has_layer(image.diff_ids[0])
    assert store.has_blob(digest(blob))


def test_a_layer_whose_diff_id_is_not_that_of_the_config_is_not_kept(store: Store) -> None:
    image = crafted("x")
    with pytest.raises(Untrusted, match="not what the image's config says"):
        store.ingest(describe(image.layer_type, image.blobs[0]), "sha256:" + "0" * 64, feed(image.blobs[0]))
    assert left(store) == []


def test_a_hostile_layer_leaves_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    before = fingerprint(tmp_path / "outside")
    climbing = archive(entry(b"good", b"x"), entry(b"l", kind=b"2", link=b"../../../../outside"), entry(b"../evil", b"x"))
    image = CraftedImage(climbing)
    with pytest.raises(Untrusted, match=r"\.\."):
        take(store, image)
    assert left(store) == ["blobs/sha256/" + image.id[7:]]
    assert fingerprint(tmp_path / "outside") == before


@pytest.mark.parametrize(
    "bad", ["sha256:../../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "0" * 32, "sha256:", "", "x" * 64]
)
def test_what_is_no_digest_is_refused_everywhere(store: Store, bad: str) -> None:
    store.prepare()
    descriptor = Descriptor(media_type="x", digest=bad, size=1)
    uses: list[Callable[[], object]] = [
        lambda: store.has_blob(bad),
        lambda: store.read_blob(bad, 10),
        lambda: store.open_blob(bad),
        lambda: store.has_layer(bad),
        lambda: store.writer(descriptor),
        lambda: store.put(descriptor, b"x"),
        lambda: store.ingest(descriptor, "sha256:" + "0" * 64, feed(b"x")),
        lambda: store.tag(NAME, descriptor),
    ]
    for use in uses:
        with pytest.raises(Untrusted):
            use()
    assert left(store) == []


def test_small_blobs_are_checked_as_well(store: Store) -> None:
    with pytest.raises(Untrusted, match="another digest"):
        store.put(describe("x", b"good"), b"evil")
    with pytest.raises(Untrusted, match="more than"):
        store.put(describe("x", b"good"), b"too long")
    assert left(store) == []


# Resuming.


def test_a_download_goes_on_where_it_was_cut(store: Store) -> None:
    image = CraftedImage(tree_tar({"f": os.urandom(50_000)}))
    blob = image.blobs[0]
    offsets: list[int] = []

    def cut(offset: int) -> Iterator[bytes]:
        yield blob[offset:30_000]
        raise RegistryError("the connection was cut")

    def rest(offset: int) -> Iterator[bytes]:
        offsets.append(offset)
        yield blob[offset:]

    descriptor = describe(image.layer_type, blob)
    with pytest.raises(RegistryError, match="cut"):
        store.ingest(descriptor, image.diff_ids[0], cut)
    assert os.listdir(store.directory + "/layers") == []
    store.ingest(descriptor, image.diff_ids[0], rest)
    assert offsets == [30_000]
    assert store.has_layer(image.diff_ids[0])
    assert not any(".partial" in name for name in left(store))


def test_a_bad_beginning_of_an_earlier_attempt_is_thrown_away_by_itself(store: Store) -> None:
    image = CraftedImage(tree_tar({"f": os.urandom(50_000)}))
    blob = image.blobs[0]
    offsets: list[int] = []
    store.prepare()
    Path(store.directory, "blobs/.partial", digest(blob).replace(":", "-")).write_bytes(os.urandom(10_000))

    def source(offset: int) -> Iterator[bytes]:
        offsets.append(offset)
        yield blob[offset:]

    store.ingest(describe(image.layer_type, blob), image.diff_ids[0], source)
    assert offsets == [10_000, 0]
    assert store.has_layer(image.diff_ids[0])


def test_a_beginning_that_is_longer_than_the_blob_starts_over(store: Store) -> None:
    store.prepare()
    Path(store.directory, "blobs/.partial", digest(b"data").replace(":", "-")).write_bytes(b"much too long")
    store.put(describe("x", b"data"), b"data")
    assert store.read_blob(digest(b"data"), 10) == b"data"


def test_a_layer_whose_blob_is_there_is_unpacked_without_asking(store: Store) -> None:
    image = crafted("x")
    store.put(describe(image.layer_type, image.blobs[0]), image.blobs[0])
    store.ingest(describe(image.layer_type, image.blobs[0]), image.diff_ids[0], lambda _offset: pytest.fail("it asked"))
    assert store.has_layer(image.diff_ids[0])


def test_a_layer_that_is_unpacked_is_downloaded_for_its_blob_only(store: Store) -> None:
    image = crafted("x")
    take(store, image)
    other = gzip.compress(image.tars[0], 9)
    before = os.stat(store._layers.path(image.diff_ids[0])).st_ino
    store.ingest(describe(image.layer_type, other), image.diff_ids[0], feed(other))
    assert store.has_blob(digest(other))
    assert os.stat(store._layers.path(image.diff_ids[0])).st_ino == before


def test_eight_that_want_the_same_layer_download_it_once(store: Store) -> None:
    image = CraftedImage(tree_tar({"f": os.urandom(100_000)}))
    blob = image.blobs[0]
    asked: list[int] = []

    def slow(offset: int) -> Iterable[bytes]:
        asked.append(offset)
        for start in range(offset, len(blob), 20_000):
            time.sleep(0.02)
            yield blob[start : start + 20_000]

    work = (describe(image.layer_type, blob), image.diff_ids[0], slow)
    threads = [threading.Thread(target=store.ingest, args=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == [0]
    assert store.has_layer(image.diff_ids[0])


# Names.


def test_a_name_that_moves_leaves_the_old_image_without_one(store: Store) -> None:
    old, new = take(store, crafted("old")), take(store, crafted("new"))
    assert store.find("alpine").id == new.id
    assert [image.names for image in store.images()] == [(), (NAME,)]
    assert store.find(old.id).names == ()


def test_tagging_again_changes_nothing(store: Store) -> None:
    image = crafted("x")
    take(store, image)
    take(store, image, "ghcr.io/a/b:1")
    before = Path(store.directory, "index.json").read_bytes()
    assert take(store, image).names == (NAME, "ghcr.io/a/b:1")
    assert Path(store.directory, "index.json").read_bytes() == before


def test_an_image_that_is_not_whole_is_not_tagged(store: Store) -> None:
    image = crafted("x", "y")
    manifest = describe("application/vnd.oci.image.manifest.v1+json", image.manifest)
    with pytest.raises(StorageError):
        store.tag(NAME, manifest)
    store.put(manifest, image.manifest)
    with pytest.raises(StorageError):
        store.tag(NAME, manifest)
    store.put(describe("x", image.config), image.config)
    store.ingest(describe(image.layer_type, image.blobs[0]), image.diff_ids[0], feed(image.blobs[0]))
    with pytest.raises(StorageError, match="cannot be tagged"):
        store.tag(NAME, manifest)
    assert store.images() == []


def test_untag_keeps_the_image(store: Store) -> None:
    found = take(store, crafted("x"))
    store.untag(NAME)
    assert store.find(found.id).names == ()
    with pytest.raises(NotFound):
        store.untag(NAME)


# Removing.


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
    pending = snapshot.PendingLayer(store._layers, "x")
    store.collect()
    assert left(store) == ["layers/" + os.path.basename(pending.path)]
    pending.discard()
    assert left(store) == []


def test_lock_files_do_not_pile_up(store: Store) -> None:
    take(store, crafted("x"))
    assert len(os.listdir(store.directory + "/locks")) > 3
    store.collect()
    assert set(os.listdir(store.directory + "/locks")) == {"store", "index", "layers"}


# Damage.

CONTENTS = {"empty": b"", "text": b"no json", "list": b"[]", "wrong": b'{"manifests":[{"digest":"../x"}]}'}


def damage(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(CONTENTS[how])


@pytest.mark.parametrize("how", ["empty", "text", "list", "wrong"])
def test_a_damaged_index_is_an_error_that_names_the_file(store: Store, how: str) -> None:
    take(store, crafted("x"))
    damage(Path(store.directory, "index.json"), how)
    uses: list[Callable[[], object]] = [
        store.images,
        lambda: store.find("alpine"),
        store.collect,
        lambda: store.remove("alpine"),
        lambda: store.untag("x"),
    ]
    for use in uses:
        with pytest.raises(StorageError, match=r"index\.json"):
            use()


@pytest.mark.parametrize("which", ["config", "manifest"])
@pytest.mark.parametrize("how", ["empty", "text", "list", "wrong", "gone"])
def test_a_damaged_document_is_named_and_its_image_can_be_removed(store: Store, which: str, how: str) -> None:
    image = crafted("x")
    take(store, image)
    encoded = digest(image.config if which == "config" else image.manifest)[7:]
    damage(Path(store.directory, "blobs/sha256", encoded), how)
    with pytest.raises(StorageError, match=encoded):
        store.find("alpine")
    with pytest.raises(StorageError, match=encoded):
        store.collect()
    store.remove("alpine")
    assert left(store) == []


@pytest.mark.parametrize("how", ["text", "list", "wrong"])
def test_a_damaged_record_of_a_layer_is_named_and_restore_mends_it(store: Store, how: str) -> None:
    found = take(store, crafted("x"))
    path = Path(store.layer_directories(found)[0]).parent / "layer.json"
    damage(path, how)
    with pytest.raises(StorageError, match=r"layer\.json"):
        store.layer_directories(found)
    store.restore(found)
    assert (Path(store.layer_directories(found)[0]) / "file0").read_text() == "x"


@pytest.mark.parametrize("how", ["gone", "empty", "other boot"])
def test_a_layer_that_the_power_took_is_unpacked_again_from_its_blob(store: Store, how: str) -> None:
    found = take(store, crafted("x"))
    path = Path(store.layer_directories(found)[0]).parent / "layer.json"
    if how == "other boot":
        path.write_text(json.dumps({**json.loads(path.read_text()), "boot": "another"}))
    else:
        damage(path, how)
    (path.parent / "fs/file0").write_text("")
    again = Store(store.directory, userxattr=store.userxattr, owners=store.owners)
    assert (Path(again.layer_directories(found)[0]) / "file0").read_text() == "x"


def test_a_settled_layer_survives_a_reboot(store: Store) -> None:
    found = take(store, crafted("x"))
    store.settle()
    again = Store(store.directory, userxattr=store.userxattr)
    again._layers._boot = "the next boot"
    (directory,) = again.layer_directories(found)
    assert json.loads((Path(directory).parent / "layer.json").read_text())["boot"] == ""


def test_settling_later_holds_no_lock_and_is_done_soon(store: Store) -> None:
    found = take(store, crafted("x"))
    with store.using():
        store.settle_later()
    assert not store.collect().deferred
    path = Path(store.layer_directories(found)[0]).parent / "layer.json"
    deadline = time.monotonic() + 20
    while json.loads(path.read_text())["boot"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert json.loads(path.read_text())["boot"] == ""


def test_a_layer_that_is_lost_with_its_blob_is_an_error_that_says_what_to_do(store: Store) -> None:
    image = crafted("x")
    found = take(store, image)
    damage(Path(store.layer_directories(found)[0]).parent / "layer.json", "gone")
    damage(Path(store.directory, "blobs/sha256", digest(image.blobs[0])[7:]), "gone")
    with pytest.raises(StorageError, match="is lost") as caught:
        store.layer_directories(found)
    assert "pull it again" in str(caught.value.hint)


@pytest.mark.skipif(not IS_ROOT, reason="needs root to own a store that another user then uses")
def test_a_store_that_belongs_to_somebody_else_is_refused(store: Store, tmp_path: Path) -> None:
    store.prepare()
    os.chmod(store.directory, 0o755)
    open_to_all(tmp_path)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresuid(USER, USER, USER)
            Store(store.directory).using()
        except StorageError as error:
            code = 0 if "belongs to uid 0" in error.message else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def open_to_all(path: Path) -> None:
    for above in (path, *path.parents):
        if str(above) == "/tmp":
            return
        above.chmod(0o755)


# Rootless.


@pytest.mark.skipif(not IS_ROOT, reason="needs root to give an ordinary user subordinate ids")
def test_an_ordinary_users_store_unpacks_and_deletes_the_files_of_subordinate_ids(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, USER, USER)
    raw = archive(entry(b"d/", kind=b"5", uid=33, gid=33, mode=0o700), entry(b"d/f", b"x", uid=33, gid=33, mode=0o600))

    def work() -> tuple[int, list[str]]:
        store = Store(str(home / "images"), lambda job: job(), userxattr=True)
        (directory,) = store.layer_directories(take(store, CraftedImage(raw)))
        uid = os.stat(directory + "/d/f").st_uid
        store.remove("alpine")
        return uid, [name for name in left(store) if name.startswith("layers")]

    assert run_as_user(work, one_id=False) == (33, [])


def test_errors_cross_the_hook_as_what_they_were(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "images"), lambda work: work())
    image = crafted("x")

    class OwnError(RegistryError):
        """A kind that errors.py does not know."""

    def unreachable(_offset: int) -> Iterator[bytes]:
        raise OwnError("no answer", "try again")
        yield b""

    with pytest.raises(RegistryError, match="no answer") as caught:
        store.ingest(describe(image.layer_type, image.blobs[0]), image.diff_ids[0], unreachable)
    assert caught.value.hint == "try again"


def test_a_hook_that_dies_is_an_error(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "images"), lambda _work: b"")
    image = crafted("x")
    with pytest.raises(StorageError, match="without an answer"):
        store.ingest(describe(image.layer_type, image.blobs[0]), image.diff_ids[0], feed(image.blobs[0]))


# What it costs.


def test_reading_an_image_imports_nothing_dear(store: Store) -> None:
    take(store, crafted("x"))
    code = (
        "import sys; before = set(sys.modules)\n"
        "from cratebox.image.store import Store\n"
        f"s = Store({store.directory!r}); s.layer_directories(s.find('alpine'))\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    source = os.path.dirname(os.path.dirname(errors_file))
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": source}
    )
    dear = {"re", "json", "hashlib", "_hashlib", "typing", "dataclasses", "pathlib", "tempfile", "shutil", "zlib", "subprocess"}
    dear |= {"contextlib", "functools", "enum", "cratebox.image.layer", "cratebox.image.tar", "cratebox.image.decompress"}
    assert set(done.stdout.split()) & dear == set()
