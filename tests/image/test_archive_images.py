"""Which images an archive has, by which names: what other engines write, and what lies."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from craft import CONFIG, INDEX, MANIFEST, CraftedImage, crafted, digest, left, plain, take, tree_tar

from cratebox.errors import CrateError, NotFound, Unsupported, Untrusted
from cratebox.image import archive as archives
from cratebox.image import archive_images, platform
from cratebox.image.archive import Loaded
from cratebox.image.store import Store
from cratebox.image.transport import Source

CANONICAL = "docker.io/library/alpine:latest"
MINE = {"os": "linux", "architecture": platform.host().architecture}


def members(image: CraftedImage) -> dict[str, bytes]:
    return {f"blobs/sha256/{digest(blob)[7:]}": blob for blob in image.all_blobs()}


def layout(*entries: dict[str, object]) -> dict[str, bytes]:
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}
    return {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}


def called(image: CraftedImage, **annotations: str) -> dict[str, object]:
    names = {"ref": "org.opencontainers.image.ref.name", "containerd": "io.containerd.image.name"}
    return {**plain(MANIFEST, image.manifest), "annotations": {names[key]: value for key, value in annotations.items()}}


def index_of(entries: Iterable[dict[str, object]]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}).encode()


def write(path: Path, *parts: dict[str, bytes]) -> Path:
    path.write_bytes(tree_tar({name: data for part in parts for name, data in part.items()}))
    return path


def load(store: Store, path: Path, **options: object) -> tuple[Loaded, ...]:
    return archives.load_all(store, Source("archive", str(path)), **options)  # type: ignore[arg-type]


def names(store: Store, path: Path) -> list[tuple[str, ...]]:
    return [one.names for one in load(store, path)]


# What other engines write.


def test_an_archive_is_told_by_what_is_in_it(store: Store, tmp_path: Path) -> None:
    image = crafted("one")
    oci = write(tmp_path / "oci", layout(plain(MANIFEST, image.manifest)), members(image))
    docker = write(tmp_path / "docker", image.docker_members("alpine"))
    image.write_layout(tmp_path / "directory")
    for path in (oci, docker, tmp_path / "directory"):
        assert [one.image.id for one in load(store, path)] == [image.id]


def test_the_name_is_the_one_of_containerd_where_the_layouts_own_is_a_tag(store: Store, tmp_path: Path) -> None:
    image = crafted("one")
    entry = called(image, ref="latest", containerd="docker.io/library/alpine:latest")
    assert names(store, write(tmp_path / "f", layout(entry), members(image))) == [(CANONICAL,)]


def test_a_tag_alone_is_no_name(store: Store, tmp_path: Path) -> None:
    image = crafted("one")
    assert names(store, write(tmp_path / "f", layout(called(image, ref="latest")), members(image))) == [()]


def test_an_archive_of_both_kinds_is_read_by_its_index_and_named_by_both(store: Store, tmp_path: Path) -> None:
    """As Docker 25 and later write it: layers plain, or compressed, as the index says."""
    image = crafted("one", "two")
    names_of = ["alpine:latest", "ghcr.io/a/b:1"]
    layers = [f"blobs/sha256/{digest(blob)[7:]}" for blob in image.blobs]
    docker = [{"Config": f"blobs/sha256/{image.id[7:]}", "RepoTags": names_of, "Layers": layers}]
    file = write(
        tmp_path / "f",
        layout(called(image, ref="latest", containerd=CANONICAL)),
        {"manifest.json": json.dumps(docker).encode()},
        members(image),
    )
    (found,) = load(store, file)
    assert found.names == (CANONICAL, "ghcr.io/a/b:1")
    assert found.image.manifest_digest == digest(image.manifest)


def test_an_image_with_several_names_has_an_entry_for_each(store: Store, tmp_path: Path) -> None:
    image = crafted("one")
    entries = [called(image, ref=f"ghcr.io/a/b:{number}") for number in range(3)]
    assert names(store, write(tmp_path / "f", layout(*entries), members(image))) == [
        tuple(f"ghcr.io/a/b:{n}" for n in range(3))
    ]


def test_of_platforms_side_by_side_under_one_name_this_machines_is_taken(store: Store, tmp_path: Path) -> None:
    mine, other = crafted("mine"), crafted("other")
    entries = [
        {**called(mine, ref=CANONICAL), "platform": MINE},
        {**called(other, ref=CANONICAL), "platform": {"os": "linux", "architecture": "s390x"}},
    ]
    (found,) = load(store, write(tmp_path / "f", layout(*entries), members(mine), members(other)))
    assert found.image.id == mine.id


def test_platforms_that_are_not_in_the_archive_are_not_missed(store: Store, tmp_path: Path) -> None:
    """containerd exports the index of all platforms, and the blobs of those that it has."""
    mine, other = crafted("mine"), crafted("other")
    entries = [{**plain(MANIFEST, other.manifest), "platform": {"os": "linux", "architecture": "s390x"}}]
    entries.append({**plain(MANIFEST, mine.manifest), "platform": MINE})
    index = index_of(entries)
    blob = {f"blobs/sha256/{digest(index)[7:]}": index}
    file = write(tmp_path / "f", layout(plain(INDEX, index)), blob, members(mine))
    assert [one.image.id for one in load(store, file)] == [mine.id]
    with pytest.raises(NotFound, match="s390x"):
        load(store, file, platform=platform.parse("linux/s390x"))


def test_attestations_are_no_images(store: Store, tmp_path: Path) -> None:
    image, other = crafted("one"), crafted("attestation")
    unknown = {**plain(MANIFEST, other.manifest), "platform": {"os": "unknown", "architecture": "unknown"}}
    file = write(tmp_path / "f", layout(plain(MANIFEST, image.manifest), unknown), members(image))
    assert [one.image.id for one in load(store, file)] == [image.id]


def test_what_is_no_image_is_said_to_be_none(store: Store, tmp_path: Path) -> None:
    image = crafted("one")
    image.manifest = image.manifest.replace(CONFIG.encode(), b"application/vnd.example.artifact")
    with pytest.raises(Unsupported, match="not an image"):
        load(store, write(tmp_path / "f", layout(plain(MANIFEST, image.manifest)), members(image)))


def test_an_image_that_is_there_is_not_taken_again_from_an_archive_without_manifests(store: Store, tmp_path: Path) -> None:
    image = crafted("one")
    before = take(store, image)
    (found,) = load(store, write(tmp_path / "f", image.docker_members("ghcr.io/a/b:1")))
    assert found.image.manifest_digest == before.manifest_digest
    assert found.image.names == (CANONICAL, "ghcr.io/a/b:1")
    assert len(store.images()) == 1


def test_the_same_image_in_another_packing_takes_the_name_and_leaves_no_twin(store: Store, tmp_path: Path) -> None:
    packed, loose = CraftedImage(tree_tar({"f": b"x"})), CraftedImage(tree_tar({"f": b"x"}), gz=False)
    assert packed.id == loose.id
    take(store, loose)
    (found,) = load(store, write(tmp_path / "f", layout(called(packed, ref=CANONICAL)), members(packed)))
    assert [image.manifest_digest for image in store.images()] == [found.image.manifest_digest] == [digest(packed.manifest)]


@pytest.mark.parametrize("squeeze", [gzip.compress, lzma.compress, bz2.compress], ids=["gzip", "xz", "bzip2"])
def test_an_archive_may_be_compressed_as_a_whole(store: Store, tmp_path: Path, squeeze: object) -> None:
    image = crafted("one")
    (tmp_path / "f").write_bytes(squeeze(tree_tar(image.docker_members("alpine"))))  # type: ignore[operator]
    assert names(store, tmp_path / "f") == [(CANONICAL,)]
    assert not any(".partial" in name for name in left(store))


@pytest.mark.parametrize("squeeze", [gzip.compress, lzma.compress, bz2.compress], ids=["gzip", "xz", "bzip2"])
def test_an_archive_whose_compression_is_cut_or_damaged_is_refused(store: Store, tmp_path: Path, squeeze: object) -> None:
    raw = squeeze(tree_tar(crafted("one").docker_members("alpine")))  # type: ignore[operator]
    for wrong in (raw[:-20], raw[:40] + bytes(20) + raw[60:], raw[:11]):
        (tmp_path / "f").write_bytes(wrong)
        with pytest.raises(CrateError) as caught:
            load(store, tmp_path / "f")
        assert caught.value.message.isprintable()
    assert left(store) == []


def test_a_plain_archive_may_begin_with_a_name_that_looks_like_bzip2(store: Store, tmp_path: Path) -> None:
    image = crafted("one")
    assert names(store, write(tmp_path / "f", {"BZh91AY": b""}, image.docker_members("alpine"))) == [(CANONICAL,)]


@pytest.mark.parametrize("squeeze", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_an_archive_comes_through_a_pipe(store: Store, tmp_path: Path, squeeze: object) -> None:
    raw = squeeze(tree_tar(crafted("one").docker_members("alpine")))  # type: ignore[operator]
    reading, writing = os.pipe()

    def feed() -> None:
        with open(writing, "wb") as file:
            file.write(raw)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        assert [one.names for one in archives.load_all(store, Source("archive", "x"), stream=reading)] == [(CANONICAL,)]
    finally:
        os.close(reading)
        feeder.join()
    assert not any(".partial" in name for name in left(store))


def test_a_stream_that_is_a_file_is_read_from_where_it_stands(store: Store, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"before" + tree_tar(crafted("one").docker_members("alpine")))
    with open(tmp_path / "f", "rb", 0) as file:
        file.seek(6)
        assert len(archives.load_all(store, Source("archive", "x"), stream=file.fileno())) == 1


# What lies.


def test_one_image_that_lies_keeps_all_out(store: Store, tmp_path: Path) -> None:
    good, bad = crafted("good"), crafted("bad")
    parts = members(bad)
    parts[f"blobs/sha256/{digest(bad.blobs[0])[7:]}"] = bytes(len(bad.blobs[0]))
    entries = (called(good, ref="ghcr.io/a/good:1"), called(bad, ref="ghcr.io/a/bad:1"))
    with pytest.raises(Untrusted):
        load(store, write(tmp_path / "f", layout(*entries), members(good), parts))
    assert store.images() == []
    store.collect(partial=True)
    assert left(store) == []


@pytest.mark.parametrize("has_blob", [True, False])
def test_a_layer_of_another_image_is_not_had_by_its_name_alone(store: Store, tmp_path: Path, has_blob: bool) -> None:
    """Else whoever knows the diff ID of a private layer could read it from an image of his own."""
    private, public, thief = crafted("private"), crafted("public"), crafted("public" if has_blob else "other")
    for number, one in enumerate((private, public)):
        load(store, write(tmp_path / f"good{number}", layout(plain(MANIFEST, one.manifest)), members(one)))
    before = left(store)
    thief.config = thief.config.replace(thief.diff_ids[0].encode(), private.diff_ids[0].encode())
    thief.rebuild()
    with pytest.raises(Untrusted, match="not what the image's config says"):
        load(store, write(tmp_path / "evil", layout(plain(MANIFEST, thief.manifest)), members(thief)))
    assert [one.id for one in store.images()] == [private.id, public.id]
    assert left(store) == before


def test_two_configs_that_call_one_layer_by_different_ids_are_refused(store: Store, tmp_path: Path) -> None:
    one, two = crafted("one"), crafted("one")
    two.config = two.config.replace(two.diff_ids[0].encode(), b"sha256:" + b"0" * 64)
    two.rebuild()
    with pytest.raises(Untrusted, match="both"):
        load(
            store,
            write(
                tmp_path / "f", layout(plain(MANIFEST, one.manifest), plain(MANIFEST, two.manifest)), members(one), members(two)
            ),
        )
    assert store.images() == []


@pytest.mark.parametrize(
    "name", ["Alpine", "../x", "a:b:c", "\x1b[2J", "sha256:" + "0" * 64 + "@x", "alpine@sha256:" + "0" * 64]
)
def test_a_name_that_is_none_is_refused_before_anything_is_taken(store: Store, tmp_path: Path, name: str) -> None:
    with pytest.raises(Untrusted) as caught:
        load(store, write(tmp_path / "f", crafted("one").docker_members(name)))
    assert caught.value.message.isprintable()
    assert not os.path.exists(store.directory + "/blobs/sha256") or left(store) == []


def test_a_name_with_a_digest_must_tell_the_truth(store: Store, tmp_path: Path) -> None:
    image = crafted("one")
    own, other = (f"docker.io/library/alpine@{each}" for each in (digest(image.manifest), "sha256:" + "0" * 64))
    with pytest.raises(Untrusted, match="its digest is"):
        load(store, write(tmp_path / "lie", layout(called(image, containerd=other)), members(image)))
    assert store.images() == []
    assert names(store, write(tmp_path / "truth", layout(called(image, containerd=own)), members(image))) == [(own,)]
    assert store.find(own).id == image.id


def test_documents_beyond_what_memory_is_given_for_are_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = crafted("one")
    listed = json.loads(image.docker_members("a:1")["manifest.json"]) * 20
    file = write(tmp_path / "f", {**image.docker_members(), "manifest.json": json.dumps(listed).encode()})
    monkeypatch.setattr(archive_images, "MAX_DOCUMENTS", 5000)
    with pytest.raises(Untrusted, match="more than 5000 bytes"):
        load(store, file)


def test_a_layer_that_is_elsewhere_is_told(store: Store, tmp_path: Path) -> None:
    image = crafted("one")
    document = json.loads(image.manifest)
    document["layers"][0]["urls"] = ["https://example.com/layer"]
    image.manifest = json.dumps(document).encode()
    parts = members(image)
    del parts[f"blobs/sha256/{digest(image.blobs[0])[7:]}"]
    with pytest.raises(Unsupported, match="elsewhere"):
        load(store, write(tmp_path / "f", layout(plain(MANIFEST, image.manifest)), parts))


def test_other_archives_and_directories_are_told_from_images(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no image in it") as caught:
        load(store, write(tmp_path / "root", {"etc/passwd": b"root"}))
    assert "crate import" in str(caught.value.hint)
    with pytest.raises(Unsupported, match=r"1\.10"):
        load(store, write(tmp_path / "old", {"repositories": b"{}"}))
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/manifest.json").write_text("{}")
    with pytest.raises(Unsupported, match="dir:"):
        load(store, tmp_path / "dir")


def test_who_does_not_want_images_from_there_is_asked_first(store: Store, tmp_path: Path) -> None:
    asked = []

    def refuse(source: Source) -> None:
        asked.append(source.kind)
        raise Untrusted("not from there")

    with pytest.raises(Untrusted, match="not from there"):
        load(store, write(tmp_path / "f", crafted("one").docker_members("alpine")), allow=refuse)
    assert asked == ["docker-archive"]
    assert left(store) == []
