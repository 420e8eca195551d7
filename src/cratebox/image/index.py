"""index.json of the store: which images there are and what they are called. The roots of everything that is kept.

Format: OCI image-spec, image-layout.md and image-index.md. An entry's annotation org.opencontainers.image.ref.name is the
image's full name, so that `skopeo copy oci:DIR:NAME` finds it; an image with two names has two entries, one without a
name (its name went to a newer image) an entry without the annotation.
"""

from __future__ import annotations

import os

from cratebox import jsontext
from cratebox.errors import StorageError, Untrusted
from cratebox.image import manifest as manifests
from cratebox.image.blobs import read_small, replace_file
from cratebox.image.manifest import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'  # the file oci-layout beside it
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"  # what containerd and Docker put beside it in archives: always a full name
SOURCE_DIGEST = "org.cratebox.source.digest"  # what the registry said the name stands for, an index or the manifest
TAGGED = "org.cratebox.tagged"  # when the image got this name, RFC 3339
UNPACKED_SIZE = "org.cratebox.unpacked.size"  # bytes, decimal

_RESERVE, _RESERVED = "/.reserve", 1 << 18  # a file below the store, bytes
_COPY = "/.index.copy"  # for `crate system check --repair`
_LIMIT = 64 << 20


def read(directory: str) -> list[Descriptor]:
    """Return the entries of index.json, in its order; an empty list where there is none. Raises StorageError."""
    path = directory + "/index.json"
    try:
        raw = read_small(path, _LIMIT + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    try:
        entries = _entries(raw)
        return [manifests.parse_descriptor(entry) for entry in entries]
    except (Untrusted, jsontext.JSONError) as error:
        raise StorageError(
            f"damaged: {path}: {error}",
            "crate system check --repair, or move that file away and pull the images again: no layer is fetched twice",
        ) from None


def _entries(raw: bytes) -> list[Any]:
    document = jsontext.loads(raw)
    entries = document.get("manifests") if isinstance(document, dict) else None
    if len(raw) > _LIMIT or not isinstance(entries, list):
        raise Untrusted("it is not an index")
    return entries


def read_copy(directory: str) -> list[Descriptor]:
    """Return the entries of the copy that is kept of index.json;
    an empty list where there is none, or it is damaged as well.
    """
    try:
        return [manifests.parse_descriptor(entry) for entry in _entries(read_small(directory + _COPY, _LIMIT + 1))]
    except (OSError, Untrusted, jsontext.JSONError):
        return []


def _keep_copy(directory: str, raw: bytes) -> None:
    """What the images are called is written nowhere else. Where there is no room for it the index itself is whole."""
    try:
        replace_file(directory + _COPY, raw)
    except StorageError:
        pass


def write(directory: str, entries: list[Descriptor]) -> None:
    """Replace index.json. The caller holds the lock `index`. Raises StorageError."""
    document = {
        "schemaVersion": 2,
        "mediaType": manifests.OCI_INDEX,
        "manifests": [manifests.as_json(entry) for entry in entries],
    }
    raw = jsontext.dumps(document).encode()
    try:
        replace_file(directory + "/index.json", raw)
    except StorageError:
        if not _give_up_reserve(directory):
            raise
        replace_file(directory + "/index.json", raw)  # on a full disk an image can be removed only by writing
    _keep_copy(directory, raw)


def reserve(directory: str) -> None:
    """Keep some room for index.json on a disk that gets full. That there is none is no error."""
    if os.path.exists(directory + _RESERVE):
        return
    try:
        with open(directory + _RESERVE, "xb", 0) as file:
            file.write(bytes(_RESERVED))
    except OSError:
        pass


def _give_up_reserve(directory: str) -> bool:
    try:
        os.unlink(directory + _RESERVE)
    except OSError:
        return False
    return True


def name_of(entry: Descriptor) -> str:
    """Return the entry's full name, or "" where it has none."""
    return entry.annotations.get(REF_NAME, "")


def named(entries: list[Descriptor], name: str, target: Descriptor) -> list[Descriptor]:
    """Return `entries` with `name` standing for `target`.

    The image that had the name before keeps an entry without one: its containers may still need it, and it is for the
    user to remove it. `name` "" adds an image that has no name.
    """
    annotations = {**target.annotations, REF_NAME: name} if name else target.annotations
    new = target.replace(annotations=annotations)
    if any(entry.digest == target.digest and name_of(entry) == name for entry in entries):
        return [new if entry.digest == target.digest and name_of(entry) == name else entry for entry in entries]
    kept = [entry for entry in entries if not name or name_of(entry) != name]
    for lost in entries:
        if name and name_of(lost) == name and all(other.digest != lost.digest for other in kept):
            kept.append(unnamed(lost))
    if not name and any(entry.digest == target.digest for entry in kept):
        return kept  # it has names, and is kept by them
    return [*(entry for entry in kept if entry.digest != target.digest or name_of(entry)), new]


def timed(entries: list[Descriptor], name: str, target: Descriptor) -> Descriptor:
    """Return `target` with the time it got `name`: now, or when it did where it has that name in `entries` already."""
    if not name:
        return target
    now = manifests.now()
    had = [entry.annotations.get(TAGGED, now) for entry in entries if entry.digest == target.digest and name_of(entry) == name]
    return target.replace(annotations={**target.annotations, TAGGED: had[0] if had else now})


def unnamed(entry: Descriptor) -> Descriptor:
    """Return `entry` without its name."""
    kept = {key: value for key, value in entry.annotations.items() if key not in (REF_NAME, TAGGED)}
    return entry.replace(annotations=kept)
