from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cratebox.errors import CrateError, Unsupported, Untrusted
from cratebox.image import digest as digests
from cratebox.image import manifest
from cratebox.image.manifest import DOCKER_INDEX, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Index, Manifest

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": B, "size": 7}
CONFIG = {"mediaType": OCI_CONFIG, "digest": A, "size": 2}
GOOD: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]}
GOOD_INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "manifests": [{"mediaType": OCI_MANIFEST, "digest": A, "size": 5, "platform": {"os": "linux", "architecture": "arm64"}}],
}


def raw(document: Any, **changes: Any) -> bytes:
    return json.dumps({**document, **changes}).encode()


def test_a_manifest_has_config_and_layers() -> None:
    parsed = manifest.parse(raw(GOOD), OCI_MANIFEST)
    assert isinstance(parsed, Manifest)
    assert (parsed.config.digest, parsed.layers[0].size) == (A, 7)


def test_an_index_has_platforms() -> None:
    parsed = manifest.parse(raw(GOOD_INDEX), OCI_INDEX)
    assert isinstance(parsed, Index)
    assert str(parsed.manifests[0].platform) == "linux/arm64"


@pytest.mark.parametrize(("document", "kind"), [(GOOD, Manifest), (GOOD_INDEX, Index)])
def test_a_document_without_any_type_is_told_by_its_fields(document: dict[str, Any], kind: type) -> None:
    assert isinstance(manifest.parse(raw(document, mediaType=None), None), kind)


def test_parameters_of_a_content_type_do_not_matter() -> None:
    assert manifest.parse(raw(GOOD), OCI_MANIFEST + "; charset=utf-8").media_type == OCI_MANIFEST


def test_dockers_documents_are_read_too() -> None:
    assert manifest.parse(raw(GOOD, mediaType=DOCKER_MANIFEST), DOCKER_MANIFEST).media_type == DOCKER_MANIFEST
    assert manifest.parse(raw(GOOD_INDEX, mediaType=DOCKER_INDEX), DOCKER_INDEX).media_type == DOCKER_INDEX


@pytest.mark.parametrize("served", [OCI_INDEX, DOCKER_MANIFEST, "application/json"])
def test_a_type_that_differs_from_the_header_is_refused(served: str) -> None:
    with pytest.raises(Untrusted, match="was served as"):
        manifest.parse(raw(GOOD), served)


@pytest.mark.parametrize("extra", ["manifests", "Manifests", "fsLayers"])
def test_a_manifest_with_fields_of_another_kind_is_refused(extra: str) -> None:
    with pytest.raises(Untrusted, match="ambiguous"):
        manifest.parse(raw(GOOD, **{extra: []}), OCI_MANIFEST)


@pytest.mark.parametrize("extra", ["layers", "LAYERS", "config", "fsLayers"])
@pytest.mark.parametrize("served", [OCI_INDEX, None])
def test_an_index_with_fields_of_another_kind_is_refused(extra: str, served: str | None) -> None:
    with pytest.raises(Untrusted, match="ambiguous"):
        manifest.parse(raw(GOOD_INDEX, **{extra: []}), served)


@pytest.mark.parametrize(
    ("content", "served"),
    [
        (raw({"schemaVersion": 1, "fsLayers": [], "history": []}), None),
        (raw({"schemaVersion": 1}), "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        (raw(GOOD), "application/vnd.docker.distribution.manifest.v1+json"),
    ],
)
def test_schema_1_is_refused_as_such(content: bytes, served: str | None) -> None:
    with pytest.raises(Unsupported, match="schema 1"):
        manifest.parse(content, served)


@pytest.mark.parametrize(
    "document",
    [
        {}, {"schemaVersion": 3}, {**GOOD, "schemaVersion": "2"}, {**GOOD, "config": None}, {**GOOD, "config": []},
        {**GOOD, "layers": {}}, {**GOOD, "layers": [1]}, {**GOOD, "layers": [{**LAYER, "size": -1}]},
        {**GOOD, "layers": [{**LAYER, "size": True}]}, {**GOOD, "layers": [{**LAYER, "size": 1.5}]},
        {**GOOD, "layers": [{**LAYER, "size": None}]}, {**GOOD, "layers": [{**LAYER, "size": 1 << 70}]},
        {**GOOD, "layers": [{**LAYER, "digest": "sha256:../../etc/passwd"}]}, {**GOOD, "layers": [{**LAYER, "digest": None}]},
        {**GOOD, "layers": [{**LAYER, "digest": A.upper()}]}, {**GOOD, "layers": [{**LAYER, "mediaType": 3}]},
        {**GOOD, "layers": [{**LAYER, "annotations": {"a": 1}}]}, {**GOOD, "layers": [{**LAYER, "urls": "http://x"}]},
        {**GOOD, "mediaType": ["x"]}, {**GOOD, "mediaType": "text/plain"}, {**GOOD, "layers": [LAYER] * 1001},
        {**GOOD_INDEX, "manifests": [{**CONFIG, "platform": "linux"}]},
        {**GOOD_INDEX, "manifests": [{**CONFIG, "platform": {"os": 1}}]},
    ],
)  # fmt: skip
def test_a_malformed_manifest_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(Untrusted):
        manifest.parse(raw(document), None)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff", b"<html>", b"{}{}", b"[" * 200_000, b'{"a":NaN}'])
def test_what_is_no_json_object_is_refused(content: bytes) -> None:
    with pytest.raises(Untrusted):
        manifest.parse(content, OCI_MANIFEST)


def test_a_document_above_the_cap_is_refused() -> None:
    with pytest.raises(Untrusted, match="larger than"):
        manifest.parse(raw(GOOD) + b" " * manifest.MAX_DOCUMENT, OCI_MANIFEST)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["config", "layers", "manifests", "mediaType", "rootfs", "history", "os", "architecture", "created", "schemaVersion"]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60, database=None)
@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_no_document_gives_anything_but_an_error_of_ours(document: dict[str, Any]) -> None:
    for read in (lambda content: manifest.parse(content, None), manifest.parse_config):
        with contextlib.suppress(CrateError):
            read(raw({"schemaVersion": 2, **document}))


FULL = {
    "architecture": "arm64", "os": "linux", "variant": "v8", "created": "2024-01-01T00:00:00Z", "author": "me",
    "config": {
        "Env": ["PATH=/bin", "HOSTVAR", "=x", "EMPTY="], "Entrypoint": ["/e"], "Cmd": ["a", "b"], "WorkingDir": "/w",
        "User": "1:2",
        "Labels": {"k": "v", "n": None}, "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/v": {}}, "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5}, "Shell": ["/bin/sh", "-c"],
    },
    "rootfs": {"type": "layers", "diff_ids": [A]},
    "history": [{"created_by": "x", "empty_layer": True}],
}  # fmt: skip


