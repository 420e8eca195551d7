"""A repository of a registry: its manifests, and its blobs as streams that survive a cut. What goes there: upload.py.

Format: OCI distribution-spec 1.1 ("Pull"), which Docker's Registry HTTP API V2 agrees with. What comes back is compared
with the digest and the size that were asked for before anyone sees it; blobs are hashed by who writes them (blobs.py).
"""

from __future__ import annotations

import time

from cratebox.errors import CrateError, RegistryError, Untrusted
from cratebox.image import asking
from cratebox.image import digest as digests
from cratebox.image.manifest import DOCKER_INDEX, DOCKER_MANIFEST, MAX_DOCUMENT, OCI_INDEX, OCI_MANIFEST, Descriptor
from cratebox.image.origin import Origin, is_loopback, parse_url
from cratebox.record import Record
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cratebox.image.asking import Asker, Body, Reply
    from cratebox.image.auth import Credential
    from cratebox.image.reference import Reference
    from cratebox.image.settings import Settings

_ACCEPT = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_INDEX}, {DOCKER_MANIFEST}"
_HUB_HOST = "registry-1.docker.io"
_LEAST_READ, _MOST_READ = 64 << 10, 1 << 20  # bytes
_PATIENCE, _LEAST_RATE = 30.0, 1024  # seconds over which a body must bring so many bytes a second, for it to go on
_CUTS = 5  # in a row, without a byte in between
_CUTS_IN_ALL = 1000


class Resolved(Record):
    """What a name stands for right now: the document's descriptor and its bytes, which have that digest."""

    descriptor: Descriptor
    raw: bytes


