"""The documents of an image: index, manifest, config. Parsed strictly, whole, before anything acts on them.

Formats: OCI image-spec (image-index.md, manifest.md, config.md, descriptor.md) and Docker's Image Manifest Version 2,
Schema 2. Documents are hostile: unknown fields are ignored, a known field of the wrong kind refuses the document.
"""

from __future__ import annotations

from cratebox import jsontext
from cratebox.errors import Unsupported, Untrusted
from cratebox.image import digest as digests
from cratebox.image.platform import Platform
from cratebox.record import Record
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_DOCUMENT = 4 << 20  # bytes; registries refuse larger manifests as well (distribution-spec, "Pushing manifests")
MAX_LAYERS = 1000
MAX_ENTRIES = 10_000

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OCI_GZIP_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_GZIP_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
INDEX_TYPES = frozenset((OCI_INDEX, DOCKER_INDEX))
MANIFEST_TYPES = frozenset((OCI_MANIFEST, DOCKER_MANIFEST))
CONFIG_TYPES = frozenset((OCI_CONFIG, DOCKER_CONFIG))
_SCHEMA1 = ("application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws")
_SCHEMA1_HINT = "the image must be pushed again by a current tool; Docker gave schema 1 up in 2017"


def now() -> str:
    """Return this moment as documents tell it (RFC 3339)."""
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def check_distributable(media_type: str) -> None:
    """Raise Unsupported for a layer that registries may not keep: foreign ones (Docker's schema 2) and non-distributable ones
    (OCI image-spec, layer.md) lie where their maker gives them away, mostly the files of Windows.
    """
    if ".foreign." in media_type or ".nondistributable." in media_type:
        raise Unsupported(
            f"it has a layer of type {shown(media_type)}, which its registry may not keep: it lies elsewhere, at its maker's",
            "crate fetches layers from the image's registry alone",
        )


class Descriptor(Record):
    """What a document says of another: its kind, digest and size in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}  # noqa: RUF012  a Record is never changed
    platform: Platform | None = None
    urls: tuple[str, ...] = ()


class Manifest(Record):
    """One image: its config and its layers, lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


def as_json(descriptor: Descriptor) -> dict[str, Any]:
    """Return a descriptor as it stands in a document (OCI image-spec, descriptor.md)."""
    document: dict[str, Any] = {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}
    if descriptor.platform is not None:
        known = descriptor.platform
        fields = {"os": known.os, "architecture": known.architecture, "variant": known.variant}
        document["platform"] = {key: value for key, value in fields.items() if value}
    if descriptor.annotations:
        document["annotations"] = descriptor.annotations
    if descriptor.urls:
        document["urls"] = list(descriptor.urls)
    return document


def encode(manifest: Manifest) -> bytes:
    """Return the document of a manifest; the same one gives the same bytes."""
    document = {
        "schemaVersion": 2,
        "mediaType": manifest.media_type,
        "config": as_json(manifest.config),
        "layers": [as_json(layer) for layer in manifest.layers],
    }
    return jsontext.dumps(document).encode()


class Index(Record):
    """One name, an image for each platform."""

    media_type: str
    manifests: tuple[Descriptor, ...]


class ImageConfig(Record):
    """How to run the image, and what its layers are. What the document leaves out is empty."""

    architecture: str
    os: str
    variant: str = ""
    created: str = ""
    author: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    labels: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    healthcheck: dict[str, Any] | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    args_escaped: bool = False
    diff_ids: tuple[str, ...] = ()
    history: tuple[dict[str, Any], ...] = ()

    @property
    def platform(self) -> Platform:
        """What the image's programs are made for."""
        return Platform(os=self.os, architecture=self.architecture, variant=self.variant)


