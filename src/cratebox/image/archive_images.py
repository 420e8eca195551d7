"""What images an archive has: their documents, their names, and where the blobs of their layers are.

Formats: OCI image-spec, image-layout.md; for docker-archive, manifest.json with [{"Config": NAME, "Layers": [NAME...],
"RepoTags": [...]}] beside the files it names (Docker's image-spec v1.2, "Combined Image JSON + Filesystem Changeset Format").
Docker 25 and later write both into one archive. Such a one is read by its index.json, which has a digest and a size for
everything; manifest.json then tells names.

What is read is verified as if a registry had sent it.
"""

from __future__ import annotations

import os

from cratebox import jsontext
from cratebox.errors import InvalidValue, NotFound, Unsupported, Untrusted
from cratebox.image import decompress, index
from cratebox.image import digest as digests
from cratebox.image import manifest as manifests
from cratebox.image import platform as platforms
from cratebox.image import reference as references
from cratebox.image.archive_file import ArchiveFile, Span, member_name
from cratebox.image.manifest import Descriptor, Index, Manifest
from cratebox.record import Record
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.image.platform import Platform

MAX_DOCUMENTS = 32 << 20  # bytes of all manifests and configs: they are in memory until all images are there
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_LAYERS = {"": _LAYER, "gzip": f"{_LAYER}+gzip", "zstd": f"{_LAYER}+zstd"}


class Found(Record):
    """One image in an archive. `names` are canonical; `called` is what an OCI layout calls it, which may be a tag alone.

    `own`: its manifest is the archive's own; a docker-archive has none, and any manifest of the same config is as good.
    """

    raw_manifest: bytes
    manifest: Manifest
    raw_config: bytes
    names: tuple[str, ...]
    spans: tuple[Span, ...]
    called: tuple[str, ...] = ()
    own: bool = True


def find(opened: ArchiveFile, platform: Platform) -> list[Found]:
    """Return the images that are in it, those for `platform` where there is a choice.

    Raises NotFound, Untrusted, Unsupported.
    """
    if opened.source.kind == "oci" or opened.has("index.json"):
        return _Layout(opened, platform).images()
    return _DockerArchive(opened).images()


class _Reader:
    """Reads documents of an archive, no more of them than memory is given for."""

    def __init__(self, opened: ArchiveFile) -> None:
        self._opened, self._source, self._what = opened, opened.source, opened.what
        self._room = MAX_DOCUMENTS

    def _document(self, span: Span, what: str) -> bytes:
        self._room -= span.size
        if self._room < 0:
            raise Untrusted(f"{self._what}: its manifests and configs have more than {MAX_DOCUMENTS} bytes")
        return span.read(manifests.MAX_DOCUMENT, f"{self._what}: {what}")

    def _listed(self) -> list[dict[str, Any]]:
        """Return the entries of manifest.json."""
        raw = self._document(self._opened.member("manifest.json"), "manifest.json")
        try:
            listed = jsontext.loads(raw)
        except jsontext.JSONError as error:
            raise Untrusted(f"{self._what}: manifest.json: {shown(str(error))}") from None
        if not isinstance(listed, list) or not 0 < len(listed) <= manifests.MAX_LAYERS:
            raise Untrusted(f"{self._what}: manifest.json is not a list of images")
        if not all(isinstance(entry, dict) and isinstance(entry.get("Config"), str) for entry in listed):
            raise Untrusted(f"{self._what}: manifest.json has an image without a config")
        return listed

    def _names(self, entry: dict[str, Any]) -> tuple[str, ...]:
        """Return what manifest.json calls an image."""
        return tuple(self._canonical(name) for name in _texts(entry.get("RepoTags")))

    def _canonical(self, name: str) -> str:
        try:
            return str(references.nameable(name))
        except InvalidValue as error:
            raise Untrusted(f"{self._what}: manifest.json: {error.message}") from None


