"""HTTP with the rules a registry needs: who may be told what, whose certificate counts, what is tried again.

    Authorization      goes to the origin (scheme, host, port) it was made for, and is gone for good after a redirect away
    redirects          a few, never from https to http, never to a link-local or another cloud metadata address
    TLS                verified with the system's authorities (SSL_CERT_FILE) and those in certs.d/HOST:PORT
    retried            429, 5xx and broken connections, later and later, as Retry-After says where that is bearable

urllib3 does the speaking; it is imported here, and this module only where a registry is asked.
"""

from __future__ import annotations

import os
import random
import ssl
import time
from urllib.parse import urljoin

import urllib3

from cratebox.errors import RegistryError
from cratebox.image import asking, connection, tls
from cratebox.image.asking import Reply
from cratebox.image.connection import Forbidden
from cratebox.image.origin import Origin, parse_url, redact, target
from cratebox.image.proxies import proxy_for, through_proxy
from cratebox.image.settings import Settings
from cratebox.image.tls import is_plain, ssl_cause
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from urllib3.response import BaseHTTPResponse

    from cratebox.image.asking import Body

MAX_WAIT = 60.0  # seconds; a registry that asks for more gets an error instead
_TRIES = 5
_TRIES_UNREACHABLE = 3


class Unreachable(RegistryError):
    """No answer came. `plain`: what answered does not speak TLS, or nothing listens where TLS would be."""

    plain = False


class Fetcher:
    """Sends requests for one registry: `host` is HOST[:PORT] as the user wrote it, whose certs.d directories count.

    Not for several processes at once: a fork calls `reopen` before it asks anything.
    """

    def __init__(self, host: str, settings: Settings, say: Callable[[str], None] = lambda _text: None) -> None:
        self._host, self._settings, self._say = host, settings, say
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}
        self._pools: dict[Origin, urllib3.HTTPConnectionPool] = {}
        self._pid = os.getpid()
        self.own: tuple[Origin, ...] = ()  # origins the user named: only they see our certificate

    def reopen(self, say: Callable[[str], None]) -> None:
        """Forget the connections in a fork, which shares them with its parent; what was learnt of certificates stays."""
        self._say = say
        if self._pid != os.getpid():
            self._pid, self._pools = os.getpid(), {}

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
                if reply.status not in asking.RETRIED or attempt >= tries:
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
        for _ in range(asking.MAX_REDIRECTS + 1):
            extra = {"Authorization": authorization} if authorization and origin == first else {}
            response = self._send(method, url, origin, {**headers, **extra}, body)
            target = response.headers.get("Location") if response.status in asking.REDIRECTS else None
            if target is None or body is not None:
                return Reply(response, method, url, foreign)
            response.close()
            url, before = urljoin(url, target), origin
            origin = parse_url(url, f"the redirect of {method} {redact(url)}")
            if origin != before:
                asking.check_target(origin, before)
            if origin != first:
                authorization, foreign = None, True  # for good, also where a later redirect leads home
        raise RegistryError(f"{method} {redact(url)}: redirected more than {asking.MAX_REDIRECTS} times")

    def _send(self, method: str, url: str, origin: Origin, headers: Mapping[str, str], body: Body | None) -> BaseHTTPResponse:
        pool, absolute = self._pool(origin)
        try:
            return pool.urlopen(
                method,
                url if absolute else target(url),
                body=body,
                timeout=_timeout(method),
                headers={**asking.HEADERS, **headers},
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
        if own and tls.may_be_unverified(self._host, self._settings):
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # it is the user's own setting
        return tls.context(origin, own, self._host, self.own, self._settings)

    def _unreachable(self, described: str, origin: Origin, error: Exception) -> RegistryError:
        if isinstance(error, Forbidden):
            return RegistryError(f"{described}: {origin.authority} leads to {error}; that is refused")
        cause = ssl_cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _NotTrusted(
                f"{described}: the certificate of {origin.authority} is not trusted: {shown(cause.verify_message)}",
                f"put its authority into /etc/containers/certs.d/{origin.authority}/ca.crt, or set SSL_CERT_FILE",
            )
        unreachable = Unreachable(f"cannot reach {origin.authority}: {described}: {reason(error)}", asking.NETWORK_HINT)
        refused = isinstance(error, urllib3.exceptions.NewConnectionError)
        unreachable.plain = origin.scheme == "https" and (is_plain(cause, error) or (refused and origin.port == 443))
        return unreachable


class _NotTrusted(Unreachable):
    """The server's certificate does not verify: asking again changes nothing."""


def _timeout(method: str = "GET") -> urllib3.Timeout:
    patient = method in ("PUT", "PATCH")
    return urllib3.Timeout(connect=asking.CONNECT_TIMEOUT, read=connection.TAKE_TIMEOUT if patient else asking.READ_TIMEOUT)


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
