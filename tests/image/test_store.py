"""The store: what it keeps, how it is found, and what is never taken in."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from craft import NAME, CraftedImage, archive, crafted, describe, digest, entry, feed, fingerprint, left, take, tree_tar

from cratebox.errors import Conflict, NotFound, RegistryError, StorageError, Untrusted
from cratebox.errors import __file__ as errors_file
from cratebox.image import locks, reference
from cratebox.image.manifest import Descriptor
from cratebox.image.store import Store

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
