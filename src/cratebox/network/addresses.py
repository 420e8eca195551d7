"""IP addresses and ranges of them as text, bytes and numbers; hardware addresses. `ipaddress` costs 6 ms to import."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from cratebox.errors import InvalidValue
from cratebox.record import Record


class Range(Record):
    """The addresses from `first` on whose upper `prefix` bits are the same."""

    family: int
    first: int
    prefix: int

    @property
    def size(self) -> int:
        """How many addresses it has."""
        return 1 << (bits(self.family) - self.prefix)

    @property
    def last(self) -> int:
        return self.first + self.size - 1

    def __contains__(self, address: int) -> bool:
        return self.first <= address <= self.last

    def __str__(self) -> str:
        return f"{text(self.family, self.first)}/{self.prefix}"

    def overlaps(self, other: Range) -> bool:
        """Whether some address is in both."""
        return self.family == other.family and self.first <= other.last and other.first <= self.last


def bits(family: int) -> int:
    """Return how many bits an address has."""
    return 32 if family == AF_INET else 128


def packed(address: str) -> bytes:
    """Return an address as the kernel has it, 4 or 16 bytes. Raises InvalidValue."""
    try:
        return inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except (OSError, ValueError):
        raise InvalidValue(f"{address!r} is not an IP address") from None


def parse(address: str) -> tuple[int, int]:
    """Return the family and the number of an address. Raises InvalidValue."""
    raw = packed(address)
    return AF_INET if len(raw) == 4 else AF_INET6, int.from_bytes(raw, "big")


def text(family: int, number: int) -> str:
    """Return an address as people write it."""
    return inet_ntop(family, number.to_bytes(bits(family) >> 3, "big"))


def from_packed(raw: bytes) -> str:
    """Return an address of 4 or 16 bytes as people write it."""
    return inet_ntop(AF_INET if len(raw) == 4 else AF_INET6, raw)


def parse_range(words: str) -> Range:
    """Return the range that "10.90.0.0/24" is. Raises InvalidValue, also where bits below the prefix are set."""
    address, slash, length = words.partition("/")
    family, number = parse(address)
    if not slash or not length.isdecimal() or not length.isascii() or int(length) > bits(family):
        raise InvalidValue(f"{words!r} is not a subnet", "a subnet is written as 10.90.7.0/24 or fd00:7::/64")
    mask = (1 << (bits(family) - int(length))) - 1
    if number & mask:
        right = text(family, number & ~mask)
        raise InvalidValue(f"subnet {words}: there are bits of the host in its address", f"write {right}/{length}")
    return Range(family, number, int(length))


def given_out(subnet: Range, part: Range) -> tuple[int, int]:
    """Return the first and the last address of `part` that an interface on `subnet` can have:
    not the subnet's own, nor broadcast.
    """
    return max(part.first, subnet.first + 1), min(part.last, subnet.last - 1 if subnet.family == AF_INET else subnet.last)


def parse_mac(words: str) -> bytes:
    """Return a hardware address of six bytes, that of one interface. Raises InvalidValue."""
    parts = words.replace("-", ":").split(":")
    try:
        raw = bytes(int(part, 16) for part in parts if len(part) == 2)
    except ValueError:
        raw = b""
    if len(raw) != 6 or len(parts) != 6:
        raise InvalidValue(f"{words!r} is not a hardware address", "it is written as 02:42:0a:5a:00:02")
    if raw[0] & 1 or not any(raw):
        raise InvalidValue(f"{words} is not the hardware address of an interface", "its first byte must be even: 02:...")
    return raw


def mac_of(address: str) -> str:
    """Return the hardware address that goes with an IP address: 02:42 and its last four bytes, as Docker makes it."""
    return "02:42:" + packed(address)[-4:].hex(":")
