"""Addresses of the web as a registry may name them: which are well-formed, which are one origin, which are forbidden."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from cratebox.errors import RegistryError
from cratebox.record import Record
from cratebox.text import shown

DEFAULT_PORTS = {"http": 80, "https": 443}
# Where clouds answer any process with secrets, besides link-local addresses: AWS over IPv6, Alibaba, Oracle.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last four bytes


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
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise RegistryError(f"{what} is malformed: {shown(url.partition('?')[0].rpartition('@')[2])}") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc or port == 0:
        raise RegistryError(
            f"{what} is not an http or https address: {shown(parts.scheme + '://' + parts.netloc.rpartition('@')[2])}"
        )
    return Origin(scheme=parts.scheme, host=parts.hostname.lower(), port=port or DEFAULT_PORTS[parts.scheme])


def redact(url: str) -> str:
    """Return the URL without user name, query and fragment: signatures and tokens live there."""
    parts = urlsplit(url)
    text = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return text if text.isprintable() else shown(text)


def is_forbidden(address: str) -> bool:
    """Tell whether `address` is an IP address that no registry may send us to: link-local, or a cloud's metadata."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inside = ipaddress.ip_address(ip.packed[12:]) if ip in _NAT64 else ip.ipv4_mapped
        ip = inside or ip
    return ip.is_link_local or ip in _METADATA


def is_loopback(host: str) -> bool:
    """Tell whether `host` (no port, no brackets) is this machine: localhost, 127.0.0.0/8, ::1.

    Not NAME.localhost: some resolvers ask the network for it, and what is plain would go wherever that leads.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
