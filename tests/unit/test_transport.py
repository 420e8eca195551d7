from __future__ import annotations

import os

import pytest

from cratebox.errors import InvalidValue
from cratebox.image import transport


@pytest.mark.parametrize(
    ("text", "kind", "path", "tag"),
    [
        ("oci:/d", "oci", "/d", None),
        ("oci:/d:v1", "oci", "/d", "v1"),
        ("oci:/d:", "oci", "/d", None),
        ("oci:/a:b/c", "oci", "/a:b/c", None),
        ("oci:/a:b/c:t", "oci", "/a:b/c", "t"),
        ("oci-archive:/f.tar", "oci-archive", "/f.tar", None),
        ("docker-archive:/f:1.tar", "docker-archive", "/f:1.tar", None),
        ("rootfs:/", "rootfs", "/", None),
        ("rootfs:/a/../b/", "rootfs", "/b", None),
    ],
)
def test_a_transport_is_told_by_its_word(text: str, kind: str, path: str, tag: str | None) -> None:
    assert transport.parse(text) == transport.Source(kind=kind, path=path, tag=tag)


def test_a_relative_path_becomes_absolute() -> None:
    assert transport.parse("oci:x:t").path == os.path.abspath("x")


@pytest.mark.parametrize("text", ["alpine", "localhost:5000/oci", "docker.io/library/oci", "dir:latest"])
def test_everything_else_is_a_name_in_a_registry(text: str) -> None:
    source = transport.parse(text)
    assert source.kind == "registry"
    assert source.reference is not None


@pytest.mark.parametrize("text", ["oci:", "oci::tag", "rootfs:", "docker-archive:", "oci-archive:a\0b"])
def test_a_transport_without_a_path_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="path"):
        transport.parse(text)


@pytest.mark.parametrize("text", ["alpine:3", "oci:/d:t", "docker-archive:/f", "rootfs:/"])
def test_a_source_that_was_printed_reads_back_the_same(text: str) -> None:
    source = transport.parse(text)
    assert transport.parse(str(source)) == source