class _Layout(_Reader):
    """An OCI layout, as a directory or in a tar."""

    def __init__(self, opened: ArchiveFile, platform: Platform) -> None:
        super().__init__(opened)
        self._platform = platform

    def images(self) -> list[Found]:
        top = manifests.parse(self._document(self._opened.member("index.json"), "index.json"), manifests.OCI_INDEX)
        entries = [entry for entry in ([] if isinstance(top, Manifest) else top.manifests) if not _is_attestation(entry)]
        if self._source.tag is not None:
            entries = [entry for entry in entries if self._source.tag in _words(entry)]
        if not entries:
            raise NotFound(f"{self._what}: there is no such image in it")
        by_digest: dict[str, list[Descriptor]] = {}
        for entry in self._of_one_platform(entries):
            by_digest.setdefault(entry.digest, []).append(entry)
        docker = self._docker_names()
        return [self._image(same, docker) for same in by_digest.values()]

    def _of_one_platform(self, entries: list[Descriptor]) -> list[Descriptor]:
        """Some tools write the platforms of an image side by side under one name."""
        by_name: dict[tuple[str, ...], list[Descriptor]] = {}
        for entry in entries:
            by_name.setdefault(_words(entry) or (entry.digest,), []).append(entry)
        kept = []
        for words, same in by_name.items():
            if len({one.digest for one in same}) > 1 and all(one.platform for one in same):
                kept.append(platforms.choose(same, self._platform, f"{self._what}: {shown(words[0])}"))
            else:
                kept += same
        return kept

    def _docker_names(self) -> dict[str, tuple[str, ...]]:
        """Return what a manifest.json beside the index calls the images, by the names of their configs in it."""
        if self._source.kind == "oci" or not self._opened.has("manifest.json"):
            return {}
        return {member_name(entry["Config"]): self._names(entry) for entry in self._listed()}

    def _image(self, same: list[Descriptor], docker: dict[str, tuple[str, ...]]) -> Found:
        raw, document = self._parsed(same[0])
        if isinstance(document, Index):
            there = [entry for entry in document.manifests if self._opened.has(digests.blob_name(entry.digest))]
            raw, document = self._parsed(platforms.choose(there, self._platform, self._what))
        if not isinstance(document, Manifest):
            raise Unsupported(f"{self._what}: an index of indexes")
        if document.config.media_type not in manifests.CONFIG_TYPES:
            raise Unsupported(f"{self._what}: not an image: its config is {shown(document.config.media_type)}")
        words = tuple(dict.fromkeys(word for entry in same for word in _words(entry)))
        full = [self._full(word, same[0].digest, digests.of(raw)) for word in words if _is_full_name(word)]
        return Found(
            raw_manifest=raw,
            manifest=document,
            raw_config=self._document(self._blob(document.config), "the image's config"),
            names=tuple(dict.fromkeys((*full, *docker.get(digests.blob_name(document.config.digest), ())))),
            called=words,
            spans=tuple(self._blob(layer) for layer in document.layers),
        )

    def _full(self, word: str, *own: str) -> str:
        """Return the full name that a word is. Raises Untrusted where its digest is none of the image's `own`."""
        name = references.parse(word)
        if name.digest not in (None, *own):
            raise Untrusted(f"{self._what}: an image is called {name}, but its digest is {own[0]}")
        return str(name)

    def _parsed(self, entry: Descriptor) -> tuple[bytes, Manifest | Index]:
        raw = self._document(self._blob(entry), "a manifest")
        digests.verify(raw, entry.digest, f"{self._what}: a manifest")
        return raw, manifests.parse(raw, entry.media_type)

    def _blob(self, descriptor: Descriptor) -> Span:
        if descriptor.urls and not self._opened.has(digests.blob_name(descriptor.digest)):
            raise Unsupported(f"{self._what}: a layer of it is elsewhere ({shown(descriptor.urls[0])}), and not in the archive")
        span = self._opened.member(digests.blob_name(descriptor.digest))
        if span.size != descriptor.size:
            raise Untrusted(f"{self._what}: blob {descriptor.digest} has {span.size} bytes, not {descriptor.size}")
        return span