def parse(raw: bytes, media_type: str | None) -> Manifest | Index:
    """Parse an index or a manifest; `media_type` is what its bearer called it (a Content-Type or a descriptor), if any.

    Raises Untrusted for what is malformed, mislabelled or can be read as both, and Unsupported for Docker's schema 1.
    """
    document = _document(raw, "the manifest")
    kind = _kind(document, media_type)
    if document.get("schemaVersion") != 2:
        raise Untrusted(f"the manifest has schemaVersion {shown(document.get('schemaVersion'))}, not 2")
    _refuse_ambiguity(document, ("config", "layers", "fslayers") if kind in INDEX_TYPES else ("manifests", "fslayers"))
    if kind in INDEX_TYPES:
        entries = _list(document, "manifests", MAX_ENTRIES)
        return Index(media_type=kind, manifests=tuple(parse_descriptor(entry) for entry in entries))
    layers = _list(document, "layers", MAX_LAYERS)
    config = parse_descriptor(document.get("config"))
    return Manifest(media_type=kind, config=config, layers=tuple(parse_descriptor(layer) for layer in layers))


def _document(raw: bytes, what: str, limit: int = MAX_DOCUMENT) -> dict[str, Any]:
    if len(raw) > limit:
        raise Untrusted(f"{what} is larger than {limit} bytes")
    try:
        document = jsontext.loads(raw)
    except jsontext.JSONError as error:
        raise Untrusted(f"{what} is not JSON: {shown(str(error))}") from None
    if not isinstance(document, dict):
        raise Untrusted(f"{what} is not a JSON object")
    return document


def _kind(document: dict[str, Any], media_type: str | None) -> str:
    """The document's own mediaType and the one of its bearer must be one (CVE-2021-41190)."""
    inside = document.get("mediaType")
    outside = media_type.partition(";")[0].strip().lower() if media_type else None
    if outside in _SCHEMA1 or inside in _SCHEMA1 or document.get("schemaVersion") == 1:
        raise Unsupported("the image is in Docker's manifest schema 1, which nothing can verify whole", _SCHEMA1_HINT)
    if inside is not None and outside is not None and inside != outside:
        raise Untrusted(f"the manifest calls itself {shown(inside)} but was served as {shown(outside)}")
    kind = outside if inside is None else inside
    if kind is None:
        # A layout on disk may leave both out; the fields then decide, and both kinds at once are refused below.
        kind = OCI_INDEX if "manifests" in document else OCI_MANIFEST
    if not isinstance(kind, str) or kind not in INDEX_TYPES | MANIFEST_TYPES:
        raise Untrusted(f"not a manifest of an image: its type is {shown(kind)}")
    return kind


def _refuse_ambiguity(document: dict[str, Any], foreign: tuple[str, ...]) -> None:
    """Other readers of JSON ignore the case of keys, so `Layers` must not slip by either, nor stand beside `layers`."""
    if len({key.lower() for key in document}) != len(document):
        raise Untrusted("the manifest is ambiguous: two of its keys differ in their case alone")
    for key in document:
        if key.lower() in foreign:
            raise Untrusted(f"the manifest is ambiguous: it has {shown(key)}, which belongs to another kind of document")


def parse_descriptor(value: Any) -> Descriptor:
    """Return the descriptor that a parsed JSON value is. Raises Untrusted."""
    if not isinstance(value, dict):
        raise Untrusted("a descriptor is not a JSON object")
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 62:
        raise Untrusted(f"a descriptor has the size {shown(size)}")
    return Descriptor(
        media_type=_text(value, "mediaType"),
        digest=digests.check(value.get("digest")),
        size=size,
        annotations=_text_map(value, "annotations"),
        platform=_platform(value.get("platform")),
        urls=_texts(value, "urls"),
    )


def _platform(value: Any) -> Platform | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Untrusted("a descriptor's platform is not a JSON object")
    return Platform(os=_text(value, "os"), architecture=_text(value, "architecture"), variant=_text(value, "variant"))


