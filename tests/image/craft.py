"""Tar archives and images made by hand for the tests, honest and hostile ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

from cratebox.errors import CrateError
from cratebox.image.manifest import Descriptor
from cratebox.image.store import Store, StoredImage

BLOCK = 512
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
TAR = "application/vnd.oci.image.layer.v1.tar"
TAR_GZIP = TAR + "+gzip"
NAME = "docker.io/library/alpine:latest"


def header(
    name: bytes,
    kind: bytes = b"0",
    size: int | bytes = 0,
    *,
    link: bytes = b"",
    mode: int | None = None,
    uid: int = 0,
    gid: int = 0,
    mtime: int = 1_000_000_000,
    major: int = 0,
    minor: int = 0,
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    tail: bytes = b"",
) -> bytes:
    """Return one ustar header. `size` as bytes is put in as it is; `tail` replaces what follows the prefix's place."""
    if mode is None:
        mode = 0o755 if kind == b"5" else 0o644
    raw_size = size if isinstance(size, bytes) else b"%011o\0" % size
    block = bytearray(
        name[:100].ljust(100, b"\0")
        + b"%07o\0%07o\0%07o\0" % (mode, uid, gid)
        + raw_size
        + b"%011o\0" % mtime
        + b" " * 8
        + kind
        + link[:100].ljust(100, b"\0")
        + magic
        + bytes(64)
        + b"%07o\0%07o\0" % (major, minor)
        + prefix.ljust(155, b"\0")
        + bytes(12)
    )
    if tail:
        block[345 : 345 + len(tail)] = tail
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def entry(name: bytes, data: bytes = b"", kind: bytes = b"0", **fields: object) -> bytes:
    return header(name, kind, len(data), **fields) + padded(data)  # type: ignore[arg-type]


def pax(records: list[tuple[bytes, bytes]], kind: bytes = b"x") -> bytes:
    text = b""
    for key, value in records:
        body = b" " + key + b"=" + value + b"\n"
        length = len(body) + 1
        while len(b"%d" % length) + len(body) != length:
            length += 1
        text += b"%d" % length + body
    return entry(b"PaxHeaders/x", text, kind)


def archive(*parts: bytes) -> bytes:
    return b"".join(parts) + bytes(2 * BLOCK)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tree_tar(members: dict[str, bytes]) -> bytes:
    """Return a tar of plain files, made by the standard library."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as out:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            out.addfile(info, io.BytesIO(data))
    return raw.getvalue()


class CraftedImage:
    """An image in memory: its layers as tars, and the documents over them."""

    def __init__(self, *layers: bytes, gz: bool = True, config: dict[str, object] | None = None) -> None:
        self.tars = layers
        self.blobs = [gzip.compress(layer, 1, mtime=0) if gz else layer for layer in layers]
        self.diff_ids = [digest(layer) for layer in layers]
        self.config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": ["sh"], **(config or {})},
                "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
            }
        ).encode()
        self.layer_type = TAR_GZIP if gz else TAR
        self.manifest = b""
        self.rebuild()

    def rebuild(self) -> None:
        """Make the manifest again, for a config that has changed."""
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": plain(CONFIG, self.config),
                "layers": [plain(self.layer_type, blob) for blob in self.blobs],
            }
        ).encode()

    @property
    def id(self) -> str:
        return digest(self.config)

    def all_blobs(self) -> list[bytes]:
        return [*self.blobs, self.config, self.manifest]

    def write_layout(self, directory: Path, tag: str | None = None) -> Path:
        """Write the image as an OCI layout."""
        (directory / "blobs/sha256").mkdir(parents=True)
        for blob in self.all_blobs():
            (directory / "blobs/sha256" / digest(blob)[7:]).write_bytes(blob)
        (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        described = plain(MANIFEST, self.manifest)
        if tag is not None:
            described["annotations"] = {"org.opencontainers.image.ref.name": tag}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]}
        (directory / "index.json").write_text(json.dumps(index))
        return directory

    def docker_members(self, *names: str) -> dict[str, bytes]:
        """Return what `docker save` would put into its archive."""
        layers = {f"{number}/layer.tar": layer for number, layer in enumerate(self.tars)}
        listed = [{"Config": self.id[7:] + ".json", "RepoTags": list(names), "Layers": list(layers)}]
        return {**layers, self.id[7:] + ".json": self.config, "manifest.json": json.dumps(listed).encode()}


def plain(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def fingerprint(directory: Path) -> str:
    """Return a hash over everything below `directory`: names, modes, owners, times, contents."""
    state = hashlib.sha256()
    for here, directories, files in sorted(os.walk(directory)):
        for name in sorted([".", *directories, *files]):
            path = Path(here) / name
            info = path.lstat()
            state.update(repr((str(path), info.st_mode, info.st_uid, info.st_gid, info.st_nlink, info.st_mtime_ns)).encode())
            if path.is_symlink():
                state.update(str(path.readlink()).encode())
            elif path.is_file():
                state.update(path.read_bytes())
    return state.hexdigest()


def describe(media_type: str, data: bytes) -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest(data), size=len(data))


def feed(data: bytes, chunk: int = 1000) -> Callable[[int], Iterable[bytes]]:
    """Return what `Store.ingest` reads from."""
    return lambda offset: (data[start : start + chunk] for start in range(offset, len(data), chunk))


def take(
    store: Store, image: CraftedImage, name: str = "docker.io/library/alpine:latest", source: str | None = None
) -> StoredImage:
    """Bring an image into the store as a pull does."""
    with store.using():
        store.put(describe(CONFIG, image.config), image.config)
        for blob, diff_id in zip(image.blobs, image.diff_ids, strict=True):
            store.ingest(describe(image.layer_type, blob), diff_id, feed(blob))
        store.put(describe(MANIFEST, image.manifest), image.manifest)
        return store.tag(name, describe(MANIFEST, image.manifest), source)


def left(store: Store) -> list[str]:
    """Return every blob, partial download, layer and half-made layer there is."""
    found = [str(path.relative_to(store.directory)) for path in Path(store.directory, "blobs").rglob("*") if path.is_file()]
    return sorted(found + [f"layers/{name}" for name in os.listdir(store.directory + "/layers")])


def refusal(work: Callable[[], object]) -> str:
    """Return why crate refuses `work`, or "" where it does it."""
    try:
        work()
    except CrateError as error:
        return error.message
    return ""


def crafted(*texts: str) -> CraftedImage:
    return CraftedImage(*(tree_tar({f"file{number}": text.encode()}) for number, text in enumerate(texts)))
