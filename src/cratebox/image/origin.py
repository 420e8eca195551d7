"""Addresses of the web as a registry may name them: which are well-formed, which are one origin, which are forbidden."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton  # socket takes longer to import than what is asked here takes to come

from cratebox.errors import RegistryError
from cratebox.record import Record
from cratebox.text import shown

DEFAULT_PORTS = {"http": 80, "https": 443}
# Where clouds answer any process with secrets, besides link-local addresses: AWS over IPv6, Alibaba, Oracle.
_METADATA = frozenset(
    (inet_pton(AF_INET6, "fd00:ec2::254"), inet_pton(AF_INET, "100.100.100.200"), inet_pton(AF_INET, "192.0.0.192"))
)
# Prefixes of IPv6 addresses with an IPv4 address in their last four bytes: of NAT64 (RFC 6052), and mapped (RFC 4291, 2.5.5.2).
_NAT64, _MAPPED = inet_pton(AF_INET6, "64:ff9b::")[:12], inet_pton(AF_INET6, "::ffff:0:0")[:12]


class Origin(Record):
    """Where a request goes: what an Authorization belongs to."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """HOST, or HOST:PORT where the port is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """SCHEME://AUTHORITY."""
        return f"{self.scheme}://{self.authority}"


def parse_url(url: str, what: str = "the URL") -> Origin:
    """Return the origin of an http(s) URL. Raises RegistryError for any other, one with a user name, or an ambiguous one.

    Python's parser drops tabs and newlines and takes a backslash for a letter; other readers do not.
    """
    if any(character <= " " or character > "~" or character == "\\" for character in url):
        raise RegistryError(f"{what} is malformed: {shown(url.partition('?')[0])}")
    scheme, authority, _ = _split(url)
    host, port = _host_and_port(authority)
    if port is None or ("@" not in authority and not _is_host(host)):
        raise RegistryError(f"{what} is malformed: {shown(url.partition('?')[0].rpartition('@')[2])}")
    if scheme not in DEFAULT_PORTS or not host or "@" in authority or port == 0:
        raise RegistryError(f"{what} is not an http or https address: {shown(scheme + '://' + authority.rpartition('@')[2])}")
    return Origin(scheme=scheme, host=host.strip("[]").lower(), port=DEFAULT_PORTS[scheme] if port < 0 else port)


def _split(url: str) -> tuple[str, str, str]:
    """Return scheme, authority and the rest of a URL (RFC 3986, 3); of what is none, the text as the rest."""
    scheme, found, rest = url.partition("://")
    if not found or not scheme.isalpha():
        return "", "", url
    end = min((place for place in map(rest.find, "/?#") if place >= 0), default=len(rest))
    return scheme.lower(), rest[:end], rest[end:]


def _host_and_port(authority: str) -> tuple[str, int | None]:
    """Return the host, an IPv6 address in its brackets, and the port: -1 where there is none, None for what cannot be one."""
    head, colon, port = authority.rpartition(":")
    if not colon or (authority.startswith("[") and authority.endswith("]")):
        return authority, -1
    if not port:
        return head, -1
    return head, int(port) if len(port) < 6 and port.isascii() and port.isdigit() and int(port) < 1 << 16 else None


def _is_host(text: str) -> bool:
    if text.startswith("[") and text.endswith("]"):
        address, _, zone = text[1:-1].partition("%")
        return len(_packed(address)) == 16 and "[" not in zone and "]" not in zone
    return not any(character in text for character in ":[]")


def target(url: str) -> str:
    """Return what a request names of `url`: its path and query."""
    rest = _split(url)[2].partition("#")[0]
    return rest if rest.startswith("/") else "/" + rest


def redact(url: str) -> str:
    """Return the URL without user name, query and fragment: signatures and tokens live there."""
    scheme, authority, rest = _split(url)
    text = f"{scheme}://{authority.rpartition('@')[2]}{rest.partition('#')[0].partition('?')[0]}"
    return text if text.isprintable() else shown(text)


def is_forbidden(address: str) -> bool:
    """Tell whether `address` is an IP address that no registry may send us to: link-local, or a cloud's metadata."""
    packed = _packed(address.partition("%")[0])
    if packed[:12] in (_NAT64, _MAPPED):
        packed = packed[12:]
    link_local = packed[:2] == b"\xa9\xfe" if len(packed) == 4 else packed[:1] == b"\xfe" and packed[1] & 0xC0 == 0x80
    return link_local or packed in _METADATA


def is_loopback(host: str) -> bool:
    """Tell whether `host` (no port, no brackets) is this machine: localhost, 127.0.0.0/8, ::1.

    Not NAME.localhost: some resolvers ask the network for it, and what is plain would go wherever that leads.
    """
    if host == "localhost":
        return True
    packed = _packed(host)
    return packed[:1] == b"\x7f" if len(packed) == 4 else packed == inet_pton(AF_INET6, "::1")


def _packed(address: str) -> bytes:
    """Return the bytes of an IP address, none for what is no such thing."""
    for family in (AF_INET, AF_INET6):
        try:
            return inet_pton(family, address)
        except (OSError, ValueError):  # ValueError: a zero byte
            continue
    return b""
