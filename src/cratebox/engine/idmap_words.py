"""idmap=: which IDs a mount's files have for the container, in Podman's words: uids=0-1000-10#10-11-10;gids=0-100-10.

Of each triplet the first number is an ID on the disk, the second the ID of this machine that it is shown as,
the third how many.
"""

from __future__ import annotations

from cratebox.engine.words import shown
from cratebox.errors import InvalidValue
from cratebox.runtime.spec import IDMapping

_MOST = 1 << 32
_MOST_RANGES = 340  # user_namespaces(7)


def parse(text: str) -> tuple[tuple[IDMapping, ...], tuple[IDMapping, ...]]:
    """Return the mappings of users and of groups; those of one kind are for both where the other is not said.
    Raises InvalidValue.
    """
    found: dict[str, tuple[IDMapping, ...]] = {}
    for part in text.split(";"):
        kind, _, ranges = part.partition("=")
        if kind not in ("uids", "gids") or kind in found:
            raise _wrong(text)
        found[kind] = tuple(_range(text, one) for one in ranges.split("#"))
        if len(found[kind]) > _MOST_RANGES:
            raise _wrong(text)
    either = next(iter(found.values()))
    return found.get("uids", either), found.get("gids", either)


def _range(text: str, words: str) -> IDMapping:
    numbers = words.split("-")
    if len(numbers) != 3 or not all(one.isascii() and one.isdigit() and len(one) < 11 for one in numbers):
        raise _wrong(text)
    first, shown_as, size = map(int, numbers)
    if not size or first + size >= _MOST or shown_as + size >= _MOST:
        raise _wrong(text)
    return IDMapping(container_id=first, host_id=shown_as, size=size)


def _wrong(text: str) -> InvalidValue:
    return InvalidValue(f"not a mapping of IDs: idmap={shown(text)}", "write idmap=uids=0-1000-10#10-2000-5;gids=0-1000-15")
