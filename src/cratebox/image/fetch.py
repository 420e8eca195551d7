"""HTTP with the rules a registry needs: who may be told what, whose certificate counts, what is tried again.

    Authorization      goes to the origin (scheme, host, port) it was made for, and is gone for good after a redirect away
    redirects          a few, never from https to http, never to a link-local or another cloud metadata address
    TLS                verified with the system's authorities (SSL_CERT_FILE) and those in certs.d/HOST:PORT
    retried            429, 5xx and broken connections, later and later, as Retry-After says where that is bearable

urllib3 does the speaking; it is imported here, and this module only where a registry is asked.
"""

from __future__ import annotations

import random
import ssl
import time
from urllib.parse import urljoin, urlsplit

import urllib3

from cratebox.errors import RegistryError
from cratebox.image import connection
from cratebox.image.connection import Forbidden
from cratebox.image.origin import Origin, is_forbidden, parse_url, redact
from cratebox.image.proxies import proxy_for, through_proxy
from cratebox.image.settings import Settings
from cratebox.image.tls import is_plain, load_certificates, ssl_cause
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from urllib3.response import BaseHTTPResponse

    Body = bytes | Iterable[bytes]

CONNECT_TIMEOUT = 10.0  # seconds
READ_TIMEOUT = 30.0  # seconds without a single byte
BODY_TIMEOUT = 60.0  # seconds for all of a document: a manifest, a config, a token, an error
MAX_REDIRECTS = 5
MAX_WAIT = 60.0  # seconds; a registry that asks for more gets an error instead
_TRIES = 5
_TRIES_UNREACHABLE = 3
_RETRIED = frozenset((408, 429, 500, 502, 503, 504))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_NETWORK_HINT = "check the name, the network and the proxy variables (HTTPS_PROXY, HTTP_PROXY, NO_PROXY)"


class Unreachable(RegistryError):
    """No answer came. `plain`: what answered does not speak TLS, or nothing listens where TLS would be."""

    plain = False


class Reply:
    """A response whose body was not read yet. `foreign`: it came from another origin than was asked first."""

    def __init__(self, response: BaseHTTPResponse, method: str, url: str, foreign: bool) -> None:
        self.response, self.method, self.url, self.foreign = response, method, url, foreign
        self.status: int = response.status

    def header(self, name: str) -> str | None:
        """Return a header's value; several of one name are joined by a comma."""
        return self.response.headers.get(name)

    def body(self, limit: int) -> bytes:
        """Read at most `limit` bytes of the body and let go of the connection. Raises RegistryError for more, or a cut."""
        try:
            content = b"".join(self._chunks(limit + 1))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise RegistryError(f"{self.described}: the answer broke off: {reason(error)}", _NETWORK_HINT) from None
        finally:
            self.close()
        if len(content) > limit:
            raise RegistryError(f"{self.described}: the answer is larger than {limit} bytes")
        return content

    def _chunks(self, most: int) -> list[bytes]:
        chunks, began = [], time.monotonic()
        while most > 0 and (chunk := self.response.read1(min(most, 1 << 20))):
            chunks.append(chunk)
            most -= len(chunk)
            if time.monotonic() - began > BODY_TIMEOUT:  # a document comes whole, or a byte at a time for ever
                raise TimeoutError
        return chunks

    @property
    def described(self) -> str:
        """The method and the redacted URL, for messages."""
        return f"{self.method} {redact(self.url)}"

    def drain(self) -> None:
        """Read a short body to its end, so that the connection can be used again."""
        try:
            self.body(64 << 10)
        except RegistryError:
            pass  # it is closed then, and the next request opens another

    def close(self) -> None:
        """Let go of the connection: back to the pool where the body was read to its end, else closed."""
        if self.response.length_remaining == 0:
            self.response.release_conn()
        else:
            self.response.close()