class _DockerArchive(_Reader):
    """What `docker save` wrote before Docker 25, and what others write in that form."""

    def __init__(self, opened: ArchiveFile) -> None:
        super().__init__(opened)
        self._digests: dict[tuple[int, str], str] = {}  # of compressed layers, by where they are: each is read once

    def images(self) -> list[Found]:
        return [self._image(entry) for entry in self._listed()]

    def _image(self, entry: dict[str, Any]) -> Found:
        layer_names = _texts(entry.get("Layers"))
        raw_config = self._document(self._opened.member(member_name(entry["Config"])), "the image's config")
        config = manifests.parse_config(raw_config)
        _check_config_name(entry["Config"], raw_config)
        if len(layer_names) != len(config.diff_ids):
            raise Untrusted(f"{self._what}: an image of {len(layer_names)} layers whose config has {len(config.diff_ids)}")
        spans = tuple(self._opened.member(member_name(name)) for name in layer_names)
        layers = [self._describe(span, diff_id) for span, diff_id in zip(spans, config.diff_ids, strict=True)]
        described = Descriptor(media_type=manifests.OCI_CONFIG, digest=digests.of(raw_config), size=len(raw_config))
        manifest = Manifest(media_type=manifests.OCI_MANIFEST, config=described, layers=tuple(layers))
        return Found(
            raw_manifest=manifests.encode(manifest),
            manifest=manifest,
            raw_config=raw_config,
            names=self._names(entry),
            spans=spans,
            own=False,
        )

    def _describe(self, span: Span, diff_id: str) -> Descriptor:
        """A layer that is not compressed has its diff ID for a digest; of another the digest must be found first."""
        kind = decompress.compression(os.pread(span.fd, min(decompress.HEAD, span.size), span.offset))
        if kind not in _LAYERS:
            raise Unsupported(f"{self._what}: a layer compressed with {kind}: crate unpacks tar, tar+gzip and tar+zstd")
        digest = self._digest(span, digests.split(diff_id)[0]) if kind else diff_id
        return Descriptor(media_type=_LAYERS[kind], digest=digest, size=span.size)

    def _digest(self, span: Span, algorithm: str) -> str:
        key = (span.offset, algorithm)
        if key not in self._digests:
            state = digests.new(algorithm)
            for chunk in span.chunks():
                state.update(chunk)
            self._digests[key] = f"{algorithm}:{state.hexdigest()}"
        return self._digests[key]


def _check_config_name(name: str, raw: bytes) -> None:
    """Docker calls the config after its digest; an archive where that is wrong was tampered with or is damaged."""
    encoded = name.rpartition("/")[2].removesuffix(".json")
    if digests.is_digest("sha256:" + encoded):
        digests.verify(raw, "sha256:" + encoded, "the image's config")


def _is_attestation(entry: Descriptor) -> bool:
    """What BuildKit says about how an image was made stands beside it, for no platform."""
    return entry.platform is not None and entry.platform.os == "unknown"


def _words(entry: Descriptor) -> tuple[str, ...]:
    """Return what an entry of an index is called: by containerd and Docker, and by the layout's own annotation."""
    found = (entry.annotations.get(index.IMAGE_NAME, ""), index.name_of(entry))
    return tuple(dict.fromkeys(word for word in found if word))


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > manifests.MAX_LAYERS or not all(isinstance(text, str) for text in value):
        raise Untrusted("manifest.json has a list that is not one of names")
    return tuple(value)


def _is_full_name(name: str) -> bool:
    """Tell whether an annotation is an image's name, and not just a tag or a word, which many tools put there."""
    if "/" not in name and ":" not in name:
        return False
    try:
        references.parse(name)
    except InvalidValue:
        return False
    return True
