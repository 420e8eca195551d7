"""A file, a directory or a stream that images come in, opened: where its members are.

An archive is hostile, but nothing of it is unpacked here: its members are an index of names to bytes of the one file, links
in it lead from name to name, so no name ever meets the file system. What images it has is archive_images.py's.
"""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue, NotFound, StorageError, Unsupported, Untrusted
from cratebox.image import blobs, decompress, tar
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cratebox.image.store import Store
    from cratebox.image.transport import Source

_CHUNK = 1 << 20
_SCAN = 64 << 10
_MAX_MEMBERS = 100_000
_MAX_LINKS = 8


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
    """What `source` names, or with `stream` (a descriptor, the caller's) what can be read there, open. A context manager.

    `source` says afterwards of which kind it is, where it was given as "archive", which is any of them; `what` is for messages.
    Entering it raises NotFound, Untrusted, Unsupported, StorageError.
    """

    def __init__(self, store: Store, source: Source, stream: int | None = None) -> None:
        self.source, self.what = source, str(source)
        self._store, self._stream = store, stream
        self._fds: list[int] = []
        self._members: dict[str, Span | str] = {}

    def __enter__(self) -> ArchiveFile:
        try:
            self._open()
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

    def _open(self) -> None:
        kind = self.source.kind
        if kind not in ("archive", "oci", "oci-archive", "docker-archive"):
            raise InvalidValue(f"{self.what}: not a file that images come in")
        if kind == "archive" and self._stream is None and os.path.isdir(self.source.path):
            kind = "oci"
        if kind == "oci":
            self._check_directory()
        else:
            self._scan(self._span())
        if kind == "archive":
            kind = self._kind()
        self.source = self.source.replace(kind=kind)

    def _check_directory(self) -> None:
        if not os.path.exists(self.source.path):
            raise NotFound(f"{self.what}: no such directory")
        if not os.path.exists(self.source.path + "/index.json") and os.path.exists(self.source.path + "/manifest.json"):
            raise Unsupported(
                f"{self.what}: it is what skopeo and Podman call dir:, not an OCI layout",
                f"skopeo copy dir:{shown(self.source.path)} oci:LAYOUT:NAME",
            )

    def _kind(self) -> str:
        """Tell what kind of archive it is, from what is in it."""
        if "index.json" in self._members:
            return "oci-archive"
        if "manifest.json" in self._members:
            return "docker-archive"
        if "repositories" in self._members:
            raise Unsupported(f"{self.what}: it was written by a Docker older than 1.10, and nothing in it can be verified")
        raise NotFound(
            f"{self.what}: it has neither an index.json nor a manifest.json, so there is no image in it",
            "crate import makes an image of the files of a root file system",
        )

    def has(self, name: str) -> bool:
        """Tell whether there is a member of this name."""
        if self.source.kind == "oci":
            return os.path.exists(f"{self.source.path}/{name}")
        return name in self._members

    def member(self, name: str) -> Span:
        """Return where the bytes of a member are. Raises NotFound, Untrusted, StorageError."""
        if self.source.kind == "oci":
            return self._file(name)
        for _ in range(_MAX_LINKS):
            found = self._members.get(name)
            if found is None:
                raise NotFound(f"{self.what}: there is no {shown(name)} in it")
            if isinstance(found, Span):
                return found
            name = found
        raise Untrusted(f"{self.what}: its links go in a circle at {shown(name)}")

    def _file(self, name: str = "") -> Span:
        """Open a file of the layout, or the archive. It may be a symlink (some builders make such layouts), since its bytes are
        verified.
        """
        path = os.path.join(self.source.path, name) if name else self.source.path
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"{self.what}: " + (f"there is no {shown(name)} in it" if name else "no such file")) from None
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from None
        self._fds.append(fd)
        info = os.fstat(fd)
        if info.st_mode & 0o170000 != 0o100000:
            raise Untrusted(f"{path} is not a regular file")
        return Span(fd, 0, info.st_size)

    def _span(self) -> Span:
        """Return the archive as bytes of a file that can be read at any place, not compressed as a whole."""
        if self._stream is None:
            span = self._file()
        else:
            info = os.fstat(self._stream)
            if info.st_mode & 0o170000 != 0o100000:
                return self._kept(_read(self._stream))
            start = os.lseek(self._stream, 0, os.SEEK_CUR)
            span = Span(self._stream, start, max(0, info.st_size - start))
        head = os.pread(span.fd, decompress.HEAD, span.offset)
        return self._kept(span.chunks()) if decompress.compression(head) else span

    def _kept(self, chunks: Iterable[bytes]) -> Span:
        """Inflate `chunks` to a file without a name: its members are read at any place, and more than once."""
        fd = self._nameless()
        size = 0
        try:
            space = os.fstatvfs(fd)
            limit = space.f_bavail * space.f_frsize
            for chunk in decompress.chunks(chunks, ""):
                if size + len(chunk) > limit:
                    raise StorageError(f"{self.what}: inflated, it is larger than what the disk has free")
                blobs.write_all(fd, chunk, size)
                size += len(chunk)
        except Untrusted as error:
            raise Untrusted(f"{self.what}: {error.message.replace('the layer', 'the archive')}") from None
        except OSError as error:
            raise blobs.storage_failure(f"cannot keep {self.what} for reading", error) from None
        return Span(fd, 0, size)

    def _nameless(self) -> int:
        self._store.prepare()
        try:
            fd = blobs.nameless(self._store.directory + "/blobs/.partial")
        except OSError as error:
            raise blobs.storage_failure(f"cannot keep {self.what} for reading", error) from None
        self._fds.append(fd)
        return fd

    def _scan(self, span: Span) -> None:
        """Find the members of the archive."""
        reader = _FileReader(span)
        try:
            while (entry := reader.next()) is not None:
                if entry.kind != tar.DIRECTORY and entry.kind != tar.VOLUME:
                    self._add(entry, Span(span.fd, reader.offset, entry.size))
        except Untrusted as error:
            if error.message.startswith(self.what):
                raise
            raise Untrusted(f"{self.what}: {error.message.replace('the layer', 'the archive')}", error.hint) from None

    def _add(self, entry: tar.Entry, span: Span) -> None:
        name = member_name(os.fsdecode(entry.name))
        if name in self._members or len(self._members) >= _MAX_MEMBERS:
            raise Untrusted(f"{self.what}: {shown(name)} is in it twice, or it has more than {_MAX_MEMBERS} members")
        if entry.kind == tar.REGULAR and entry.extents is None:
            self._members[name] = span
        elif entry.kind == tar.SYMLINK:
            self._members[name] = member_name(os.path.join(os.path.dirname(name), os.fsdecode(entry.link)))
        elif entry.kind == tar.LINK:
            self._members[name] = member_name(os.fsdecode(entry.link))
        else:
            raise Untrusted(f"{self.what}: {shown(name)} is neither a file nor a link")


def member_name(name: str) -> str:
    """Return the one form of a name within an archive; it is only ever looked up there."""
    return os.path.normpath("/" + name).lstrip("/")


def _read(fd: int) -> Iterator[bytes]:
    while chunk := os.read(fd, _CHUNK):
        yield chunk


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
