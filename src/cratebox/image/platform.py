"""Platforms: `linux/arm64/v8`, the words of Go's GOOS and GOARCH, and which entry of an index suits one.

Format: OCI image-spec, image-index.md, "platform"; other spellings are understood as containerd understands them.
"""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue, NotFound
from cratebox.record import Record
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cratebox.image.manifest import Descriptor

_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")
_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
}
# What an architecture without a variant means.
_BASE_VARIANT = {"amd64": "v1", "arm": "v7", "arm64": "v8"}


class Platform(Record):
    """What an image's programs are made for. `variant` is empty where it is the architecture's usual one."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def parse(text: str) -> Platform:
    """Return the platform of OS/ARCHITECTURE[/VARIANT]; ARCHITECTURE alone means Linux. Raises InvalidValue."""
    parts = text.lower().split("/")
    if not 1 <= len(parts) <= 3 or not all(part and _WORD.issuperset(part) for part in parts):
        raise InvalidValue(f"not a platform: {shown(text)}", "a platform is OS/ARCHITECTURE[/VARIANT], such as linux/arm64")
    if len(parts) == 1:
        parts = ["linux", *parts] if parts[0] != "linux" else ["linux", host().architecture]
    return normal(*parts)


def normal(system: str, architecture: str, variant: str = "") -> Platform:
    """Return the platform in its one spelling: lower case, Go's names, no variant where it is the usual one."""
    architecture, variant = architecture.lower(), variant.lower()
    architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = variant or implied
    if variant.isdigit():
        variant = "v" + variant
    if variant == _BASE_VARIANT.get(architecture):
        variant = ""
    return Platform(os=system.lower(), architecture=architecture, variant=variant)


def host() -> Platform:
    """Return the platform of this machine's kernel."""
    return normal("linux", os.uname().machine)


def suits(offered: Platform, wanted: Platform) -> int:
    """Return how well programs for `offered` run on `wanted`: 0 not at all, larger is better.

    A processor runs what was made for an older variant of it: arm/v6 on arm/v7.
    """
    offered = normal(offered.os, offered.architecture, offered.variant)
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return 0
    if offered.variant == wanted.variant:
        return 100
    have, most = _level(offered), _level(wanted)
    return have if 0 < have < most else 0


def _level(platform: Platform) -> int:
    variant = platform.variant or _BASE_VARIANT.get(platform.architecture, "")
    digits = variant[1:]
    return int(digits) if variant[:1] == "v" and len(digits) == 1 and digits in "123456789" else 0


def choose(entries: Iterable[Descriptor], platform: Platform, what: str = "the image index") -> Descriptor:
    """Return the entry of an index that suits `platform` best, the first among equals.

    Raises NotFound, with the platforms there are. An index of a single entry that names no platform gives that entry.
    """
    wanted = normal(platform.os, platform.architecture, platform.variant)
    entries = tuple(entries)
    rated = [(suits(entry.platform, wanted), entry) for entry in entries if entry.platform]
    best = max((rate for rate, _ in rated), default=0)
    if best:
        return next(entry for rate, entry in rated if rate == best)
    if len(entries) == 1 and not rated:
        return entries[0]
    # Attestations stand in an index as unknown/unknown; nobody asks for them by platform.
    names = sorted({str(entry.platform) for _, entry in rated if entry.platform and entry.platform.os != "unknown"})
    there = ", ".join(name if name.isprintable() else shown(name) for name in names[:30]) or "none that names its platform"
    raise NotFound(f"{what} has no image for {platform}", f"it has: {there}")