class Registry:
    """The repository of `reference`. `say` gets a line where something takes long.

    `actions`: what we are about to do there, in the words of a token's scope: "pull", "pull,push", "pull,delete", none to ask
    who we are. `sources`: repositories beside it that we want to read as well. `given`: a credential that is not looked for.
    `asker`: what speaks with it, fetch.Fetcher where nobody says otherwise.
    After a fork, the child calls `reopen` before anything else.
    """

    def __init__(
        self,
        reference: Reference,
        settings: Settings,
        say: Callable[[str], None] = lambda _text: None,
        *,
        actions: str = "pull",
        sources: tuple[str, ...] = (),
        given: Credential | None = None,
        asker: Asker | None = None,
    ) -> None:
        from cratebox.image.token import Authorizer

        self.reference = reference
        self._settings = settings
        self._fetcher = asker or _fetcher(reference, settings, say)
        own = (f"repository:{reference.repository}:{actions}",) if actions else ()
        scopes = (*own, *(f"repository:{each}:pull" for each in sources))
        access = settings.access
        self._authorizer = Authorizer(self._fetcher, reference, scopes, given or access.credential, access.authfile)
        self._origin: Origin | None = None

    def reopen(self, say: Callable[[str], None]) -> None:
        """Use another `say` from here on, and after a fork new connections; the token and the way to the registry are kept."""
        self._fetcher.reopen(say)

    def close(self) -> None:
        """Close the connections."""
        self._fetcher.close()

    def home(self) -> str:
        """Return the registry's own address, SCHEME://HOST[:PORT]. Raises RegistryError where that cannot be found out."""
        return self._connect().url

    def greet(self) -> bool:
        """Ask the registry whether it is one, and lets us in (distribution-spec, "Determining Support"). Raises RegistryError.

        Return whether it has asked who we are.
        """
        reply = self.send("GET", f"{self._connect().url}/v2/", {})
        if reply.status == 401:
            reply.drain()
            raise self._wrong_password(reply)
        if reply.status != 200:
            raise self.refusal(reply, "an answer")
        reply.drain()
        return self._authorizer.header(self._connect()) is not None

    def _wrong_password(self, reply: Reply) -> RegistryError:
        return RegistryError(
            f"{reply.described}: {reply.status}: the user name or password for {self.reference.registry} was refused",
            self._authorizer.hint,
        )

    def head(self) -> str | None:
        """Return the digest that the name stands for, without fetching (registries count that), None where it is not told.

        Raises RegistryError, NotFound.
        """
        reply = self.request("HEAD", self._manifest_path(), {"Accept": _ACCEPT})
        reply.close()
        if reply.status == 401 and (self._authorizer.header(self._connect()) or "").startswith("Basic "):
            raise self._wrong_password(reply)  # which is not sent a second time: some lock accounts after a few
        if reply.status != 200:
            return None  # a HEAD has no body that would tell why: the GET that follows does
        announced = reply.header("Docker-Content-Digest")
        return announced if announced is not None and digests.is_digest(announced) else None

    def resolve(self) -> Resolved:
        """Fetch the manifest or index that the name stands for. Raises NotFound, RegistryError, Untrusted."""
        return self._fetch_manifest(self._manifest_path(), self.reference.digest, str(self.reference))

    def manifest(self, descriptor: Descriptor) -> Resolved:
        """Fetch the manifest of an index's entry. Raises NotFound, RegistryError, Untrusted."""
        found = self._fetch_manifest(f"manifests/{digests.check(descriptor.digest)}", descriptor.digest, descriptor.digest)
        if len(found.raw) != descriptor.size:
            raise Untrusted(f"{descriptor.digest} has {len(found.raw)} bytes, but the index says {descriptor.size}")
        if found.descriptor.media_type != descriptor.media_type:
            raise Untrusted(
                f"{descriptor.digest} was served as {shown(found.descriptor.media_type)},"
                f" but the index calls it {shown(descriptor.media_type)}"
            )
        return found

    def _manifest_path(self) -> str:
        return f"manifests/{self.reference.digest or self.reference.tag}"

    def _fetch_manifest(self, path: str, expected: str | None, what: str) -> Resolved:
        reply = self.request("GET", path, {"Accept": _ACCEPT})
        if reply.status != 200:
            raise self.refusal(reply, what)
        announced = reply.header("Docker-Content-Digest")
        media_type = (reply.header("Content-Type") or "").partition(";")[0].strip().lower()
        raw = reply.body(MAX_DOCUMENT)
        if announced is not None:
            digests.verify(raw, announced, f"{reply.described}: the manifest")
        if expected is not None:
            digests.verify(raw, expected, f"{reply.described}: the manifest")
        digest = expected or announced or digests.of(raw)
        return Resolved(descriptor=Descriptor(media_type=media_type, digest=digest, size=len(raw)), raw=raw)

    def small_blob(self, descriptor: Descriptor, limit: int) -> bytes:
        """Fetch a blob of at most `limit` bytes whole, verified. Raises RegistryError, Untrusted."""
        if descriptor.size > limit:
            raise Untrusted(f"{descriptor.digest} has {descriptor.size} bytes; more than {limit} are refused here")
        content = b"".join(self.blob(descriptor))
        digests.verify(content, descriptor.digest, "the blob")
        return content

    def blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """Yield a blob's bytes from `offset` to the end in chunks, going on by Range where the connection breaks.

        Exactly `descriptor.size` bytes in all; they are not hashed here. Raises Untrusted for any other length,
        RegistryError where the registry refuses or is cut off too often.
        """
        from cratebox.image.fetch import backoff

        position, in_a_row, in_all = offset, 0, 0
        while position < descriptor.size:
            reply = self._open_blob(descriptor, position)
            start = position
            try:
                for chunk in _body(reply, descriptor, position):
                    position += len(chunk)
                    yield chunk
            except _Cut as cut:
                in_a_row = 1 if position > start else in_a_row + 1
                in_all += 1
                if in_a_row >= _CUTS or in_all >= _CUTS_IN_ALL:
                    raise RegistryError(
                        f"{reply.described}: cut off after {position} of {descriptor.size} bytes: {cut}",
                        "what has come is kept; pull again to go on from there",
                    ) from None
                time.sleep(backoff(in_a_row))
            finally:
                reply.close()

    def _open_blob(self, descriptor: Descriptor, position: int) -> Reply:
        headers = {"Range": f"bytes={position}-"} if position else {}
        reply = self.request("GET", f"blobs/{digests.check(descriptor.digest)}", headers)
        if reply.status == 416:
            reply.close()
            raise Untrusted(f"{reply.described}: the registry's blob ends before byte {position} of {descriptor.size}")
        if reply.status not in (200, 206) or (reply.status == 206 and not position):
            raise self.refusal(reply, f"blob {descriptor.digest}")
        try:
            _check_length(reply, descriptor, position)
        except BaseException:
            reply.close()
            raise
        return reply

    def request(self, method: str, path: str, headers: dict[str, str], body: Body | None = None) -> Reply:
        """Ask the repository for `path`; return the reply, whatever its status. Raises RegistryError."""
        return self.send(method, f"{self._connect().url}/v2/{self.reference.repository}/{path}", headers, body)

    def send(
        self, method: str, url: str, headers: dict[str, str], body: Body | None = None, *, tries: int | None = None
    ) -> Reply:
        """Ask for `url`, in the repository or where it has led us; return the reply, whatever its status.

        Elsewhere than at the registry itself nobody is told who we are. A `body` is iterated anew each time it is sent;
        `tries`: how often what may pass is tried, if not as often as usual. Raises RegistryError.
        """
        for _ in range(asking.MAX_REDIRECTS + 1):
            reply = self._send(method, url, headers, body, tries)
            target = reply.header("Location") if body is not None and reply.status in (307, 308) else None
            if target is None:
                return reply
            reply.drain()
            from urllib.parse import urljoin

            url = urljoin(reply.url, target)
        raise RegistryError(f"{reply.described}: redirected more than {asking.MAX_REDIRECTS} times")

    def _send(self, method: str, url: str, headers: dict[str, str], body: Body | None, tries: int | None) -> Reply:
        """Answer a challenge, and once more where the token has run out meanwhile."""
        home, origin = self._connect(), parse_url(url, f"where {self.reference.registry} leads")
        if origin != home:
            asking.check_target(origin, home)
            return self._fetcher.request(method, url, headers, body=body, tries=tries, foreign=True)
        reply = self._fetcher.request(method, url, headers, authorization=self._authorizer.header(home), body=body, tries=tries)
        # A challenge counts only from the registry itself: elsewhere it would draw the password to another host.
        if reply.status == 401 and not reply.foreign and self._answer(reply, home):
            reply.drain()
            again = self._authorizer.header(home)
            reply = self._fetcher.request(method, url, headers, authorization=again, body=body, tries=tries)
        return reply

    def _answer(self, reply: Reply, origin: Origin) -> bool:
        try:
            return self._authorizer.answer(reply, origin)
        except BaseException:
            reply.close()
            raise

    def refusal(self, reply: Reply, what: str) -> CrateError:
        """Return the error for a reply that has not given, or not taken, `what`."""
        from cratebox.image import refusal

        return refusal.of(reply, self.reference, what, self._authorizer.hint if reply.status in (401, 403) else None)

    def _connect(self) -> Origin:
        """Return where the registry is: https, or plain http where that is allowed and https does not answer."""
        if self._origin is None:
            host = _HUB_HOST if self.reference.registry == "docker.io" else self.reference.registry
            secure = parse_url(f"https://{host}")
            if self._may_be_plain(secure.host):
                plain = parse_url(f"http://{host}")
                self._fetcher.own = (secure, plain)
                self._origin = self._probe(secure, plain)
            else:
                self._fetcher.own = (secure,)
                self._origin = secure
        return self._origin

    def _may_be_plain(self, host: str) -> bool:
        if self._settings.access.verify:
            return False
        return is_loopback(host) or self.reference.registry.lower() in self._settings.insecure

    def _probe(self, secure: Origin, plain: Origin) -> Origin:
        if is_loopback(secure.host):
            from cratebox.image.greeting import speaks_tls

            if (tls := speaks_tls(secure)) is not None:
                return secure if tls else plain
        from cratebox.image.fetch import Unreachable

        try:
            self._fetcher.request("GET", f"https://{secure.authority}/v2/", {}, tries=1).response.close()
        except Unreachable as error:
            if error.plain:
                return plain
            raise
        return secure


