"""Images of the store as a file that other engines load: a directory in the OCI layout, the same as a tar,
or that with a manifest.json.

    oci-layout, index.json       OCI image-spec, image-layout.md: for containerd, Docker 25 and later, skopeo's oci:, Podman
    manifest.json                for older Dockers and all that reads docker-archive (Docker's image-spec v1.2)
    blobs/ALGORITHM/HEX          manifests, configs and layers, each once, the very bytes that the store has

Layers stay compressed, as they were pulled: every reader of manifest.json since Docker 1.10 inflates them, and digests stay
what they are. The same images give the same bytes: nothing in the archive has a time or an owner.
"""

from __future__ import annotations

import os

from cratebox import jsontext
from cratebox.errors import NotFound, StorageError
from cratebox.image import digest as digests
from cratebox.image import index, tar, tar_writing
from cratebox.image import manifest as manifests
from cratebox.image.blobs import write_all
from cratebox.image.manifest import Descriptor
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from cratebox.image.catalog import StoredImage
    from cratebox.image.store import Store

DOCKER_ARCHIVE, OCI_ARCHIVE, OCI_DIRECTORY = FORMS = ("docker-archive", "oci-archive", "oci-dir")


class Chosen(Record):
    """An image that is to be written, and the canonical names that it is to have there."""

    image: StoredImage
    names: tuple[str, ...]


class _Member(Record):
    """A file of the layout. `content` gives exactly `size` bytes."""

    name: str
    size: int
    content: Callable[[], Iterator[bytes]]


def archive(store: Store, chosen: Sequence[Chosen], form: str) -> Iterator[bytes]:
    """Yield the tar of these images, each of which is there once. `form` is docker-archive or oci-archive.

    Raises StorageError where something of an image is damaged or missing: the documents before anything has been yielded, a
    layer at its end. The caller is `using` the store.
    """
    members = _members(store, chosen, docker=form == DOCKER_ARCHIVE)
    for name in _directories(members):
        entry = tar.Entry(name.encode() + b"/", tar.DIRECTORY)
        entry.mode = 0o755
        yield tar_writing.header(entry)
    for member in members:
        entry = tar.Entry(member.name.encode(), tar.REGULAR)
        entry.mode, entry.size = 0o644, member.size
        yield tar_writing.header(entry)
        yield from member.content()
        yield tar_writing.padding(member.size)
    yield tar_writing.END


def directory(store: Store, chosen: Sequence[Chosen], path: str) -> None:
    """Write the layout into the empty directory `path`. Raises StorageError as `archive`, and OSError."""
    members = _members(store, chosen, docker=False)
    for name in _directories(members):
        os.mkdir(f"{path}/{name}", 0o755)
    for member in members:
        fd = os.open(f"{path}/{member.name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            position = 0
            for chunk in member.content():
                write_all(fd, chunk, position)
                position += len(chunk)
        finally:
            os.close(fd)


def _directories(members: Sequence[_Member]) -> list[str]:
    """Return the directories that the members are in, a directory before what is in it."""
    found = {"blobs", *(os.path.dirname(member.name) for member in members)}
    return sorted(found - {""})


def _members(store: Store, chosen: Sequence[Chosen], *, docker: bool) -> list[_Member]:
    """Return the files of the layout: those that tell what is in it first, layers last."""
    entries: list[dict[str, Any]] = []
    listed: list[dict[str, Any]] = []
    documents: dict[str, Descriptor] = {}
    layers: dict[str, Descriptor] = {}
    for one in chosen:
        entry = store.descriptor_of(one.image)
        manifest = store.manifest_of(one.image)
        entries += _entries(entry, one.names)
        listed.append(_listed(manifest, one.names))
        documents |= {entry.digest: entry, manifest.config.digest: manifest.config}
        layers |= {layer.digest: layer for layer in manifest.layers}
    top = {"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": entries}
    return [
        _document("oci-layout", index.LAYOUT),
        _document("index.json", jsontext.dumps(top).encode()),
        *([_document("manifest.json", jsontext.dumps(listed).encode())] if docker else []),
        *(_blob(store, one) for one in documents.values()),
        *(_blob(store, one) for one in layers.values()),
    ]


def _entries(entry: Descriptor, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """An image with several names has several entries, one without has one.
    A name is there in both annotations that are in use.
    """
    for name in names or ("",):
        annotations = {index.IMAGE_NAME: name, index.REF_NAME: name} if name else {}
        yield manifests.as_json(entry.replace(annotations=annotations))


def _listed(manifest: manifests.Manifest, names: Sequence[str]) -> dict[str, Any]:
    """Names are full ones: Docker shortens them when it shows them, Podman would take a short one for one of localhost."""
    return {
        "Config": digests.blob_name(manifest.config.digest),
        "RepoTags": list(names),
        "Layers": [digests.blob_name(layer.digest) for layer in manifest.layers],
    }


def _document(name: str, raw: bytes) -> _Member:
    return _Member(name, len(raw), lambda: iter((raw,)))


def _blob(store: Store, descriptor: Descriptor) -> _Member:
    return _Member(digests.blob_name(descriptor.digest), descriptor.size, lambda: _checked(store, descriptor))


def _checked(store: Store, descriptor: Descriptor) -> Iterator[bytes]:
    """Yield the bytes of a blob. What its name does not say is no archive's: nobody would load it."""
    state, left = digests.hasher(descriptor.digest), descriptor.size
    try:
        fd = store.open_blob(descriptor.digest)
    except NotFound as error:
        raise _damaged(store, descriptor, error.message) from None
    try:
        while left and (chunk := os.read(fd, min(left, tar_writing.CHUNK))):
            state.update(chunk)
            left -= len(chunk)
            yield chunk
    except OSError as error:
        raise StorageError(f"cannot read {store.blob_path(descriptor.digest)}: {error.strerror}") from None
    finally:
        os.close(fd)
    if left or state.hexdigest() != digests.split(descriptor.digest)[1]:
        raise _damaged(store, descriptor, "it is not what its name says")


def _damaged(store: Store, descriptor: Descriptor, why: str) -> StorageError:
    return StorageError(f"damaged: {store.blob_path(descriptor.digest)}: {why}", "crate system check --repair")
