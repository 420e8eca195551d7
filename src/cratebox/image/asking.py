"""What holds for every request to a registry, whoever sends it: fetch.py with urllib3, or short.py, which asks for one thing.

A reply is read within limits of size and time, and leads nowhere that a registry may not send us.
"""

from __future__ import annotations

import time

from cratebox.errors import RegistryError
from cratebox.image.origin import Origin, is_forbidden, redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Protocol

    Body = bytes | Iterable[bytes]

    class Response(Protocol):
        """An answer whose headers have come."""

        status: int
        headers: Any  # `get` gives the value of a name in any case, several of one name joined by a comma

        @property
        def length_remaining(self) -> int | None:
            """The bytes of the body that have not been read, None where that is not told."""

        def read(self, amount: int) -> bytes:
            """Return so many bytes of the body, fewer at its end."""

        def read1(self, amount: int) -> bytes:
            """Return at most so many bytes of the body, none at its end."""

        def close(self) -> None:
            """Close the connection."""

        def release_conn(self) -> None:
            """Let the connection be used again."""

    class Asker(Protocol):
        """What speaks HTTP with a registry. `own`: origins that the user named; only they see our certificate."""

        own: tuple[Origin, ...]

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
            """See fetch.Fetcher."""

        def reopen(self, say: Callable[[str], None]) -> None:
            """Forget the connections."""

        def close(self) -> None:
            """Close the connections."""


CONNECT_TIMEOUT = 10.0  # seconds
READ_TIMEOUT = 30.0  # seconds without a single byte
BODY_TIMEOUT = 60.0  # seconds for all of a document: a manifest, a config, a token, an error
MAX_REDIRECTS = 5
RETRIED = frozenset((408, 429, 500, 502, 503, 504))
REDIRECTS = frozenset((301, 302, 303, 307, 308))
HEADERS = {"User-Agent": "crate", "Accept-Encoding": "identity"}
NETWORK_HINT = "check the name, the network and the proxy variables (HTTPS_PROXY, HTTP_PROXY, NO_PROXY)"


class Reply:
    """A response whose body was not read yet. `foreign`: it came from another origin than was asked first."""

    def __init__(self, response: Response, method: str, url: str, foreign: bool) -> None:
        self.response, self.method, self.url, self.foreign = response, method, url, foreign
        self.status: int = response.status

    def header(self, name: str) -> str | None:
        """Return a header's value; several of one name are joined by a comma."""
        value: str | None = self.response.headers.get(name)
        return value

    def body(self, limit: int) -> bytes:
        """Read at most `limit` bytes of the body and let go of the connection. Raises RegistryError for more, or a cut."""
        try:
            content = b"".join(self._chunks(limit + 1))
        except _transport_errors() as error:
            from cratebox.image.fetch import reason

            raise RegistryError(f"{self.described}: the answer broke off: {reason(error)}", NETWORK_HINT) from None
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
        """Let go of the connection: it is used again where the body was read to its end, else closed."""
        if self.response.length_remaining == 0:
            self.response.release_conn()
        else:
            self.response.close()


def _transport_errors() -> tuple[type[Exception], ...]:
    from cratebox.image.fetch import transport_errors  # evaluated where something was raised, and only then

    return transport_errors()


def check_target(origin: Origin, before: Origin) -> None:
    """Raise RegistryError where a registry at `before` may not send us to `origin`."""
    if origin.scheme == "http" and before.scheme == "https":
        raise RegistryError(f"{before.authority} leads from https to plain http ({origin.authority}); that is refused")
    if is_forbidden(origin.host):
        raise RegistryError(f"{before.authority} leads to {origin.host}, a link-local or metadata address; that is refused")
