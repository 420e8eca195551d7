"""An open source of images from files: where its members are, and what images it has.

Formats: OCI image-spec, image-layout.md; for docker-archive, manifest.json with [{"Config": NAME, "Layers": [NAME...],
"RepoTags": [...]}] beside the files it names (Docker's image-spec v1.2, "Combined Image JSON + Filesystem Changeset Format").

An archive is hostile, but nothing of it is unpacked here: its members are an index of names to bytes of the one file, links
in it lead from name to name, so no name ever meets the file system. What is read is verified as if a registry had sent it.
"""

from __future__ import annotations

import os

from cratebox import jsontext
from cratebox.errors import InvalidValue, NotFound, StorageError, Unsupported, Untrusted
from cratebox.image import blobs, decompress, index, tar
from cratebox.image import digest as digests
from cratebox.image import manifest as manifests
from cratebox.image import platform as platforms
from cratebox.image import reference as references
from cratebox.image.manifest import Descriptor, Manifest
from cratebox.record import Record
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from cratebox.image.platform import Platform
    from cratebox.image.store import Store
    from cratebox.image.transport import Source

_CHUNK = 1 << 20
_SCAN = 64 << 10
_MAX_MEMBERS = 100_000
_MAX_LINKS = 8
_LAYER, _LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip"
_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"


class Found(Record):
    """One image in an archive: its documents, what it is called there, and where the blobs of its layers are."""

    raw_manifest: bytes
    manifest: Manifest
    raw_config: bytes
    names: tuple[str, ...]
    spans: tuple[Span, ...]
    called: tuple[str, ...] = ()  # in an OCI layout, where a name may be a tag alone