def parse_config(raw: bytes) -> ImageConfig:
    """Parse an image's config. Raises Untrusted for what is malformed, and for text that could not be an argument."""
    document = _document(raw, "the image config")
    inner = _mapping(document, "config")
    rootfs = _mapping(document, "rootfs")
    if rootfs.get("type", "layers") != "layers":
        raise Untrusted(f"the image config has a rootfs of type {shown(rootfs.get('type'))}, not layers")
    return ImageConfig(
        architecture=_text(document, "architecture"),
        os=_text(document, "os"),
        variant=_text(document, "variant"),
        created=_text(document, "created"),
        author=_text(document, "author"),
        # A name without a value means "the caller's own" to some tools (CVE-2020-14370); here it is nothing.
        env=tuple(entry for entry in _texts(inner, "Env") if entry.find("=") > 0),
        entrypoint=_texts(inner, "Entrypoint"),
        cmd=_texts(inner, "Cmd"),
        working_dir=_text(inner, "WorkingDir"),
        user=_text(inner, "User"),
        labels=_text_map(inner, "Labels"),
        exposed_ports=tuple(_keys(inner, "ExposedPorts")),
        volumes=tuple(_keys(inner, "Volumes")),
        stop_signal=_text(inner, "StopSignal"),
        healthcheck=_healthcheck(inner),
        shell=_texts(inner, "Shell"),
        on_build=_texts(inner, "OnBuild"),
        args_escaped=inner.get("ArgsEscaped") is True,
        diff_ids=tuple(digests.check(entry) for entry in _list(rootfs, "diff_ids", MAX_LAYERS)),
        history=_history(document),
    )


def _healthcheck(inner: dict[str, Any]) -> dict[str, Any] | None:
    """Docker's HealthConfig: Test is words, the rest are counts and nanoseconds."""
    value = inner.get("Healthcheck")
    if value is None:
        return None
    value = _mapping(inner, "Healthcheck")
    checked: dict[str, Any] = {"Test": _texts(value, "Test")}
    for key in ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"):
        number = value.get(key)
        if number is not None:
            if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 1 << 63:
                raise Untrusted(f"the image config's Healthcheck has {key} {shown(number)}")
            checked[key] = number
    return checked


def _history(document: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    steps = []
    for step in _list(document, "history", MAX_ENTRIES):
        if not isinstance(step, dict):
            raise Untrusted("the image config's history has a step that is not a JSON object")
        words = {key: _text(step, key) for key in ("created", "created_by", "author", "comment") if step.get(key) is not None}
        steps.append({**words, "empty_layer": step.get("empty_layer") is True})
    return tuple(steps)


def _check_text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise Untrusted(f"{key} is {shown(value)}, not text")
    try:
        if b"\0" in value.encode():
            raise Untrusted(f"{key} has a NUL byte in it: {shown(value)}")
    except UnicodeEncodeError:
        raise Untrusted(f"{key} has half a character in it: {shown(value)}") from None
    return value


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    return "" if value is None else _check_text(value, key)


def _list(document: dict[str, Any], key: str, limit: int) -> list[Any]:
    value = document.get(key)
    if value is None:
        value = []  # Go writes null for an empty list
    if not isinstance(value, list):
        raise Untrusted(f"{key} is not a list")
    if len(value) > limit:
        raise Untrusted(f"{key} has {len(value)} entries; more than {limit} are refused")
    return value


def _texts(document: dict[str, Any], key: str) -> tuple[str, ...]:
    return tuple(_check_text(entry, key) for entry in _list(document, key, MAX_ENTRIES))


def _mapping(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise Untrusted(f"{key} is not a JSON object")
    if len(value) > MAX_ENTRIES:
        raise Untrusted(f"{key} has {len(value)} entries; more than {MAX_ENTRIES} are refused")
    return value


def _keys(document: dict[str, Any], key: str) -> list[str]:
    return [_check_text(name, key) for name in _mapping(document, key)]


def _text_map(document: dict[str, Any], key: str) -> dict[str, str]:
    # A null value is what Go reads as the empty text.
    return {
        _check_text(name, key): "" if value is None else _check_text(value, key)
        for name, value in _mapping(document, key).items()
    }
