"""Artifacts: manifests whose layers are files and not an image's root, and which may speak of another manifest, their subject.

Format: OCI image-spec 1.1, manifest.md, "Guidelines for Artifact Usage";
the names of files are annotations of their descriptors.
"""

from __future__ import annotations

from cratebox import jsontext
from cratebox.errors import InvalidValue, Untrusted
from cratebox.image import digest as digests
from cratebox.image import manifest as manifests
from cratebox.image.manifest import CONFIG_TYPES, OCI_MANIFEST, Descriptor, Manifest
from cratebox.record import Record
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TITLE = "org.opencontainers.image.title"
FILE_TYPE = "application/octet-stream"
EMPTY_TYPE, EMPTY = "application/vnd.oci.empty.v1+json", b"{}"
_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")  # of images; types begin so
_LONGEST = 255  # bytes of a file's name


class Artifact(Record):
    """An artifact: `files` are descriptors with their titles, `type` says what it is, `subject` what it is of."""

    digest: str
    size: int
    type: str
    files: tuple[Descriptor, ...]
    annotations: dict[str, str]
    subject: Descriptor | None = None

    def is_image(self) -> bool:
        """Tell whether it is one to be run: signatures may have an image's config as well, but no image's layers."""
        return self.type in CONFIG_TYPES and all(each.media_type.startswith(_LAYERS) for each in self.files)


def empty() -> Descriptor:
    """Return the descriptor of the config of an artifact that has none."""
    return Descriptor(EMPTY_TYPE, digests.of(EMPTY), len(EMPTY))


def compose(kind: str, files: tuple[Descriptor, ...], annotations: dict[str, str], subject: Descriptor | None) -> bytes:
    """Return the manifest; the same files make the same one. Raises InvalidValue for a type that is none."""
    major, slash, minor = kind.partition("/")
    if not (slash and major and minor and kind.isascii() and kind.isprintable() and " " not in kind):
        raise InvalidValue(
            f"{shown(kind)} is no type of an artifact", "a media type, such as application/vnd.example.report+json"
        )
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": manifests.as_json(empty()),
        "layers": [manifests.as_json(each) for each in files],
    }
    if subject is not None:
        document["subject"] = manifests.as_json(subject)
    if annotations:
        document["annotations"] = annotations
    return jsontext.dumps(document).encode()


def parse(raw: bytes, media_type: str) -> Artifact:
    """Read a manifest as an artifact; that of an image is one as well. Raises Untrusted, and InvalidValue for an index."""
    manifest = manifests.parse(raw, media_type)
    if not isinstance(manifest, Manifest):
        raise InvalidValue("this is an index of several manifests, not an artifact", "name one of them by its digest")
    document = jsontext.loads(raw)
    kind, notes, subject = (document.get(key) for key in ("artifactType", "annotations", "subject"))
    return Artifact(
        digest=digests.of(raw),
        size=len(raw),
        type=kind if isinstance(kind, str) and kind else manifest.config.media_type,
        files=manifest.layers,
        annotations=texts(notes),
        subject=None if subject is None else manifests.parse_descriptor(subject),
    )


def texts(value: Any) -> dict[str, str]:
    """Return the annotations that a parsed JSON value is. Raises Untrusted."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise Untrusted("annotations are not texts by name")
    return value


def named_files(artifact: Artifact) -> dict[str, Descriptor]:
    """Return the files by their names. Raises Untrusted where a name would lead elsewhere, or is there twice."""
    found: dict[str, Descriptor] = {}
    for each in artifact.files:
        name = each.annotations.get(TITLE)
        if name is None:
            continue
        if "/" in name or name in ("", ".", "..") or not name.isprintable() or len(name.encode(errors="replace")) > _LONGEST:
            raise Untrusted(f"the artifact has a file of the name {shown(name)}, which is not that of a file in a directory")
        if name in found:
            raise Untrusted(f"the artifact has two files of the name {shown(name)}")
        found[name] = each
    return found