def _fetcher(reference: Reference, settings: Settings, say: Callable[[str], None]) -> Asker:
    from cratebox.image.fetch import Fetcher

    return Fetcher(reference.registry, settings, say)


class _Cut(Exception):
    """The connection ended or stalled before the body did."""


def _check_length(reply: Reply, descriptor: Descriptor, position: int) -> None:
    """Compare what the headers announce with what the manifest says, before any byte is written."""
    if reply.header("Content-Encoding") not in (None, "identity"):
        raise RegistryError(f"{reply.described}: the blob was served in the encoding {shown(reply.header('Content-Encoding'))}")
    expected = descriptor.size - (position if reply.status == 206 else 0)
    announced = reply.header("Content-Length")
    if announced is not None and announced.strip() != str(expected):
        raise Untrusted(f"{reply.described}: {shown(announced)} bytes are announced, but by the manifest it is {expected}")
    if reply.status == 206:
        span = (reply.header("Content-Range") or "").lower().removeprefix("bytes").strip()
        if span.partition("/")[0] != f"{position}-{descriptor.size - 1}":
            raise RegistryError(f"{reply.described}: asked for bytes from {position}, got the range {shown(span)}")


def _body(reply: Reply, descriptor: Descriptor, position: int) -> Iterator[bytes]:
    """Yield the bytes from `position` on; a server that ignored Range sends all again, of which the known part is dropped."""
    from cratebox.image.fetch import reason, transport_errors

    left = descriptor.size - position
    drop = position if reply.status == 200 else 0
    amount = _LEAST_READ
    pace = _Pace(reply)
    while left:
        before = time.monotonic()
        try:
            chunk = _some(reply, min(amount, left + drop))
        except transport_errors() as error:
            raise _Cut(reason(error)) from None
        if not chunk:
            raise _Cut("the connection was closed")
        pace.came(len(chunk))
        # Large reads are cheap, small ones show progress on a slow line and lose less where it breaks.
        took = time.monotonic() - before
        amount = min(amount * 2, _MOST_READ) if took < 0.1 else max(amount // 2, _LEAST_READ) if took > 1 else amount
        if drop:
            dropped = min(drop, len(chunk))
            chunk, drop = chunk[dropped:], drop - dropped
        left -= len(chunk)
        if chunk:
            if not left:
                _check_end(reply, descriptor)
            yield chunk


def _some(reply: Reply, amount: int) -> bytes:
    """Return `amount` bytes of the body, or those that have come within a second, at least one; none at its end."""
    parts, there, began = [], 0, time.monotonic()
    while there < amount and (part := reply.response.read1(amount - there)):
        parts.append(part)
        there += len(part)
        if time.monotonic() - began > 1:
            break
    return b"".join(parts)


class _Pace:
    """Ends a body that comes a byte at a time, each within the time-out: it would hold a pull for ever."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._began, self._bytes = time.monotonic(), 0

    def came(self, count: int) -> None:
        """Count what has come. Raises RegistryError where it is too little for too long."""
        self._bytes += count
        now = time.monotonic()
        if now - self._began < _PATIENCE:
            return
        if self._bytes < _PATIENCE * _LEAST_RATE:
            self._reply.close()
            raise RegistryError(
                f"{self._reply.described}: it sends less than {_LEAST_RATE} bytes a second", "pull again: it goes on from there"
            )
        self._began, self._bytes = now, 0


def _check_end(reply: Reply, descriptor: Descriptor) -> None:
    """Where no length was announced, see that nothing follows the last byte."""
    from cratebox.image.fetch import transport_errors

    if reply.response.length_remaining == 0:
        return
    try:
        more = reply.response.read(1)
    except transport_errors():
        return
    if more:
        raise Untrusted(f"{reply.described}: more bytes come than the {descriptor.size} of the manifest")
