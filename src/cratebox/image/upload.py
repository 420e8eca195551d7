"""What goes into a repository: blobs, of which no byte is sent that is there already, and manifests.

Format: OCI distribution-spec 1.1, "Push", "Mounting a blob from another repository", "Resuming an upload".

    us                                                     the registry
    HEAD  blobs/DIGEST                                     200: it has it; 404:
    POST  blobs/uploads/?mount=DIGEST&from=REPOSITORY      201: it has taken it from there; 202: it wants the bytes, at Location
    PUT   LOCATION?digest=DIGEST, all of the blob          201
      after a cut
    GET   LOCATION                                         204, Range: 0-N: so much has come; anything else: begin anew
    PATCH LOCATION, a chunk from N+1 on                    202, Range: 0-M, until all is there
    PUT   LOCATION?digest=DIGEST                           201

Whole at first: every registry takes that, and it is one request. Chunks, where the line breaks and the registry can go on: each
that was acknowledged is not sent again.
"""

from __future__ import annotations

import os
import time
from urllib.parse import urlencode, urljoin

from cratebox.errors import RegistryError, StorageError
from cratebox.image import digest as digests
from cratebox.image.fetch import MAX_WAIT, Unreachable, backoff, retry_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cratebox.image.asking import Reply
    from cratebox.image.manifest import Descriptor
    from cratebox.image.registry import Registry

    Read = Callable[[int, int], bytes]  # (position, how many) -> bytes of the blob, fewer at its end
    Sent = Callable[[int], None]  # gets the position up to which a blob was sent, which goes back after a cut

_PIECE = 64 << 10  # bytes that are sent at a time, each within the time-out
_CHUNK = 16 << 20  # bytes of one PATCH, save where the registry wants more
_MOST_SOURCES = 4  # repositories that a blob may be mounted from
_CUTS = 5  # in a row, without an acknowledged byte in between
_OCTETS = "application/octet-stream"


