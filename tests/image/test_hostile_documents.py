"""Documents of a registry that are not what they should be: an error of ours, in one line, and nothing kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import fake_registry as fake
import pytest
from craft import archive, entry
from fake_registry import FakeRegistry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inside import IS_ROOT
from pulls import THREE, fetch, new_store

from cratebox.errors import CrateError, Unsupported, Untrusted
from cratebox.image import layer, tree
from support.images import digest


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


def kept(store: Any) -> list[str]:
    root = Path(store.directory)
    return [
        str(path.relative_to(root)) for part in ("blobs/sha256", "blobs/.partial", "layers") for path in (root / part).glob("*")
    ]


def descriptor(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(data), "size": len(data)}


def _manifest(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(THREE.manifest)
    changed = change(document)
    return json.dumps(document if changed is None else changed).encode()


LAYER = json.loads(THREE.manifest)["layers"][0]
FOREIGN = {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "urls": ["http://169.254.169.254/layer"]}
NONDISTRIBUTABLE = {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"}
DEEP = 100_000
MANIFESTS: dict[str, tuple[bytes, str]] = {
    "a million layers": (b'{"schemaVersion":2,"layers":[' + b",".join([b"{}"] * 1_000_000) + b"]}", "has 1000000 entries"),
    "more layers than there can be": (_manifest(lambda one: one.update(layers=[LAYER] * 1001)), "more than 1000 are refused"),
    "nested too deep": (b'{"schemaVersion":2,"layers":' + b"[" * DEEP + b"]" * DEEP + b"}", "not JSON"),
    "nested objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "not JSON"),
    "a list": (b"[]", "not a JSON object"),
    "a number of a million digits": (b'{"schemaVersion":' + b"9" * 1_000_000 + b"}", "not JSON"),
    "a config that is a list": (_manifest(lambda one: one.update(config=[])), "not a JSON object"),
    "a size below nothing": (_manifest(lambda one: one["config"].update(size=-1)), "size"),
    "a digest that is a path": (_manifest(lambda one: one["config"].update(digest="sha256:../../../etc/passwd")), "digest"),
    "foreign layers": (_manifest(lambda one: one["layers"][0].update(FOREIGN)), "may not keep"),
    "layers that may not be given on": (_manifest(lambda one: one["layers"][1].update(NONDISTRIBUTABLE)), "may not keep"),
    "encrypted layers": (
        _manifest(lambda one: one["layers"][0].update(mediaType=LAYER["mediaType"] + "+encrypted")),
        "encrypted",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_refused(server: FakeRegistry, tmp_path: Path, name: str) -> None:
    store = new_store(tmp_path / "store")
    server.put("a/c:honest", THREE)
    raw, why = MANIFESTS[name]
    with pytest.raises((Untrusted, Unsupported), match=why):
        fetch(store, server.put_document("a/c:t", raw, fake.MANIFEST), settle="never")
    assert store.images() == []
    assert not [path for path in kept(store) if "layers" in path]


CONFIGS: dict[str, bytes] = {
    "a list": b"[]",
    "a text": b'"config"',
    "null": b"null",
    "nothing": b"",
    "nested too deep": b'{"config":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "Env that is a mapping": json.dumps(json.loads(THREE.config_blob) | {"config": {"Env": {"A": "b"}}}).encode(),
    "a NUL in a command": json.dumps(json.loads(THREE.config_blob) | {"config": {"Cmd": ["a\0b"]}}).encode(),
    "a rootfs that is none": json.dumps(json.loads(THREE.config_blob) | {"rootfs": []}).encode(),
    "a diff ID that is a path": json.dumps(
        {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": ["sha256:../x"] * 3}}
    ).encode(),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_refused(server: FakeRegistry, tmp_path: Path, name: str) -> None:
    store = new_store(tmp_path / "store")
    raw = CONFIGS[name]
    server.put("a/c:honest", THREE)
    server.blobs[digest(raw)] = raw
    document = _manifest(lambda one: one.update(config=descriptor(one["config"]["mediaType"], raw)))
    with pytest.raises(Untrusted):
        fetch(store, server.put_document("a/c:t", document, fake.MANIFEST), settle="never")
    assert store.images() == []
    assert not [path for path in kept(store) if "layers" in path]


def test_an_index_that_says_it_contains_itself_is_refused(server: FakeRegistry, tmp_path: Path) -> None:
    """No document can contain its own digest: what is served for that is compared with it."""
    store = new_store(tmp_path / "store")
    promised = "sha256:" + "5" * 64
    entry_of_itself = {
        "mediaType": fake.INDEX,
        "digest": promised,
        "size": 0,
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    raw = json.dumps({"schemaVersion": 2, "mediaType": fake.INDEX, "manifests": [entry_of_itself]}).encode()
    server.put_document(f"a/c:{promised}", raw, fake.INDEX)
    with pytest.raises(Untrusted):
        fetch(store, server.put_document("a/c:t", raw, fake.INDEX), settle="never")
    assert kept(store) == []


# Layers of any order and kind, over and over: see test_layer_hostile.py for those that were thought out.

_PARTS = st.lists(
    st.sampled_from([b"..", b".", b"a", b"b", b"l", b"d", b".wh.a", b".wh.l", b".wh..wh..opq", b"outside"]), max_size=4
)
_NAMES = st.builds(
    lambda slash, parts, end: slash + b"/".join(parts) + end, st.sampled_from([b"", b"/"]), _PARTS, st.sampled_from([b"", b"/"])
)
_LINKS = st.one_of(
    _NAMES, st.sampled_from([b"../outside", b"../outside/file", b"/", b"..", b"l", b"/proc/self/cwd/../outside"])
)
_KINDS = st.sampled_from([b"0", b"1", b"2", b"5", b"6", b"g", b"x", b"L"] + ([b"3", b"4"] if IS_ROOT else []))
_ENTRIES = st.lists(st.tuples(_NAMES, st.binary(max_size=20), _KINDS, _LINKS, st.sampled_from([0o644, 0o7777, 0])), max_size=8)


@settings(
    max_examples=300, derandomize=True, database=None, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(_ENTRIES)
def test_no_layer_leaves_its_directory_or_gives_anything_but_an_error_of_ours(
    tmp_path: Path, entries: list[tuple[bytes, bytes, bytes, bytes, int]]
) -> None:
    outside, where = tmp_path / "outside", tmp_path / "layer"
    outside.mkdir(exist_ok=True)
    (outside / "file").write_text("canary")
    where.mkdir()
    before = _seen(outside), _seen(tmp_path, deep=False)
    raw = archive(*(entry(name, data, kind, link=link, mode=mode) for name, data, kind, link, mode in entries))
    fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(CrateError):
            layer.unpack(
                BytesIO(raw), "", fd, userxattr=not IS_ROOT, owners="keep" if IS_ROOT else "record", owners_file=BytesIO()
            )
    finally:
        os.close(fd)
        assert (_seen(outside), _seen(tmp_path, deep=False)) == before
        above = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
        tree.remove(above, "layer")
        os.close(above)


def _seen(directory: Path, deep: bool = True) -> list[tuple[str, int, int, bytes]]:
    found = []
    for path in sorted(directory.rglob("*") if deep else directory.iterdir()):
        info = path.lstat()
        found.append(
            (str(path), info.st_mode if deep else 0, info.st_nlink if deep else 0, path.read_bytes() if path.is_file() else b"")
        )
    return found
