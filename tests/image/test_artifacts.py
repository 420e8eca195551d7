"""Artifacts: files by their names, hostile ones too, and what speaks of what, with the referrers API and without."""

from __future__ import annotations

import json
import os
from pathlib import Path

import fake_registry as fake
import pytest
from clients import IMAGE
from writable_registry import WritableRegistry

from cratebox.engine.artifacts import Artifacts
from cratebox.errors import Conflict, InvalidValue, NotAllowed, NotFound, RegistryError, StorageError, Untrusted
from cratebox.image import policy
from cratebox.image.artifact import EMPTY, TITLE
from cratebox.paths import Paths
from support.images import digest

FILES = {"one.txt": b"hello\n", "two.bin": os.urandom(300_000)}
KIND = "example/report"


@pytest.fixture
def artifacts(tmp_path: Path, writable: WritableRegistry) -> Artifacts:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    writable.put("a/b:t", IMAGE)
    return Artifacts(Paths(root=str(tmp_path / "root"), state=str(tmp_path / "state"), config=str(tmp_path / "none.toml")))


def push(artifacts: Artifacts, server: WritableRegistry, tmp_path: Path, name: str = "a/b:files", **more: object) -> str:
    files = [(str(tmp_path / "one.txt"), "text/plain"), (str(tmp_path / "two.bin"), "")]
    return artifacts.push(f"{server.address}/{name}", files, KIND, **more).digest  # type: ignore[arg-type]


def craft(server: WritableRegistry, *files: tuple[str | None, bytes], change: dict[str, object] | None = None) -> str:
    """Put an artifact there as nobody of good will would; return its name."""
    layers = []
    for name, data in (*files,):
        server.blobs[digest(data)] = data
        server.held.setdefault("evil", set()).add(digest(data))
        notes = {} if name is None else {"annotations": {TITLE: name}}
        layers.append({"mediaType": "m/m", "digest": digest(data), "size": len(data), **notes})
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(EMPTY), "size": len(EMPTY)}
    document = {"schemaVersion": 2, "mediaType": fake.MANIFEST, "config": config, "layers": layers, **(change or {})}
    return server.put_document("evil:t", json.dumps(document).encode(), fake.MANIFEST)


# Files


def test_files_go_and_come_back(artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path) -> None:
    push(artifacts, writable, tmp_path)
    paths = artifacts.pull(f"{writable.address}/a/b:files", str(tmp_path / "out"))
    assert {Path(path).name: Path(path).read_bytes() for path in paths} == FILES


def test_what_it_is_can_be_asked(artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path) -> None:
    name = push(artifacts, writable, tmp_path, annotations={"key": "value"})
    found = artifacts.get(f"{writable.address}/a/b@{name}")
    assert (found.type, found.annotations, found.subject) == (KIND, {"key": "value"}, None)
    assert [(each.annotations[TITLE], each.media_type) for each in found.files] == [
        ("one.txt", "text/plain"),
        ("two.bin", "application/octet-stream"),
    ]


def test_the_same_files_are_the_same_artifact(artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path) -> None:
    assert push(artifacts, writable, tmp_path) == push(artifacts, writable, tmp_path, "a/c:t")


