"""Layers in which a reader could find single files, zstd:chunked and eStargz, are read as the zstd and gzip that they are."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from pulls import new_store

from cratebox.image import transport
from cratebox.image.pull import bring
from cratebox.image.settings import Settings
from support.images import Image, Layer, Tree, digest, write_oci_layout

FILES = {"etc/motd": b"hello\n" * 1000, "large": bytes(range(256)) * 2000, "empty": b""}


def tree() -> Tree:
    made = Tree().directory("etc")
    for name, data in FILES.items():
        made.file(name, data)
    return made.symlink("link", "etc/motd").hardlink("hard", "large")


def contents(store, image) -> dict[str, bytes]:  # type: ignore[no-untyped-def]
    (layer,) = store.layer_directories(image)
    return {name: Path(layer, name).read_bytes() for name in (*FILES, "hard", "link")}


def pulled(directory: Path, layout: Path):  # type: ignore[no-untyped-def]
    store = new_store(directory)
    return store, bring(store, transport.parse(f"oci:{layout}:a"), None, Settings(certificates=())).image


def expected() -> dict[str, bytes]:
    return {**FILES, "hard": FILES["large"], "link": FILES["etc/motd"]}


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed: it makes the layers")
def test_a_layer_of_zstd_chunked_is_read_as_zstd(tmp_path: Path) -> None:
    plain = write_oci_layout(tmp_path / "plain", {"a": Image((tree().layer(),))})
    made = ["skopeo", "copy", "-q", "--dest-compress-format", "zstd:chunked", f"oci:{plain}:a", f"oci:{tmp_path}/chunked:a"]
    subprocess.run(made, check=True, capture_output=True)
    blobs = [path.read_bytes() for path in (tmp_path / "chunked/blobs/sha256").iterdir()]
    assert any(blob.endswith((b"GNUlInUx", b"GnUlInUx")) for blob in blobs), "skopeo made no such layer"
    store, image = pulled(tmp_path / "store", tmp_path / "chunked")
    assert contents(store, image) == expected()


def estargz(plain: bytes) -> bytes:
    """Press a tar as eStargz: a gzip member for each entry's header and content, the table of contents as the last entry, and a
    footer, an empty member whose extra field says where that is. (stargz-snapshotter, docs/estargz.md)
    """
    landmark, entries, out = _entry(".no.prefetch.landmark", b"\x0f"), [], b""
    parts = [landmark, *_entries(plain)]
    for part in parts:
        entries.append({"name": part[:100].rstrip(b"\0").decode(), "type": "reg", "offset": len(out)})
        out += gzip.compress(part[:512], mtime=0) + (gzip.compress(part[512:], mtime=0) if part[512:] else b"")
    place = len(out)
    out += gzip.compress(
        _entry("stargz.index.json", json.dumps({"version": 1, "entries": entries}).encode()) + bytes(1024), mtime=0
    )
    field = b"SG" + struct.pack("<H", 22) + b"%016xSTARGZ" % place
    nothing = b"\x01\0\0\xff\xff"  # a stored block of no bytes (RFC 1951)
    return out + b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack("<H", len(field)) + field + nothing + bytes(8)


def _entry(name: str, data: bytes) -> bytes:
    return Tree().file(name, data).tar()[: 512 + -(-len(data) // 512) * 512]


def _entries(plain: bytes) -> list[bytes]:
    with tarfile.open(fileobj=BytesIO(plain)) as archive:
        starts = [member.offset for member in archive]
        end = archive.offset
    return [plain[start:stop] for start, stop in zip(starts, [*starts[1:], end], strict=True)]


def test_a_layer_of_estargz_is_read_as_gzip(tmp_path: Path) -> None:
    pressed = estargz(tree().tar())
    assert pressed[-51:-47] == b"\x1f\x8b\x08\x04", "the footer has 51 bytes"
    layer = Layer(pressed, digest(gzip.decompress(pressed)))
    store, image = pulled(tmp_path / "store", write_oci_layout(tmp_path / "layout", {"a": Image((layer,))}))
    assert contents(store, image) == expected()