def test_a_config_is_read_whole() -> None:
    config = manifest.parse_config(raw(FULL))
    assert (config.entrypoint, config.cmd, config.working_dir, config.user) == (("/e",), ("a", "b"), "/w", "1:2")
    assert (config.exposed_ports, config.volumes, config.stop_signal) == (("80/tcp",), ("/v",), "SIGINT")
    assert (config.diff_ids, config.healthcheck, str(config.platform)) == (
        (A,),
        {"Test": ("CMD", "x"), "Interval": 5},
        "linux/arm64/v8",
    )
    assert config.history == ({"created_by": "x", "empty_layer": True},)
    assert config.labels == {"k": "v", "n": ""}


def test_a_variable_without_a_value_is_not_taken_from_anywhere() -> None:
    assert manifest.parse_config(raw(FULL)).env == ("PATH=/bin", "EMPTY=")


def test_null_means_left_out() -> None:
    document = {"architecture": "amd64", "os": "linux", "config": {"Env": None, "Cmd": None, "Labels": None}, "history": None}
    assert manifest.parse_config(raw(document)) == manifest.ImageConfig(architecture="amd64", os="linux")


@pytest.mark.parametrize(
    "inner",
    [
        {"Env": "A=1"}, {"Env": [1]}, {"Env": ["A=\0"]}, {"Env": ["A=\ud800"]}, {"Cmd": "sh"}, {"Cmd": [None]},
        {"Entrypoint": {}},
        {"WorkingDir": ["/"]}, {"User": 0}, {"Labels": []}, {"Labels": {"a": 1}}, {"Volumes": ["/v"]}, {"ExposedPorts": "80"},
        {"Healthcheck": []}, {"Healthcheck": {"Test": "x"}}, {"Healthcheck": {"Interval": "5s"}},
        {"Healthcheck": {"Retries": -1}},
    ],
)  # fmt: skip
def test_a_malformed_config_is_refused(inner: dict[str, Any]) -> None:
    with pytest.raises(Untrusted):
        manifest.parse_config(raw(FULL, config=inner))


@pytest.mark.parametrize("rootfs", [[], {"type": "other"}, {"diff_ids": ["x"]}, {"diff_ids": [A] * 1001}, {"diff_ids": A}])
def test_malformed_diff_ids_are_refused(rootfs: Any) -> None:
    with pytest.raises(Untrusted):
        manifest.parse_config(raw(FULL, rootfs=rootfs))


@pytest.mark.parametrize(
    "text",
    ["", "sha256", "sha256:", A[:-1], A + "a", A.upper(), "md5:" + "a" * 32, "sha256:../../../etc/passwd", "sha256:" + "g" * 64,
     "sha512:" + "a" * 64, None, 5, ["sha256"], "sha256:" + "a" * 63 + "\n", "sha256:" + "\u0661" * 64],
)  # fmt: skip
def test_a_malformed_digest_is_refused(text: object) -> None:
    with pytest.raises(Untrusted):
        digests.check(text)


def test_both_algorithms_are_known() -> None:
    for algorithm, expected in (("sha256", "e3b0c442"), ("sha512", "cf83e135")):
        name, digits = digests.split(digests.of(b"", algorithm))
        assert (name, digits[:8]) == (algorithm, expected)


def test_wrong_content_does_not_verify() -> None:
    with pytest.raises(Untrusted, match="expected sha256:aaaa"):
        digests.verify(b"x", A, "the thing")


def test_keys_that_differ_in_their_case_alone_are_refused() -> None:
    """Python reads the one, Go the other: what is checked here would not be what is run there."""
    with pytest.raises(Untrusted, match="differ in their case alone"):
        manifest.parse(raw(GOOD, Layers=[]), OCI_MANIFEST)
