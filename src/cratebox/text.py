"""Text from strangers (an image, a registry, an archive, a command line) made fit for a message or a terminal."""

from __future__ import annotations

# Control characters of C0 and C1, DEL, line and paragraph separators, and those that turn the direction of writing: a
# name or a label must neither move the terminal's cursor nor show something else than it is.
DANGEROUS = frozenset(
    [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u061c", "\u200e", "\u200f", *map(chr, range(0x2028, 0x202F)),
     *map(chr, range(0x2066, 0x206A))]
)  # fmt: skip
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def safe(text: str, keep: str = "") -> str:
    """Return `text` with everything escaped that could act on a terminal, as in \\x1b; `keep` names exceptions."""
    if text.isprintable():
        return text
    return "".join(_escaped(character) if character not in keep else character for character in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if character not in DANGEROUS and not 0xD800 <= code < 0xE000:
        return character
    if 0xDC80 <= code < 0xDD00:  # a byte that is no UTF-8, as Python carries it
        return f"\\x{code - 0xDC00:02x}"
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def shown(value: object, limit: int = 100) -> str:
    """Return `value` as it may stand in a message: in quotes, at most `limit` characters of it, nothing left alive in it."""
    text = value if isinstance(value, str) else repr(value)
    return repr(text if len(text) <= limit else text[:limit] + "...")