class Fetcher:
    """Sends requests for one registry: `host` is HOST[:PORT] as the user wrote it, whose certs.d directories count.

    Not for several processes at once: a fork calls `reopen` before it asks anything.
    """

    def __init__(self, host: str, settings: Settings, say: Callable[[str], None] = lambda _text: None) -> None:
        self._host, self._settings, self._say = host, settings, say
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}
        self._pools: dict[Origin, urllib3.HTTPConnectionPool] = {}
        self.own: tuple[Origin, ...] = ()  # origins the user named: only they see our certificate

    def reopen(self, say: Callable[[str], None]) -> None:
        """Forget the connections, which a fork shares with its parent; what was learnt of certificates stays."""
        self._say = say
        self._pools = {}

    def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.close()
        self._pools = {}

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        authorization: str | None = None,
        body: Body | None = None,
        tries: int | None = None,
        foreign: bool = False,
    ) -> Reply:
        """Send a request, follow its redirects, try again what may pass; return the reply, whatever its status.

        A `body` follows no redirect; one that is no bytes has its Content-Length in `headers`, and is iterated for each try.
        `foreign`: `url` is not what was asked first. Raises Unreachable where no answer came, RegistryError for a redirect
        that is refused.
        """
        tries = tries or _TRIES
        attempt = 0
        while True:
            attempt += 1
            try:
                reply = self._follow(method, url, headers, authorization, body, foreign)
            except Unreachable as error:
                if error.plain or attempt >= min(tries, _TRIES_UNREACHABLE) or not _may_pass(error):
                    raise
                wait = backoff(attempt)
            else:
                if reply.status not in _RETRIED or attempt >= tries:
                    return reply
                wait = retry_after(reply.header("Retry-After"))
                if wait > MAX_WAIT:
                    return reply
                wait = wait or backoff(attempt)
                reply.response.close()
                if wait >= 2:
                    self._say(f"{self._host} answers {reply.status}: waiting {wait:.0f} s")
            time.sleep(wait)

    def _follow(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str | None, body: Body | None, foreign: bool
    ) -> Reply:
        first = origin = parse_url(url)
        for _ in range(MAX_REDIRECTS + 1):
            extra = {"Authorization": authorization} if authorization and origin == first else {}
            response = self._send(method, url, origin, {**headers, **extra}, body)
            target = response.headers.get("Location") if response.status in _REDIRECTS else None
            if target is None or body is not None:
                return Reply(response, method, url, foreign)
            response.close()
            url, before = urljoin(url, target), origin
            origin = parse_url(url, f"the redirect of {method} {redact(url)}")
            if origin != before:
                self.check_target(origin, before)
            if origin != first:
                authorization, foreign = None, True  # for good, also where a later redirect leads home
        raise RegistryError(f"{method} {redact(url)}: redirected more than {MAX_REDIRECTS} times")

    def check_target(self, origin: Origin, before: Origin) -> None:
        """Raise RegistryError where a registry at `before` may not send us to `origin`."""
        if origin.scheme == "http" and before.scheme == "https":
            raise RegistryError(f"{before.authority} leads from https to plain http ({origin.authority}); that is refused")
        if is_forbidden(origin.host):
            raise RegistryError(f"{before.authority} leads to {origin.host}, a link-local or metadata address; that is refused")

    def _send(self, method: str, url: str, origin: Origin, headers: Mapping[str, str], body: Body | None) -> BaseHTTPResponse:
        pool, absolute = self._pool(origin)
        parts = urlsplit(url)
        target = url if absolute else (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            return pool.urlopen(
                method,
                target,
                body=body,
                timeout=_timeout(method),
                headers={"User-Agent": "crate", "Accept-Encoding": "identity", **headers},
                redirect=False,
                retries=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError, Forbidden) as error:
            raise self._unreachable(f"{method} {redact(url)}", origin, error) from None

    def _pool(self, origin: Origin) -> tuple[urllib3.HTTPConnectionPool, bool]:
        """Return the connections to `origin`, and whether requests carry the whole URL (plain HTTP through a proxy)."""
        proxy = proxy_for(origin)
        if origin not in self._pools:
            self._pools[origin] = self._new_pool(origin, proxy)
        return self._pools[origin], proxy is not None and origin.scheme == "http"

    def _new_pool(self, origin: Origin, proxy: str | None) -> urllib3.HTTPConnectionPool:
        context = self._context(origin) if origin.scheme == "https" else None
        if proxy is not None:
            return connection.use(through_proxy(origin, proxy, _timeout(), context), named=True)
        # What the user typed may be any address; what a registry names may not.
        named = origin in self.own
        if origin.scheme == "http":
            return connection.use(urllib3.HTTPConnectionPool(origin.host, origin.port, timeout=_timeout(), maxsize=2), named)
        secure = urllib3.HTTPSConnectionPool(origin.host, origin.port, timeout=_timeout(), maxsize=2, ssl_context=context)
        return connection.use(secure, named)

    def _context(self, origin: Origin) -> ssl.SSLContext:
        own = origin in self.own
        key = (origin.authority, own)
        if key not in self._contexts:
            self._contexts[key] = self._new_context(origin, own)
        return self._contexts[key]

    def _new_context(self, origin: Origin, own: bool) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if own and self._host.lower() in self._settings.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # it is the user's own setting
        # As with Docker, an authority trusted for a registry is trusted for its token server and its blob store too.
        for host in dict.fromkeys((self._host, *(each.authority for each in self.own), origin.authority)):
            for directory in self._settings.certificates:
                load_certificates(context, f"{directory}/{host}", identity=own)
        return context

    def _unreachable(self, described: str, origin: Origin, error: Exception) -> RegistryError:
        if isinstance(error, Forbidden):
            return RegistryError(f"{described}: {origin.authority} leads to {error}; that is refused")
        cause = ssl_cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _NotTrusted(
                f"{described}: the certificate of {origin.authority} is not trusted: {shown(cause.verify_message)}",
                f"put its authority into /etc/containers/certs.d/{origin.authority}/ca.crt, or set SSL_CERT_FILE",
            )
        unreachable = Unreachable(f"cannot reach {origin.authority}: {described}: {reason(error)}", _NETWORK_HINT)
        refused = isinstance(error, urllib3.exceptions.NewConnectionError)
        unreachable.plain = origin.scheme == "https" and (is_plain(cause, error) or (refused and origin.port == 443))
        return unreachable


class _NotTrusted(Unreachable):
    """The server's certificate does not verify: asking again changes nothing."""


def _timeout(method: str = "GET") -> urllib3.Timeout:
    patient = method in ("PUT", "PATCH")
    return urllib3.Timeout(connect=CONNECT_TIMEOUT, read=connection.TAKE_TIMEOUT if patient else READ_TIMEOUT)


def transport_errors() -> tuple[type[Exception], ...]:
    """Return what reading a body raises where the connection breaks or stalls."""
    return (urllib3.exceptions.HTTPError, OSError)


def _may_pass(error: Unreachable) -> bool:
    return not isinstance(error, _NotTrusted)


def backoff(attempt: int) -> float:
    """Return how many seconds to wait after the attempt of that number: doubling, with jitter, at most 15."""
    return min(0.25 * 2.0**attempt, 15.0) * (0.5 + random.random() / 2)  # noqa: S311  no secret


def retry_after(value: str | None) -> float:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3: a number or a date), 0 for none."""
    if not value:
        return 0.0
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, float(parsedate_to_datetime(value).timestamp()) - time.time())
    except (ValueError, OverflowError, OSError):
        return 0.0


def reason(error: BaseException) -> str:
    """Return why there was no answer, without the object addresses that urllib3 puts in."""
    if isinstance(error, urllib3.exceptions.ProxyError):
        return f"the proxy failed: {reason(error.original_error)}"
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "the name does not resolve"
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)  # a kind of ConnectTimeoutError to urllib3
    if not refused and isinstance(
        error, (urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.ReadTimeoutError, TimeoutError)
    ):
        return "no answer in time"
    cause = ssl_cause(error) or error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {shown(cause.reason or str(cause))}"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    if isinstance(error, urllib3.exceptions.IncompleteRead):
        return "the connection was cut"
    text = str(error.args[-1]) if error.args else type(error).__name__
    return shown(text)
