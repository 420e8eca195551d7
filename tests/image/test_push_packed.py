"""Pushing layers that lie as plain tars: what is sent, what it is called, and what is remembered of it."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from clients import Clock
from fake_registry import FakeRegistry
from inside import IS_ROOT
from writable_registry import WritableRegistry

from cratebox.errors import InvalidValue, StorageError
from cratebox.image import archive as archives
from cratebox.image import platform as platforms
from cratebox.image import pull, push, reference, transport
from cratebox.image.push import Pushed
from cratebox.image.settings import Settings
from cratebox.image.store import Store, StoredImage
from support.images import DOCKER, Image, Tree, digest, write_docker_archive

NOISE = os.urandom(300_000)
PLAIN = Image((Tree().file("one", b"1" * 100_000).layer(""), Tree().file("noise", NOISE).layer("")))
SETTINGS = Settings(certificates=())
MANIFESTS = {
    "oci": "application/vnd.oci.image.manifest.v1+json",
    "docker": "application/vnd.docker.distribution.manifest.v2+json",
}


def new_store(directory: Path) -> Store:
    return Store(str(directory), userxattr=not IS_ROOT, owners="keep" if IS_ROOT else "record")


def loaded(directory: Path, image: Image = PLAIN) -> tuple[Store, StoredImage]:
    """A store with an image out of a docker-archive."""
    directory.mkdir(exist_ok=True)
    store = new_store(directory / "store")
    write_docker_archive(directory / "image.tar", "app:1", image)
    found = archives.load(store, transport.parse(f"docker-archive:{directory}/image.tar"), names=True)
    store.wait_until_settled()
    return store, found


@pytest.fixture
def there(tmp_path: Path, home: Path, clock: Clock) -> tuple[Store, StoredImage]:
    return loaded(tmp_path)


def send(
    there: tuple[Store, StoredImage],
    server: FakeRegistry,
    name: str = "new/thing:t",
    form: str | None = None,
    *,
    pack: bool = True,
) -> Pushed:
    store, image = there
    target = reference.parse(f"{server.address}/{name}")
    return push.send(store, store.manifest_descriptor(image), target, SETTINGS, pack=pack, form=form)


def manifest(server: WritableRegistry, name: str = "new/thing/t") -> dict[str, object]:
    document = json.loads(server.manifests[name][0])
    assert document["mediaType"] == server.manifests[name][1]
    return document  # type: ignore[no-any-return]


def inflated(data: bytes, form: str) -> bytes:
    if form == "gzip":
        return gzip.decompress(data)
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def bodies(server: WritableRegistry) -> int:
    return sum(len(seen.body) for seen in server.seen if "/blobs/uploads/" in seen.path)


def diff_ids(server: WritableRegistry, document: dict[str, object], form: str) -> list[str]:
    """Return the digests of what the layers in the registry are packed of, each of which must be what its own digest says."""
    found = []
    for layer in document["layers"]:  # type: ignore[attr-defined]
        data = server.blobs[layer["digest"]]
        assert (digest(data), len(data)) == (layer["digest"], layer["size"])
        assert layer["mediaType"].endswith(f"tar+{form}")
        found.append("sha256:" + hashlib.sha256(inflated(data, form)).hexdigest())
    return found


@pytest.mark.parametrize("form", [None, "gzip", "zstd"])
def test_plain_layers_are_packed_and_their_diff_ids_stay(
    there: tuple[Store, StoredImage], writable: WritableRegistry, form: str | None
) -> None:
    pushed = send(there, writable, form=form)
    document = manifest(writable)
    assert pushed.digest == digest(writable.manifests["new/thing/t"][0])
    assert document["config"]["digest"] == there[1].id  # type: ignore[index]
    assert tuple(diff_ids(writable, document, form or "gzip")) == there[1].layers


def test_without_being_asked_they_go_as_they_lie(there: tuple[Store, StoredImage], writable: WritableRegistry) -> None:
    assert send(there, writable, pack=False).digest == there[1].manifest_digest


def test_another_store_packs_the_same_bytes(
    tmp_path: Path, there: tuple[Store, StoredImage], writable: WritableRegistry
) -> None:
    first = send(there, writable)
    assert send(loaded(tmp_path / "other"), writable, "elsewhere/thing:t") == first.replace(
        reference=f"{writable.address}/elsewhere/thing:t"
    )


def test_a_second_push_sends_and_packs_nothing(
    there: tuple[Store, StoredImage], writable: WritableRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = send(there, writable)
    writable.seen.clear()
    monkeypatch.setattr("cratebox.image.packing.Packed", None)  # workers are forks: it would fail there as well
    assert send(there, writable).digest == first.digest
    assert bodies(writable) == 0


def test_another_repository_gets_what_was_packed_by_a_mount(
    there: tuple[Store, StoredImage], writable: WritableRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(there, writable)
    writable.mounts = {("new/thing", layer["digest"]) for layer in manifest(writable)["layers"]}  # type: ignore[attr-defined]
    writable.seen.clear()
    monkeypatch.setattr("cratebox.image.packing.Packed", None)
    send(there, writable, "beside/thing:t")
    assert bodies(writable) == len(PLAIN.config_blob)
    assert manifest(writable, "beside/thing/t") == manifest(writable)


def test_what_the_registry_has_lost_is_packed_again(there: tuple[Store, StoredImage], writable: WritableRegistry) -> None:
    first = send(there, writable)
    writable.held["new/thing"].clear()
    assert send(there, writable).digest == first.digest
    assert {layer["digest"] for layer in manifest(writable)["layers"]} <= writable.held["new/thing"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("memory", ["", "[]", "{", '{"gzip": {"digest": "sha256:../..", "size": 1, "repositories": []}}'])
def test_a_damaged_memory_is_none(there: tuple[Store, StoredImage], writable: WritableRegistry, memory: str) -> None:
    first = send(there, writable)
    for diff_id in there[1].layers:
        (Path(there[0].layer_path(diff_id)) / "packed.json").write_text(memory)
    assert send(there, writable).digest == first.digest


def test_a_memory_of_other_bytes_is_replaced(there: tuple[Store, StoredImage], writable: WritableRegistry) -> None:
    first = send(there, writable)
    for diff_id in there[1].layers:
        path = Path(there[0].layer_path(diff_id)) / "packed.json"
        document = json.loads(path.read_text())
        path.write_text(json.dumps({"gzip": {**document["gzip"], "digest": digest(b"of another release")}}))
    assert send(there, writable).digest == first.digest
    assert json.loads(path.read_text()) == document


def test_nothing_of_it_stays_in_the_store(there: tuple[Store, StoredImage], writable: WritableRegistry) -> None:
    blobs = Path(there[0].directory) / "blobs"
    before = sorted(blobs.rglob("*"))
    send(there, writable)
    assert sorted(blobs.rglob("*")) == before


def test_a_name_by_digest_wants_what_is_pushed(there: tuple[Store, StoredImage], writable: WritableRegistry) -> None:
    with pytest.raises(InvalidValue, match="that is another digest"):
        send(there, writable, f"new/thing@{there[1].manifest_digest}")
    assert not writable.manifests
    packed = send(there, writable)
    assert send(there, writable, f"new/thing@{packed.digest}").digest == packed.digest


def test_a_damaged_layer_is_not_packed(there: tuple[Store, StoredImage], writable: WritableRegistry) -> None:
    path = Path(there[0].blob_path(there[1].layers[1]))
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        send(there, writable)
    assert not writable.manifests


@pytest.mark.parametrize(("kind", "to"), [("oci", "oci"), ("docker", "oci")])
def test_packed_layers_are_packed_otherwise_where_that_is_asked_for(
    tmp_path: Path, server: FakeRegistry, writable: WritableRegistry, kind: str, to: str
) -> None:
    image = Image((Tree().file("one", b"1" * 100_000).layer(),))
    name = server.put("a/c:t", image.as_docker() if kind == "docker" else image)
    store = new_store(tmp_path / "store")
    wanted = platforms.parse("linux/amd64")
    found = pull.bring(store, transport.parse(name), wanted, Settings(certificates=(), settle="never")).image
    assert store.came_from_registry(found)
    assert send((store, found), writable).digest == found.manifest_digest  # gzip is what it is
    assert send((store, found), writable, "gzip:t", "gzip").digest == found.manifest_digest
    send((store, found), writable, "zstd:t", "zstd")
    document = manifest(writable, "zstd/t")
    assert document["mediaType"] == MANIFESTS[to]
    assert "docker" not in json.dumps(document)
    assert tuple(diff_ids(writable, document, "zstd")) == found.layers


def test_dockers_own_types_stay_where_they_have_a_word(
    tmp_path: Path, server: FakeRegistry, writable: WritableRegistry
) -> None:
    image = Image(
        (Tree().file("one", b"1" * 100_000).layer("zstd"),),
        media=DOCKER | {"zstd": "application/vnd.docker.image.rootfs.diff.tar.zstd"},
    )
    store = new_store(tmp_path / "store")
    name = server.put("a/c:t", image)
    wanted = platforms.parse("linux/amd64")
    found = pull.bring(store, transport.parse(name), wanted, Settings(certificates=(), settle="never")).image
    send((store, found), writable, form="gzip")
    document = manifest(writable)
    assert document["mediaType"] == MANIFESTS["docker"]
    assert document["layers"][0]["mediaType"] == "application/vnd.docker.image.rootfs.diff.tar.gzip"  # type: ignore[index]


@pytest.mark.skipif(not IS_ROOT, reason="needs root (a small disk of its own)")
def test_a_full_disk_is_said_and_changes_no_name(tmp_path: Path, home: Path, clock: Clock, writable: WritableRegistry) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(disk)], check=True)
    try:
        store, found = loaded(disk, Image((Tree().file("noise", os.urandom(700_000)).layer(""),)))
        left = os.statvfs(disk)
        with open(disk / "filler", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_frsize - 200_000)
        with pytest.raises(StorageError, match=r"cannot pack layer .*no space left"):
            send((store, found), writable)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
    assert not writable.manifests
