"""Images from files: OCI layouts, oci-archive, docker-archive; honest ones, other tools' ones, hostile ones."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from craft import INDEX, MANIFEST, CraftedImage, archive, digest, entry, left, plain, tree_tar
from inside import IS_ROOT

from cratebox.errors import Conflict, NotFound, StorageError, Untrusted
from cratebox.image import archive as archives
from cratebox.image import platform, transport
from cratebox.image.store import Store, StoredImage


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "images"), userxattr=not IS_ROOT, owners="keep" if IS_ROOT else "record")


def crafted(*texts: str, gz: bool = True) -> CraftedImage:
    return CraftedImage(*(tree_tar({f"file{number}": text.encode()}) for number, text in enumerate(texts)), gz=gz)


def texts(store: Store, image: StoredImage) -> list[str]:
    return [(Path(directory) / f"file{n}").read_text() for n, directory in enumerate(store.layer_directories(image))]


def tar_of(directory: Path, target: Path, *, gz: bool = False) -> Path:
    subprocess.run(["tar", "-C", directory, "-czf" if gz else "-cf", target, "."], check=True)
    return target


def load(store: Store, source: str, **options: object) -> StoredImage:
    return archives.load(store, transport.parse(source), **options)  # type: ignore[arg-type]


def docker_archive(path: Path, members: dict[str, bytes]) -> str:
    path.write_bytes(tree_tar(members))
    return f"docker-archive:{path}"


# Honest ones.


@pytest.mark.parametrize("tag", ["", ":v1"])
def test_an_oci_directory_is_taken(store: Store, tmp_path: Path, tag: str) -> None:
    image = crafted("one", "two")
    image.write_layout(tmp_path / "layout", "v1")
    found = load(store, f"oci:{tmp_path}/layout{tag}")
    assert (found.id, found.names, texts(store, found)) == (image.id, (), ["one", "two"])


@pytest.mark.parametrize("gz", [False, True])
def test_an_oci_archive_is_taken(store: Store, tmp_path: Path, gz: bool) -> None:
    image = crafted("one", "two")
    file = tar_of(image.write_layout(tmp_path / "layout"), tmp_path / "file.tar", gz=gz)
    assert texts(store, load(store, f"oci-archive:{file}")) == ["one", "two"]
    assert not any(".partial" in name for name in left(store))


@pytest.mark.parametrize("gz", [False, True])
def test_a_docker_archive_is_taken(store: Store, tmp_path: Path, gz: bool) -> None:
    image = crafted("one", "two")
    raw = tree_tar(image.docker_members("alpine:latest"))
    (tmp_path / "file").write_bytes(gzip.compress(raw) if gz else raw)
    found = load(store, f"docker-archive:{tmp_path}/file")
    assert (found.id, texts(store, found)) == (image.id, ["one", "two"])


def test_layers_of_a_docker_archive_may_be_compressed(store: Store, tmp_path: Path) -> None:
    image = crafted("one", "two")
    members = image.docker_members()
    members = {name: gzip.compress(data) if name.endswith("layer.tar") else data for name, data in members.items()}
    assert texts(store, load(store, docker_archive(tmp_path / "f", members))) == ["one", "two"]


def test_layers_of_a_docker_archive_may_be_links_to_others(store: Store, tmp_path: Path) -> None:
    base = tree_tar({"file0": b"one"})
    image = CraftedImage(base, base)
    members = image.docker_members()
    parts = [entry(name.encode(), data) for name, data in members.items() if name != "1/layer.tar"]
    parts.append(entry(b"1/layer.tar", kind=b"2", link=b"../0/layer.tar"))
    (tmp_path / "f").write_bytes(archive(*parts))
    assert load(store, f"docker-archive:{tmp_path}/f").layers == tuple(image.diff_ids)


def test_names_of_an_archive_are_taken_only_where_they_are_wanted(store: Store, tmp_path: Path) -> None:
    source = transport.parse(docker_archive(tmp_path / "f", crafted("x").docker_members("alpine:latest", "ghcr.io/a/b:1")))
    assert archives.load(store, source).names == ()
    with pytest.raises(NotFound):
        store.find("alpine")
    (found,) = archives.load_all(store, source)
    assert found.names == ("docker.io/library/alpine:latest", "ghcr.io/a/b:1")


def test_taking_the_same_file_twice_adds_nothing(store: Store, tmp_path: Path) -> None:
    source = docker_archive(tmp_path / "f", crafted("x").docker_members())
    load(store, source)
    before = left(store)
    load(store, source)
    assert (left(store), len(store.images())) == (before, 1)


def test_the_image_for_this_platform_is_chosen_from_an_index(store: Store, tmp_path: Path) -> None:
    mine, other = crafted("mine"), crafted("other")
    layout = mine.write_layout(tmp_path / "layout")
    entries = []
    for image, architecture in ((other, "riscv64"), (mine, platform.host().architecture)):
        for blob in image.all_blobs():
            (layout / "blobs/sha256" / digest(blob)[7:]).write_bytes(blob)
        entries.append({**plain(MANIFEST, image.manifest), "platform": {"os": "linux", "architecture": architecture}})
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    (layout / "blobs/sha256" / digest(index)[7:]).write_bytes(index)
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [plain(INDEX, index)]}))
    assert texts(store, load(store, f"oci:{layout}")) == ["mine"]


def test_an_index_that_lies_about_an_images_platform_is_refused(store: Store, tmp_path: Path) -> None:
    image = crafted("mine")
    layout = image.write_layout(tmp_path / "layout")
    entry = {**plain(MANIFEST, image.manifest), "platform": {"os": "linux", "architecture": "riscv64"}}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    (layout / "blobs/sha256" / digest(index)[7:]).write_bytes(index)
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [plain(INDEX, index)]}))
    with pytest.raises(NotFound, match=r"is for .linux/.*, not for linux/riscv64"):
        load(store, f"oci:{layout}", platform=platform.parse("linux/riscv64"))


def test_an_archive_of_several_images_wants_to_be_told_which(store: Store, tmp_path: Path) -> None:
    one, two = crafted("one"), crafted("two")
    members = {**one.docker_members("a:1"), **{f"b/{name}": data for name, data in two.docker_members("b:1").items()}}
    listed = json.loads(members["manifest.json"]) + [
        {"Config": f"b/{two.id[7:]}.json", "RepoTags": ["b:1"], "Layers": ["b/0/layer.tar"]}
    ]
    members["manifest.json"] = json.dumps(listed).encode()
    source = docker_archive(tmp_path / "f", members)
    with pytest.raises(Conflict, match="2 images"):
        load(store, source)
    assert [image.names for image in archives.load_all(store, transport.parse(source))] == [
        ("docker.io/library/a:1",),
        ("docker.io/library/b:1",),
    ]


def test_a_layout_whose_blobs_are_symlinks_is_taken(store: Store, tmp_path: Path) -> None:
    layout = crafted("x").write_layout(tmp_path / "layout")
    (layout / "blobs/sha256").rename(tmp_path / "elsewhere")
    (layout / "blobs/sha256").mkdir()
    for path in (tmp_path / "elsewhere").iterdir():
        (layout / "blobs/sha256" / path.name).symlink_to(path)
    assert texts(store, load(store, f"oci:{layout}")) == ["x"]


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_what_skopeo_writes_is_taken(store: Store, tmp_path: Path, kind: str) -> None:
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    crafted("one", "two").write_layout(tmp_path / "layout", "x")
    target = f"{kind}:{tmp_path}/out" + (":v1" if kind == "oci" else "")
    done = subprocess.run(["skopeo", "copy", "-q", f"oci:{tmp_path}/layout:x", target], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert texts(store, load(store, target)) == ["one", "two"]


def test_what_umoci_makes_is_taken(store: Store, tmp_path: Path) -> None:
    if not shutil.which("umoci") or not IS_ROOT:
        pytest.skip("umoci is not installed, or the test does not run as root")
    layout, bundle = tmp_path / "layout", tmp_path / "bundle"
    for words in (
        ["init", "--layout", layout],
        ["new", "--image", f"{layout}:x"],
        ["unpack", "--image", f"{layout}:x", bundle],
    ):
        subprocess.run(["umoci", *map(str, words)], check=True, capture_output=True)
    (bundle / "rootfs/file0").write_text("umoci")
    (bundle / "rootfs/link").symlink_to("file0")
    subprocess.run(["umoci", "repack", "--image", f"{layout}:x", str(bundle)], check=True, capture_output=True)
    found = load(store, f"oci:{layout}:x")
    assert (Path(store.layer_directories(found)[-1]) / "link").read_text() == "umoci"


# Hostile and broken ones.


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_what_is_not_there_is_told(store: Store, tmp_path: Path, kind: str) -> None:
    with pytest.raises(NotFound, match="nothing"):
        load(store, f"{kind}:{tmp_path}/nothing")


def test_a_tag_that_is_not_there_is_told(store: Store, tmp_path: Path) -> None:
    crafted("x").write_layout(tmp_path / "layout", "v1")
    with pytest.raises(NotFound):
        load(store, f"oci:{tmp_path}/layout:v2")


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
@pytest.mark.parametrize("raw", [b"", b"no tar" * 200, gzip.compress(b"no tar" * 200, mtime=0), archive(), b"\x1f\x8b"])
def test_a_file_that_is_no_archive_is_refused(store: Store, tmp_path: Path, kind: str, raw: bytes) -> None:
    (tmp_path / "f").write_bytes(raw)
    with pytest.raises((Untrusted, NotFound)) as caught:
        load(store, f"{kind}:{tmp_path}/f")
    assert caught.value.message.isprintable()


@pytest.mark.timeout(60)
def test_a_fifo_does_not_make_it_wait(store: Store, tmp_path: Path) -> None:
    """Nobody writes to it: who opens it to read waits for ever."""
    layout = crafted("x").write_layout(tmp_path / "layout")
    (layout / "index.json").unlink()
    os.mkfifo(layout / "index.json")
    with pytest.raises(Untrusted, match="not a regular file"):
        load(store, f"oci:{layout}")


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("harm", ["flipped", "short", "long"])
def test_a_blob_that_is_not_what_it_is_called_is_refused(store: Store, tmp_path: Path, which: int, harm: str) -> None:
    image = crafted("x")
    layout = image.write_layout(tmp_path / "layout")
    data = bytearray(image.all_blobs()[which])
    path = layout / "blobs/sha256" / digest(bytes(data))[7:]
    if harm == "flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data[:-5] if harm == "short" else data + b" " * (harm == "long")))
    with pytest.raises(Untrusted):
        load(store, f"oci:{layout}")
    assert store.images() == []
    assert not [name for name in (left(store) if os.path.exists(store.directory) else []) if name.startswith("layers")]


@pytest.mark.parametrize(
    "change",
    [
        {"Layers": ["../../../../etc/passwd"]},
        {"Layers": ["/etc/passwd"]},
        {"Layers": []},
        {"Layers": ["0/layer.tar", "0/layer.tar"]},
        {"Layers": "0/layer.tar"},
        {"Layers": [7]},
        {"Config": "../../../../etc/passwd"},
        {"Config": None},
        {"Config": {"a": 1}},
        {"RepoTags": [None]},
    ],
)
def test_a_manifest_that_names_what_is_not_in_the_archive_is_refused(store: Store, tmp_path: Path, change: object) -> None:
    members = crafted("x").docker_members()
    (listed,) = json.loads(members["manifest.json"])
    members["manifest.json"] = json.dumps([{**listed, **change}]).encode()  # type: ignore[dict-item]
    with pytest.raises((Untrusted, NotFound)) as caught:
        load(store, docker_archive(tmp_path / "f", members))
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("text", [b"{}", b"[]", b"[1]", b"null", b"[" * 100_000, b" " * (5 << 20), b'[{"Config":1}]'])
def test_a_manifest_of_another_form_is_refused(store: Store, tmp_path: Path, text: bytes) -> None:
    with pytest.raises(Untrusted):
        load(store, docker_archive(tmp_path / "f", {**crafted("x").docker_members(), "manifest.json": text}))


def test_a_config_that_is_not_what_its_name_says_is_refused(store: Store, tmp_path: Path) -> None:
    image = crafted("x")
    members = image.docker_members()
    members[image.id[7:] + ".json"] = image.config.replace(b'"sh"', b'"rm"')
    with pytest.raises(Untrusted, match="config"):
        load(store, docker_archive(tmp_path / "f", members))


def test_a_layer_that_is_not_what_the_config_says_is_refused(store: Store, tmp_path: Path) -> None:
    members = {**crafted("x").docker_members(), "0/layer.tar": tree_tar({"file0": b"y"})}
    with pytest.raises(Untrusted):
        load(store, docker_archive(tmp_path / "f", members))
    assert store.images() == []


def test_a_name_that_is_in_an_archive_twice_is_refused(store: Store, tmp_path: Path) -> None:
    members = crafted("x").docker_members()
    parts = [entry(name.encode(), data) for name, data in members.items()]
    (tmp_path / "f").write_bytes(archive(*parts, entry(b"./manifest.json", b"[]")))
    with pytest.raises(Untrusted, match="twice"):
        load(store, f"docker-archive:{tmp_path}/f")


@pytest.mark.parametrize("link", ["/etc/passwd", "../../../../../../etc/passwd", "manifest.json", "0/../manifest.json"])
def test_links_lead_to_members_and_nowhere_else(store: Store, tmp_path: Path, link: str) -> None:
    (tmp_path / "f").write_bytes(archive(entry(b"manifest.json", kind=b"2", link=link.encode())))
    with pytest.raises((NotFound, Untrusted)):
        load(store, f"docker-archive:{tmp_path}/f")


@pytest.mark.parametrize("kind", [b"3", b"4", b"6"])
def test_devices_in_an_archive_are_refused(store: Store, tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "f").write_bytes(archive(entry(b"manifest.json", kind=kind)))
    with pytest.raises(Untrusted, match="neither"):
        load(store, f"docker-archive:{tmp_path}/f")


def test_an_archive_that_is_cut_is_refused(store: Store, tmp_path: Path) -> None:
    raw = tree_tar({"big": os.urandom(300_000), **crafted("x").docker_members()})
    for size in (100, 700, 200_000, 300_900, 303_000):
        (tmp_path / "f").write_bytes(raw[:size])
        with pytest.raises((Untrusted, NotFound)):
            load(store, f"docker-archive:{tmp_path}/f")


def test_an_archive_that_inflates_without_end_stops_at_the_disks_end(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(gzip.compress(bytes(50 << 20), 1))

    class Small:
        f_bavail, f_frsize = 1, 1 << 20

    monkeypatch.setattr(os, "fstatvfs", lambda _fd: Small)
    with pytest.raises(StorageError, match="larger than what the disk has free"):
        load(store, f"docker-archive:{tmp_path}/f")
    assert left(store) == []


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("oci:{}/none", "no such directory"),
        ("oci:{}", "there is no .index.json. in it"),
        ("docker-archive:{}/none", "no such file"),
        ("docker-archive:{}/text", "not a tar archive, or a damaged one"),
    ],
)
def test_what_cannot_be_read_is_named_once(store: Store, tmp_path: Path, source: str, why: str) -> None:
    (tmp_path / "text").write_bytes(b"no tar at all\n" * 100)
    named = source.format(tmp_path)
    with pytest.raises((NotFound, Untrusted), match=f"^{named}: {why}") as caught:
        load(store, named)
    assert str(caught.value).count(str(tmp_path)) == 1