class Uploads:
    """Puts blobs and manifests into the repository of `registry`.
    `sources`: by digest, repositories beside it that have a blob.
    """

    def __init__(self, registry: Registry, sources: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._registry = registry
        self._sources = sources or {}
        self._closed: set[str] = set()  # sources that we may not read

    def blob(self, blob: Descriptor, read: Read, sent: Sent = lambda _position: None) -> str:
        """Have `blob` be there; return how it came: "already exists", "mounted from ..." or "pushed". Raises RegistryError."""
        if self._has(blob):
            return "already exists"
        source, location = self._mount(blob)
        if source:
            return f"mounted from {source}"
        _Upload(self._registry, blob, read, sent, self._has).run(location or begin(self._registry, blob))
        return "pushed"

    def there(self, blob: Descriptor) -> str:
        """Return how `blob` is there already, or was taken from a repository beside; "" where it must be sent.
        Raises RegistryError.
        """
        if self._has(blob):
            return "already exists"
        source, location = self._mount(blob)
        if location:
            self._registry.send("DELETE", location, {}).drain()
        return f"mounted from {source}" if source else ""

    def _has(self, blob: Descriptor) -> bool:
        reply = self._registry.request("HEAD", f"blobs/{digests.check(blob.digest)}", {})
        reply.close()
        if reply.status not in (200, 404):
            raise self._registry.refusal(reply, f"blob {blob.digest}")
        return reply.status == 200

    def _mount(self, blob: Descriptor) -> tuple[str, str]:
        """Return the repository that the registry has taken the blob from, or else, if it has begun one,
        where the upload is.
        """
        location = ""
        for source in [each for each in self._sources.get(blob.digest, ()) if each not in self._closed][:_MOST_SOURCES]:
            if location:
                self._registry.send("DELETE", location, {}).drain()
            query = urlencode({"mount": blob.digest, "from": source})
            reply = self._registry.request("POST", f"blobs/uploads/?{query}", {})
            location = _location(reply) if reply.status == 202 else ""
            reply.drain()
            if reply.status == 201:
                return source, ""
            if reply.status in (401, 403):
                self._closed.add(source)
        return "", location

    def manifest(self, raw: bytes, media_type: str, reference: str) -> str | None:
        """Put a manifest or index there by its tag or digest; return the subject that the registry has taken note of, if any.

        Raises RegistryError, also where the registry has made another document of it.
        """
        reply = self._registry.request("PUT", f"manifests/{reference}", {"Content-Type": media_type}, raw)
        if reply.status not in (200, 201, 202):
            raise self._registry.refusal(reply, f"manifest {reference}")
        reply.drain()
        kept = reply.header("Docker-Content-Digest")
        if kept is not None and digests.is_digest(kept):
            digests.verify(raw, kept, f"{reply.described}: the manifest that the registry keeps")
        return reply.header("OCI-Subject")


def reader(fd: int) -> Read:
    """Return what reads a blob from an open file."""
    return lambda position, count: os.pread(fd, count, position)


def begin(registry: Registry, blob: Descriptor) -> str:
    """Begin an upload; return where it goes on. Raises RegistryError."""
    reply = registry.request("POST", "blobs/uploads/", {})
    if reply.status != 202:
        raise registry.refusal(reply, f"blob {blob.digest}")
    reply.drain()
    return _location(reply)


def _location(reply: Reply) -> str:
    target = reply.header("Location")
    if not target:
        raise RegistryError(f"{reply.described}: the answer does not say where the upload is")
    return urljoin(reply.url, target)


def _acknowledged(reply: Reply) -> int | None:
    """Return how many bytes the registry says it has, None where it does not say: "0-0" is what it says of none."""
    first, _, last = (reply.header("Range") or "").lower().removeprefix("bytes=").strip().partition("-")
    if first != "0" or not (last.isascii() and last.isdigit() and len(last) < 20):
        return None
    return int(last) + 1 if int(last) else 0


class _Part:
    """The bytes of a blob from `start` to `end`, read anew each time they are sent."""

    def __init__(self, read: Read, start: int, end: int, sent: Sent) -> None:
        self._read, self._start, self._end, self._sent = read, start, end, sent

    def __iter__(self) -> Iterator[bytes]:
        position = self._start
        while position < self._end:
            piece = self._read(position, min(_PIECE, self._end - position))
            if not piece:
                raise StorageError("a blob has become shorter while it was sent", "crate system check tells which")
            yield piece
            position += len(piece)
            self._sent(position)


class _Upload:
    """One blob on its way."""

    def __init__(
        self, registry: Registry, blob: Descriptor, read: Read, sent: Sent, arrived: Callable[[Descriptor], bool]
    ) -> None:
        self._registry, self._blob = registry, blob
        self._read, self._sent, self._arrived = read, sent, arrived
        self._location = ""
        self._offset = 0  # bytes that the registry has acknowledged
        self._chunk = 0  # bytes of a chunk; none while all goes at once

    def run(self, location: str) -> None:
        """Send the blob to `location`. Raises RegistryError where it is refused, or cut off too often."""
        self._location = location
        cuts = furthest = 0
        while True:
            try:
                if self._step():
                    return
            except _Cut as cut:
                cuts += 1
                if cuts >= _CUTS:
                    told = f"{cut}: the blob was cut off {cuts} times, with {self._offset} of {self._blob.size} bytes sent"
                    raise RegistryError(told, "push again: what has arrived whole is not sent again") from None
                time.sleep(cut.wait or backoff(cuts))
                if self._arrived(self._blob):
                    return  # it was the answer that got lost
                self._find_out()
            if self._offset > furthest:  # and not just further than it fell back to, or it could go on for ever
                cuts, furthest = 0, self._offset

    def _step(self) -> bool:
        """Send all, a chunk, or the word that this was the last; return whether the blob is there."""
        blob = self._blob
        if self._chunk and self._offset < blob.size:
            end = min(self._offset + self._chunk, blob.size)
            reply = self._send("PATCH", self._location, self._offset, end, {"Content-Range": f"{self._offset}-{end - 1}"})
            if reply.status not in (202, 204):
                raise self._judged(reply)
            reply.drain()
            said = _acknowledged(reply)
            self._location = _location(reply)
            if said is not None and said <= self._offset:
                raise _Cut(f"{reply.described}: the registry kept nothing of a chunk")
            self._offset = end if said is None else min(said, blob.size)
            return False
        joint = "&" if "?" in self._location else "?"
        start = self._offset if self._chunk else 0
        reply = self._send("PUT", f"{self._location}{joint}{urlencode({'digest': blob.digest})}", start, blob.size, {})
        if reply.status not in (201, 204):
            raise self._judged(reply)
        reply.drain()
        return True

    def _send(self, method: str, url: str, start: int, end: int, headers: dict[str, str]) -> Reply:
        part = _Part(self._read, start, end, self._sent)
        headers = {"Content-Type": _OCTETS, "Content-Length": str(end - start), **headers}
        try:
            return self._registry.send(method, url, headers, part, tries=1)
        except Unreachable as error:
            raise _Cut(str(error)) from None

    def _judged(self, reply: Reply) -> Exception:
        """Return a _Cut for what may pass, else the refusal. The upload itself may be gone, or not be where we think."""
        if reply.status not in (404, 408, 416, 429) and reply.status < 500:
            return self._registry.refusal(reply, f"blob {self._blob.digest}")
        wait = retry_after(reply.header("Retry-After"))
        if wait > MAX_WAIT:
            return self._registry.refusal(reply, f"blob {self._blob.digest}")
        if reply.status in (404, 416):
            self._location = ""
        reply.drain()
        return _Cut(f"{reply.described}: {reply.status}", wait)

    def _find_out(self) -> None:
        """Ask how far the upload has come; where the registry cannot tell, begin another."""
        reply = self._registry.send("GET", self._location, {}) if self._location else None
        if reply is not None:
            reply.drain()
        said = _acknowledged(reply) if reply is not None and reply.status in (200, 202, 204) else None
        if reply is None or said is None or said > self._blob.size:
            self._location, self._offset, self._chunk = begin(self._registry, self._blob), 0, 0
            return
        least = reply.header("OCI-Chunk-Min-Length") or ""
        self._chunk = max(_CHUNK, int(least) if least.isascii() and least.isdigit() and len(least) < 12 else 0)
        self._location = _location(reply) if reply.header("Location") else self._location
        self._offset = said


class _Cut(Exception):
    """The bytes did not arrive, and may another time: in `wait` seconds, where the registry has said so."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait
