"""Layers as a push sends them, where they lie otherwise in the store: packed with gzip or zstd.

A docker-archive has its layers as plain tars. They are packed on their way to a registry, into a file without a name that is
gone after the push; the diff ID, which is of the plain tar, stays. What it came to is remembered beside the unpacked layer, so
that the next push knows what to ask the registry for before it packs anything:

    layers/HEX/packed.json: {"gzip": {"digest": "sha256:...", "size": BYTES, "repositories": ["registry.lan/team/app", ...]}}

The same tar gives the same bytes: there is no time and no name in them. Another release of a compressor may pack otherwise;
then what is remembered is replaced.
"""

from __future__ import annotations

import hashlib
import os

from cratebox import jsontext
from cratebox.errors import StorageError, Unsupported, Untrusted
from cratebox.image import blobs, decompress, new_layer
from cratebox.image import digest as digests
from cratebox.image import manifest as manifests
from cratebox.image.manifest import DOCKER_CONFIG, DOCKER_MANIFEST, OCI_CONFIG, OCI_MANIFEST, Descriptor, Manifest
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from cratebox.image.store import Store

_ZSTD_LEVEL = 3
_OCI_LAYER, _DOCKER_LAYER = "application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"
_MOST_REPOSITORIES = 16  # that are remembered of one layer
_MAX_MEMORY = 1 << 16  # bytes


class Plan(Record):
    """How one layer is to be packed. `known`: what that came to last time;
    `repositories`: where it was seen, REGISTRY/REPOSITORY.
    """

    diff_id: str
    format: str
    known: Descriptor | None = None
    repositories: tuple[str, ...] = ()


def plans(store: Store, manifest: Manifest, form: str | None) -> dict[str, Plan]:
    """Return, by digest, the layers that are to be packed: with `form` all that are not in that one, else those that are plain.

    Raises StorageError, Untrusted.
    """
    if manifest.config.media_type not in manifests.CONFIG_TYPES:
        return {}
    config = manifests.parse_config(store.read_blob(manifest.config.digest, manifests.MAX_DOCUMENT))
    found = {}
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=False):
        there = _compression(store, layer)
        if there == "" or (form and there is not None and there != form):
            found[layer.digest] = _recall(store, Plan(diff_id, form or "gzip"))
    return found


def _compression(store: Store, layer: Descriptor) -> str | None:
    """Return how a layer lies in the store; None for one whose bytes are not ours to change."""
    try:
        decompress.check_type(layer.media_type)
    except Unsupported:
        return None
    fd = store.open_blob(layer.digest)
    try:
        return decompress.compression(os.pread(fd, decompress.HEAD, 0))
    finally:
        os.close(fd)


class Packed:
    """A layer that was packed: `descriptor`, and `fd`, the file with its bytes, until the context ends."""

    def __init__(self, store: Store, layer: Descriptor, plan: Plan) -> None:
        """Pack it. Raises StorageError where the disk is full, or the layer is not what its diff ID says."""
        self._hash, self._size = hashlib.sha256(), 0
        try:
            self.fd = blobs.nameless(store.directory + "/blobs/.partial")
        except OSError as error:
            raise blobs.storage_failure(f"cannot pack layer {layer.digest}", error) from None
        try:
            self._pack(store, layer, plan)
        except BaseException:
            os.close(self.fd)
            raise
        self.descriptor = Descriptor(media_type(layer.media_type, plan.format), f"sha256:{self._hash.hexdigest()}", self._size)

    def __enter__(self) -> Packed:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self.fd)

    def _pack(self, store: Store, layer: Descriptor, plan: Plan) -> None:
        plain, compressor = digests.hasher(plan.diff_id), _compressor(plan.format)
        source = store.open_blob(layer.digest)
        try:
            for chunk in decompress.chunks(_pieces(source), layer.media_type):
                plain.update(chunk)
                self._write(compressor.compress(chunk))
            self._write(compressor.flush())
            digests.check_hash(plain, plan.diff_id, "the layer")
        except Untrusted as error:
            path = store.blob_path(layer.digest)
            raise StorageError(f"damaged: {path}: {error.message}", "crate system check --repair") from None
        except OSError as error:
            raise blobs.storage_failure(f"cannot pack layer {layer.digest}", error) from None
        finally:
            os.close(source)

    def _write(self, data: bytes) -> None:
        if data:
            blobs.write_all(self.fd, data, self._size)
            self._hash.update(data)
            self._size += len(data)


def _pieces(fd: int) -> Iterator[bytes]:
    while piece := os.read(fd, decompress.OUTPUT):
        yield piece


def _compressor(form: str) -> Any:
    if form == "gzip":
        return new_layer.compressor()
    try:
        import zstandard
    except ImportError:
        raise Unsupported("packing a layer with zstd needs the Python package zstandard", "pip install zstandard") from None
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()


# The manifest that refers to them


def media_type(kind: str, form: str) -> str:
    """Return the type of a layer of type `kind` that is packed as `form`. Docker's schema 2 has no word for zstd."""
    base = _DOCKER_LAYER if kind.startswith(_DOCKER_LAYER) and form == "gzip" else _OCI_LAYER
    return f"{base}.{form}" if base == _DOCKER_LAYER else f"{base}+{form}"


def with_layers(raw: bytes, packed: Mapping[str, Descriptor]) -> tuple[bytes, str]:
    """Return the manifest `raw` with other layers, by the digests of those that it has, and its media type.

    What else it says stays. One of Docker's becomes one of the OCI's where a layer's type is the OCI's alone.
    """
    document = jsontext.loads(raw)
    layers = [_entry(packed[each["digest"]]) if each["digest"] in packed else each for each in document["layers"]]
    is_docker = document.get("mediaType") == DOCKER_MANIFEST
    if is_docker and any(each.media_type.startswith(_OCI_LAYER) for each in packed.values()):
        layers = [{**each, "mediaType": _oci(each["mediaType"])} for each in layers]
        config = {**document["config"], "mediaType": _oci(document["config"]["mediaType"])}
        document = {**document, "mediaType": OCI_MANIFEST, "config": config}
    changed = {**document, "layers": layers}
    return jsontext.dumps(changed).encode(), str(changed.get("mediaType") or OCI_MANIFEST)


def _entry(layer: Descriptor) -> dict[str, Any]:
    return manifests.as_json(layer)  # without annotations: those spoke of other bytes


def _oci(kind: str) -> str:
    if kind == DOCKER_CONFIG:
        return OCI_CONFIG
    return kind.replace(f"{_DOCKER_LAYER}.", f"{_OCI_LAYER}+").replace(_DOCKER_LAYER, _OCI_LAYER)


# What is remembered


def _recall(store: Store, plan: Plan) -> Plan:
    try:
        entry = _memory(store, plan.diff_id)[plan.format]
        known = Descriptor("", digests.check(entry["digest"]), int(entry["size"]))
        seen = tuple(str(each) for each in entry["repositories"])
    except (KeyError, TypeError, ValueError, Untrusted):
        return plan
    return plan.replace(known=known, repositories=seen)


def remember(store: Store, plan: Plan, packed: Descriptor, repository: str) -> None:
    """Write down what a layer came to, and that it is in `repository` now.
    That it cannot be is no error: it is packed again.
    """
    before = plan.repositories if plan.known is not None and plan.known.digest == packed.digest else ()
    seen = tuple(dict.fromkeys((repository, *before)))[:_MOST_REPOSITORIES]
    if plan.known is not None and plan.known.digest == packed.digest and seen == before:
        return
    entry = {"digest": packed.digest, "size": packed.size, "repositories": list(seen)}
    path = store.layer_path(plan.diff_id) + "/packed.json"
    temporary = f"{path}.{os.getpid()}.new"
    try:
        document = jsontext.dumps({**_memory(store, plan.diff_id), plan.format: entry}).encode()
        with open(temporary, "wb", 0) as file:
            file.write(document)
        os.rename(temporary, path)
    except OSError:
        _unlink(temporary)


def _memory(store: Store, diff_id: str) -> dict[str, Any]:
    try:
        document = jsontext.loads(blobs.read_small(store.layer_path(diff_id) + "/packed.json", _MAX_MEMORY))
    except (OSError, jsontext.JSONError):
        return {}
    return document if isinstance(document, dict) else {}


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def scaled(sent: Callable[[int], None], layer: Descriptor, packed: Descriptor) -> Callable[[int], None]:
    """Return what tells `sent` how far a layer has come, by its bytes in the store, for which the progress was told to wait."""
    return lambda position: sent(position * layer.size // max(1, packed.size))
