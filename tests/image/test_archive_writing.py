"""Images as archives: what is in them, and that nothing damaged gets in."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from craft import CraftedImage, crafted, digest, take, tree_tar

from cratebox.errors import StorageError
from cratebox.image import archive as archives
from cratebox.image import archive_writing
from cratebox.image.archive_writing import Chosen
from cratebox.image.store import Store
from cratebox.image.transport import Source

NAME = "docker.io/library/alpine:latest"
FORMS = ("docker-archive", "oci-archive")


def written(store: Store, *chosen: Chosen, form: str = "docker-archive") -> bytes:
    with store.using():
        return b"".join(archive_writing.archive(store, chosen, form))


def contents(raw: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]


def test_it_is_a_layout_and_a_docker_archive_in_one(store: Store) -> None:
    image = crafted("one", "two")
    found = contents(written(store, Chosen(take(store, image), (NAME,))))
    (entry,) = json.loads(found["index.json"])["manifests"]
    assert (entry["digest"], entry["platform"]) == (digest(image.manifest), {"os": "linux", "architecture": "amd64"})
    assert set(entry["annotations"].values()) == {NAME}
    (listed,) = json.loads(found["manifest.json"])
    assert listed["RepoTags"] == [NAME]
    assert found[listed["Config"]] == image.config
    assert [found[name] for name in listed["Layers"]] == image.blobs
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert {name for name in found if name.startswith("blobs/")} == {f"blobs/sha256/{digest(b)[7:]}" for b in image.all_blobs()}


def test_an_oci_archive_has_nothing_of_dockers(store: Store) -> None:
    found = contents(written(store, Chosen(take(store, crafted("one")), ()), form="oci-archive"))
    assert "manifest.json" not in found
    assert "annotations" not in json.loads(found["index.json"])["manifests"][0]


@pytest.mark.parametrize("form", FORMS)
def test_the_same_images_give_the_same_bytes_whatever_store_they_are_in(store: Store, tmp_path: Path, form: str) -> None:
    images = crafted("one", "two"), crafted("one", "three")
    first = written(store, *(Chosen(take(store, image), (f"ghcr.io/a/b:{n}",)) for n, image in enumerate(images)), form=form)
    other = Store(str(tmp_path / "other"), userxattr=store.userxattr, owners=store.owners)
    (tmp_path / "f").write_bytes(first)
    loaded = archives.load_all(other, Source("archive", str(tmp_path / "f")))
    assert [one.names for one in loaded] == [("ghcr.io/a/b:0",), ("ghcr.io/a/b:1",)]
    assert written(other, *(Chosen(one.image, one.names) for one in loaded), form=form) == first


def test_what_images_share_is_there_once(store: Store) -> None:
    one, two = crafted("shared", "one"), crafted("shared", "two")
    raw = written(store, Chosen(take(store, one), (NAME,)), Chosen(take(store, two, "ghcr.io/a/b:1"), ("ghcr.io/a/b:1",)))
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))
    assert [entry["RepoTags"] for entry in json.loads(contents(raw)["manifest.json"])] == [[NAME], ["ghcr.io/a/b:1"]]


def test_nothing_in_it_tells_of_times_and_owners(store: Store) -> None:
    with tarfile.open(fileobj=io.BytesIO(written(store, Chosen(take(store, crafted("x")), (NAME,))))) as tar:
        assert {(member.mtime, member.uid, member.gid, member.uname) for member in tar} == {(0, 0, 0, "")}


def test_a_directory_has_the_same_files(store: Store, tmp_path: Path) -> None:
    chosen = Chosen(take(store, crafted("one", "two")), (NAME,))
    (tmp_path / "layout").mkdir()
    with store.using():
        archive_writing.directory(store, [chosen], str(tmp_path / "layout"))
    files = {
        str(path.relative_to(tmp_path / "layout")): path.read_bytes()
        for path in (tmp_path / "layout").rglob("*")
        if path.is_file()
    }
    assert files == contents(written(store, chosen, form="oci-archive"))


@pytest.mark.parametrize("harm", ["flipped", "short", "gone"])
def test_a_damaged_blob_gets_into_no_archive(store: Store, harm: str) -> None:
    image = CraftedImage(tree_tar({"f": os.urandom(3000)}))
    found = take(store, image)
    path = Path(store.blob_path(digest(image.blobs[0])))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1 if harm == "flipped" else 0
    path.write_bytes(bytes(data[:-5] if harm == "short" else data))
    if harm == "gone":
        path.unlink()
    with pytest.raises(StorageError, match="damaged") as caught:
        written(store, Chosen(found, (NAME,)))
    assert "check --repair" in str(caught.value.hint)


@pytest.mark.parametrize("form", FORMS)
def test_skopeo_reads_it(store: Store, tmp_path: Path, form: str) -> None:
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    image = crafted("one", "two")
    (tmp_path / "f").write_bytes(written(store, Chosen(take(store, image), (NAME,)), form=form))
    words = ["skopeo", "copy", "-q", "--insecure-policy", f"{form}:{tmp_path}/f:{NAME}", f"oci:{tmp_path}/copy:x"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads((tmp_path / "copy/index.json").read_text())["manifests"]
    raw = (tmp_path / "copy/blobs/sha256" / entry["digest"][7:]).read_bytes()
    if form == "oci-archive":
        assert raw == image.manifest
        assert json.loads(raw)["config"]["digest"] == image.id
    else:  # made anew from manifest.json, by inflating and deflating
        assert (
            json.loads((tmp_path / "copy/blobs/sha256" / json.loads(raw)["config"]["digest"][7:]).read_text())["rootfs"][
                "diff_ids"
            ]
            == image.diff_ids
        )