class Span:
    """Some bytes of an open file."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self.fd, self.offset, self.size = fd, offset, size

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """Yield the bytes from `start` to the end. Ends early where the file is cut short."""
        position, end = self.offset + start, self.offset + self.size
        while position < end:
            chunk = os.pread(self.fd, min(_CHUNK, end - position), position)
            if not chunk:
                return
            yield chunk
            position += len(chunk)

    def read(self, limit: int, what: str) -> bytes:
        """Return all of it. Raises Untrusted where that is more than `limit` bytes."""
        if self.size > limit:
            raise Untrusted(f"{what} has {self.size} bytes; more than {limit} are refused")
        return b"".join(self.chunks())


class ArchiveFile:
    """A source that is open: where its members are, and what images it has. A context manager."""

    def __init__(self, store: Store, source: Source) -> None:
        self._source = source
        self._fds: list[int] = []
        self._members: dict[str, Span | str] = {}
        self._store = store

    def __enter__(self) -> ArchiveFile:
        try:
            if self._source.kind != "oci":
                self._scan()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files. A second call does nothing."""
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    def images(self, platform: Platform) -> list[Found]:
        """Return the images that the source names, for `platform` where there is a choice."""
        if self._source.kind == "docker-archive":
            return self._docker_images()
        if self._source.kind in ("oci", "oci-archive"):
            return self._oci_images(platform)
        raise InvalidValue(f"{self._source}: not a file that images come in")

    # Members: of a directory, or of a tar file.

    def _member(self, name: str) -> Span:
        if self._source.kind == "oci":
            return self._file(f"{self._source.path}/{name}")
        for _ in range(_MAX_LINKS):
            found = self._members.get(name)
            if found is None:
                raise NotFound(f"{self._source}: there is no {shown(name)} in it")
            if isinstance(found, Span):
                return found
            name = found
        raise Untrusted(f"{self._source}: its links go in a circle at {shown(name)}")

    def _file(self, path: str) -> Span:
        """Open a file of the layout. It may be a symlink (some builders make such layouts), since its bytes are verified."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"{self._source}: there is no {path}") from None
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from None
        self._fds.append(fd)
        info = os.fstat(fd)
        if info.st_mode & 0o170000 != 0o100000:
            raise Untrusted(f"{path} is not a regular file")
        return Span(fd, 0, info.st_size)

    def _scan(self) -> None:
        """Find the members of the archive; one that is compressed as a whole is first inflated to a nameless file."""
        span = self._file(self._source.path)
        head = os.pread(span.fd, 4, 0)
        if decompress.is_compressed(head):
            span = self._inflate(span)
        reader = _FileReader(span)
        while (entry := reader.next()) is not None:
            if entry.kind == tar.DIRECTORY or entry.kind == tar.VOLUME:
                continue
            name = _member_name(os.fsdecode(entry.name))
            if name in self._members or len(self._members) >= _MAX_MEMBERS:
                raise Untrusted(f"{self._source}: {shown(name)} is in it twice, or it has more than {_MAX_MEMBERS} members")
            if entry.kind == tar.REGULAR and entry.extents is None:
                self._members[name] = Span(span.fd, reader.offset, entry.size)
            elif entry.kind == tar.SYMLINK:
                self._members[name] = _member_name(os.path.join(os.path.dirname(name), os.fsdecode(entry.link)))
            elif entry.kind == tar.LINK:
                self._members[name] = _member_name(os.fsdecode(entry.link))
            else:
                raise Untrusted(f"{self._source}: {shown(name)} is neither a file nor a link")

    def _inflate(self, span: Span) -> Span:
        self._store.prepare()
        directory = self._store.directory + "/blobs/.partial"
        try:
            fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            self._fds.append(fd)
            space = os.fstatvfs(fd)
            size, limit = 0, space.f_bavail * space.f_frsize
            for chunk in decompress.chunks(span.chunks(), ""):
                if size + len(chunk) > limit:
                    raise StorageError(f"{self._source}: inflated, it is larger than what the disk has free")
                blobs.write_all(fd, chunk, size)
                size += len(chunk)
        except OSError as error:
            raise blobs.storage_failure(f"cannot inflate {self._source}", error) from None
        return Span(fd, 0, size)

    # The OCI layout.

    def _oci_images(self, platform: Platform) -> list[Found]:
        raw = self._member("index.json").read(manifests.MAX_DOCUMENT, "index.json")
        top = manifests.parse(raw, manifests.OCI_INDEX)
        entries = [] if isinstance(top, Manifest) else list(top.manifests)
        if self._source.tag is not None:
            entries = [entry for entry in entries if index.name_of(entry) == self._source.tag]
        if not entries:
            raise NotFound(f"{self._source}: there is no such image in it")
        by_digest: dict[str, list[Descriptor]] = {}
        for entry in entries:
            by_digest.setdefault(entry.digest, []).append(entry)
        return [self._oci_image(same, platform) for same in by_digest.values()]

    def _oci_image(self, same: list[Descriptor], platform: Platform) -> Found:
        document, raw = self._document(same[0])
        if not isinstance(document, Manifest):
            document, raw = self._document(platforms.choose(document.manifests, platform))
        if not isinstance(document, Manifest):
            raise Unsupported(f"{self._source}: an index of indexes")
        names = [index.name_of(other) for other in same]
        raw_config = self._blob(document.config).read(manifests.MAX_DOCUMENT, "the image's config")
        return Found(
            raw_manifest=raw,
            manifest=document,
            raw_config=raw_config,
            names=tuple(name for name in names if _is_full_name(name)),
            called=tuple(name for name in names if name),
            spans=tuple(self._blob(layer) for layer in document.layers),
        )

    def _document(self, entry: Descriptor) -> tuple[Any, bytes]:
        raw = self._blob(entry).read(manifests.MAX_DOCUMENT, "a manifest")
        digests.verify(raw, entry.digest, f"{self._source}: a manifest")
        return manifests.parse(raw, entry.media_type), raw

    def _blob(self, descriptor: Descriptor) -> Span:
        algorithm, encoded = digests.split(descriptor.digest)
        span = self._member(f"blobs/{algorithm}/{encoded}")
        if span.size != descriptor.size:
            raise Untrusted(f"{self._source}: blob {descriptor.digest} has {span.size} bytes, not {descriptor.size}")
        return span

    # What `docker save` writes.

    def _docker_images(self) -> list[Found]:
        raw = self._member("manifest.json").read(manifests.MAX_DOCUMENT, "manifest.json")
        try:
            listed = jsontext.loads(raw)
        except jsontext.JSONError as error:
            raise Untrusted(f"{self._source}: manifest.json: {shown(str(error))}") from None
        if not isinstance(listed, list) or not 0 < len(listed) <= manifests.MAX_LAYERS:
            raise Untrusted(f"{self._source}: manifest.json is not a list of images")
        return [self._docker_image(entry) for entry in listed]

    def _docker_image(self, entry: Any) -> Found:
        if not isinstance(entry, dict) or not isinstance(entry.get("Config"), str):
            raise Untrusted(f"{self._source}: manifest.json has an image without a config")
        layer_names, tags = _texts(entry.get("Layers")), _texts(entry.get("RepoTags"))
        raw_config = self._member(_member_name(entry["Config"])).read(manifests.MAX_DOCUMENT, "the image's config")
        config = manifests.parse_config(raw_config)
        _check_config_name(entry["Config"], raw_config)
        if len(layer_names) != len(config.diff_ids):
            raise Untrusted(f"{self._source}: an image of {len(layer_names)} layers whose config has {len(config.diff_ids)}")
        spans = tuple(self._member(_member_name(name)) for name in layer_names)
        layers = [_describe(span, diff_id) for span, diff_id in zip(spans, config.diff_ids, strict=True)]
        described = Descriptor(media_type=manifests.OCI_CONFIG, digest=digests.of(raw_config), size=len(raw_config))
        document = {
            "schemaVersion": 2,
            "mediaType": manifests.OCI_MANIFEST,
            "config": _plain(described),
            "layers": [_plain(layer) for layer in layers],
        }
        raw = jsontext.dumps(document).encode()
        manifest = Manifest(media_type=manifests.OCI_MANIFEST, config=described, layers=tuple(layers))
        return Found(raw_manifest=raw, manifest=manifest, raw_config=raw_config, names=tags, spans=spans)


class _FileReader(tar.Reader):
    """Reads the headers of a tar file and seeks over the data."""

    def __init__(self, span: Span) -> None:
        self._span, self._at = span, 0
        super().__init__(self._blocks())

    @property
    def offset(self) -> int:
        """Where in the file the data of the current member begins."""
        return self._span.offset + self._at - (len(self._buffer) - self._position)

    def _blocks(self) -> Iterator[bytes]:
        while chunk := os.pread(self._span.fd, min(_SCAN, self._span.size - self._at), self._span.offset + self._at):
            self._at += len(chunk)
            yield chunk

    def _skip(self, count: int) -> None:
        held = len(self._buffer) - self._position
        if count <= held:
            self._position += count
            return
        self._buffer, self._position = b"", 0
        self._at += count - held
        if self._at > self._span.size:
            raise Untrusted("the archive is cut short")


def _describe(span: Span, diff_id: str) -> Descriptor:
    """A layer that is not compressed has its diff ID for a digest; of another the digest must be found first."""
    head = os.pread(span.fd, min(4, span.size), span.offset)
    if not decompress.is_compressed(head):
        return Descriptor(media_type=_LAYER, digest=diff_id, size=span.size)
    state = digests.hasher(diff_id)
    for chunk in span.chunks():
        state.update(chunk)
    kind = _LAYER_GZIP if decompress.is_gzip(head) else _LAYER_ZSTD
    return Descriptor(media_type=kind, digest=f"{digests.split(diff_id)[0]}:{state.hexdigest()}", size=span.size)


def _plain(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}


def _check_config_name(name: str, raw: bytes) -> None:
    """Docker calls the config after its digest; an archive where that is wrong was tampered with or is damaged."""
    encoded = name.rpartition("/")[2].removesuffix(".json")
    if digests.is_digest("sha256:" + encoded):
        digests.verify(raw, "sha256:" + encoded, "the image's config")


def _member_name(name: str) -> str:
    """Return the one form of a name within the archive; it is only ever looked up there."""
    return os.path.normpath("/" + name).lstrip("/")


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