def test_two_files_of_one_name_are_refused(artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/one.txt").write_bytes(b"another")
    with pytest.raises(Untrusted, match="two files of the name"):
        artifacts.push(f"{writable.address}/a/b", [(str(tmp_path / "one.txt"), ""), (str(tmp_path / "sub/one.txt"), "")], KIND)
    assert not writable.asked("POST")


@pytest.mark.parametrize(("path", "error"), [("nothing", NotFound), (".", InvalidValue), ("fifo", InvalidValue)])
def test_what_is_no_file_is_refused(
    artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path, path: str, error: type[Exception]
) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(error):
        artifacts.push(f"{writable.address}/a/b", [(str(tmp_path / path), "")], KIND)
    assert writable.seen == []


@pytest.mark.parametrize("kind", ["", "word", "/x", "x/", "a b/c", "a/\x1b"])
def test_what_is_no_type_is_refused(artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path, kind: str) -> None:
    with pytest.raises(InvalidValue, match="no type of an artifact"):
        artifacts.push(f"{writable.address}/a/b", [(str(tmp_path / "one.txt"), "")], kind)


@pytest.mark.parametrize("name", ["../escaped", "/etc/escaped", "a/b", "", ".", "..", "x\ny", "x\x1b[2J", "a" * 256])
def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_written(
    artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path, name: str
) -> None:
    with pytest.raises(Untrusted, match="not that of a file"):
        artifacts.pull(craft(writable, ("good", b"1"), (name, b"2")), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "escaped").exists()


def test_files_without_a_name_are_left_out(artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path) -> None:
    assert artifacts.pull(craft(writable, (None, b"1"), ("named", b"2")), str(tmp_path / "out")) == (f"{tmp_path}/out/named",)
    with pytest.raises(NotFound, match="no file with a name"):
        artifacts.pull(craft(writable, (None, b"1")), str(tmp_path / "out"))


def test_wrong_bytes_leave_nothing(artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path) -> None:
    name = craft(writable, ("one", b"1"), ("two", b"2"))
    writable.fault(f"GET /v2/evil/blobs/{digest(b'2')}", fake.body(lambda _data: b"x"))
    with pytest.raises(Untrusted, match="not what its digest says"):
        artifacts.pull(name, str(tmp_path / "out"))
    assert os.listdir(tmp_path / "out") == []


def test_a_file_that_is_there_stays(artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "two").symlink_to("/nonexistent")
    name = craft(writable, ("one", b"1"), ("two", b"2"))
    with pytest.raises(Conflict, match="is there already"):
        artifacts.pull(name, str(out))
    assert os.listdir(out) == ["two"]
    artifacts.pull(name, str(out), force=True)
    assert (out / "two").read_bytes() == b"2"
    assert not (out / "two").is_symlink()


def test_a_directory_in_a_files_place_stays_and_nothing_is_written(
    artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path
) -> None:
    (tmp_path / "out/two").mkdir(parents=True)
    with pytest.raises(Conflict, match="is a directory"):
        artifacts.pull(craft(writable, ("one", b"1"), ("two", b"2")), str(tmp_path / "out"), force=True)
    assert os.listdir(tmp_path / "out") == ["two"]


def test_what_the_policy_rejects_is_not_fetched(
    artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "policy.json").write_text(json.dumps({"default": [{"type": "reject"}]}))
    monkeypatch.setattr(policy, "SYSTEM", str(tmp_path / "policy.json"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(NotAllowed):
        artifacts.pull(craft(writable, ("one", b"1")), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert writable.seen == []


def test_a_directory_that_cannot_be_made_is_said(artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        artifacts.pull(craft(writable, ("one", b"1")), str(tmp_path / "file"))


@pytest.mark.parametrize(
    "change", [{"annotations": {"a": 1}}, {"annotations": []}, {"subject": {"digest": "sha256:../x"}}, {"subject": "x"}]
)
def test_a_malformed_manifest_is_refused(artifacts: Artifacts, writable: WritableRegistry, change: dict[str, object]) -> None:
    with pytest.raises(Untrusted):
        artifacts.get(craft(writable, ("one", b"1"), change=change))


def test_an_index_is_no_artifact(artifacts: Artifacts, writable: WritableRegistry) -> None:
    with pytest.raises(InvalidValue, match="index of several"):
        artifacts.get(writable.put_index("a/many:t", [IMAGE]))


# What speaks of what


@pytest.fixture(params=[True, False], ids=["api", "tag"])
def either(request: pytest.FixtureRequest, writable: WritableRegistry) -> WritableRegistry:
    """A registry with the referrers API, and one without."""
    writable.referrers = request.param
    return writable


def test_what_speaks_of_an_image_is_listed(artifacts: Artifacts, either: WritableRegistry, tmp_path: Path) -> None:
    image = f"{either.address}/a/b:t"
    assert artifacts.list(image) == ()
    made = push(artifacts, either, tmp_path, "a/b", subject=image, annotations={"k": "v"})
    other = artifacts.push(f"{either.address}/a/b", [(str(tmp_path / "one.txt"), "")], "example/other", subject="t").digest
    assert {(each.digest, each.type) for each in artifacts.list(image)} == {(made, KIND), (other, "example/other")}
    assert [(each.digest, each.annotations) for each in artifacts.list(image, KIND)] == [(made, {"k": "v"})]
    assert f"a/b/{IMAGE.digest.replace(':', '-')}" in either.manifests or either.referrers


def test_one_with_a_subject_takes_no_tag(artifacts: Artifacts, either: WritableRegistry, tmp_path: Path) -> None:
    push(artifacts, either, tmp_path, "a/b", subject=IMAGE.digest)
    assert "a/b/latest" not in either.manifests


def test_pushed_twice_it_is_listed_once(artifacts: Artifacts, either: WritableRegistry, tmp_path: Path) -> None:
    for _ in range(2):
        push(artifacts, either, tmp_path, "a/b", subject="t")
    assert len(artifacts.list(f"{either.address}/a/b:t")) == 1


def test_what_is_removed_is_not_listed(artifacts: Artifacts, either: WritableRegistry, tmp_path: Path) -> None:
    made = push(artifacts, either, tmp_path, "a/b", subject="t")
    assert artifacts.remove(f"{either.address}/a/b@{made}") == made
    assert artifacts.list(f"{either.address}/a/b:t") == ()
    with pytest.raises(NotFound):
        artifacts.get(f"{either.address}/a/b@{made}")


def test_an_image_is_not_removed_as_if_it_were_an_artifact(artifacts: Artifacts, writable: WritableRegistry) -> None:
    with pytest.raises(InvalidValue, match="is an image, not an artifact"):
        artifacts.remove(f"{writable.address}/a/b:t")
    assert not writable.asked("DELETE")


def test_a_signature_with_the_config_of_an_image_is_an_artifact(artifacts: Artifacts, writable: WritableRegistry) -> None:
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(EMPTY), "size": len(EMPTY)}
    name = craft(writable, (None, b"signed"), change={"config": config})
    made = artifacts.get(name).digest
    writable.manifests[f"evil/{made}"] = writable.manifests["evil/t"]  # as a registry has it too
    assert artifacts.remove(name) == made
    assert writable.asked("DELETE")


def test_a_subject_is_in_the_same_repository(artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="as a subject must be"):
        push(artifacts, writable, tmp_path, "a/other:x", subject=f"{writable.address}/a/b:t")


def test_a_subject_that_is_not_there_is_not_found(artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        push(artifacts, writable, tmp_path, "a/b", subject="nothing")
    assert not writable.asked("POST")


def test_a_registry_that_does_not_delete_says_so(artifacts: Artifacts, writable: WritableRegistry, tmp_path: Path) -> None:
    push(artifacts, writable, tmp_path)
    writable.fault("DELETE", fake.status(405, "UNSUPPORTED", "no deleting here"))
    with pytest.raises(RegistryError, match="UNSUPPORTED: no deleting here"):
        artifacts.remove(f"{writable.address}/a/b:files")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"schemaVersion":2,"manifests":[{"digest":"sha256:../x"}]}', b"[]"])
def test_a_list_that_is_none_is_refused(artifacts: Artifacts, writable: WritableRegistry, body: bytes) -> None:
    writable.fault("/referrers/", fake.body(lambda _data: body))
    with pytest.raises(Untrusted):
        artifacts.list(f"{writable.address}/a/b:t")
