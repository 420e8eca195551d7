"""Properties of a unit that a spec's annotations give: org.systemd.property.NAME, as with runc and crun.

The value is written as GVariant text (https://docs.gtk.org/glib/gvariant-text-format.html): numbers, which are int32 where
nothing else is said ("uint64 5"), doubles, true and false, strings in quotes, and arrays of them. A name that ends in Sec is
given in seconds, and becomes systemd's own in microseconds. Pure.
"""

from __future__ import annotations

from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.cgroup.units import Property

PREFIX = "org.systemd.property."
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
# D-Bus's letter for each type's name, and the range of those that are integers.
_TYPES = {
    "boolean": "b", "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u", "int64": "x", "uint64": "t",
    "double": "d", "string": "s", "objectpath": "o", "signature": "g",
}  # fmt: skip
_RANGES = {
    "y": (0, 2**8), "n": (-(2**15), 2**15), "q": (0, 2**16), "i": (-(2**31), 2**31), "u": (0, 2**32), "x": (-(2**63), 2**63),
    "t": (0, 2**64),
}  # fmt: skip
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_SECOND = 1_000_000  # microseconds


def of_annotations(annotations: dict[str, str]) -> list[Property]:
    """Return the properties in `annotations`. Raises InvalidValue for a name or a value that is none."""
    found = []
    for key, text in annotations.items():
        if key.startswith(PREFIX):
            name = key[len(PREFIX) :]
            try:
                found.append(_property(name, text))
            except ValueError as error:
                raise InvalidValue(f"spec: annotation {key!a}: {error}", "as in: uint64 5, 'text', ['a', 'b'], true") from None
    return found


def _property(name: str, text: str) -> Property:
    if len(name) < 3 or not set(name) <= _LETTERS:
        raise ValueError("not the name of a property of systemd")
    value = parse(text)
    if name.endswith("Sec") and name[-4:-3].islower():
        name, value = name[:-3] + "USec", ("t", _microseconds(value))
    return name, value


def _microseconds(value: tuple[str, Any]) -> int:
    kind, seconds = value
    if (kind not in _RANGES and kind != "d") or not 0 <= seconds < 2**64 / _SECOND:
        raise ValueError("not a number of seconds")
    return int(seconds * _SECOND)


def parse(text: str) -> tuple[str, Any]:
    """Return the D-Bus signature and the value of GVariant text. Raises ValueError."""
    reader = _Reader(text)
    value = reader.value("")
    reader.end()
    return value


class _Reader:
    """Reads a value from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def value(self, wanted: str) -> tuple[str, Any]:
        """Return signature and value; `wanted` is the signature that it must have, or ""."""
        sign = self._next()
        if sign == "@":
            self.at += 1
            return self.value(self._until_space())
        if sign in "'\"" and sign:
            return self._kind(wanted, "s", "og"), self._string(sign)
        if sign == "[":
            return self._array(wanted)
        word = self._word()
        if word in _TYPES:
            return self.value(_TYPES[word])
        if word in {"true", "false"}:
            return self._kind(wanted, "b"), word == "true"
        return self._number(word, wanted)

    def end(self) -> None:
        if self._next():
            raise ValueError(f"{self.text[self.at :]!a} is too much")

    def _next(self) -> str:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def _until_space(self) -> str:
        start = self.at
        while self.at < len(self.text) and not self.text[self.at].isspace():
            self.at += 1
        return self.text[start : self.at]

    def _word(self) -> str:
        start = self.at
        while self.at < len(self.text) and (self.text[self.at].isalnum() or self.text[self.at] in "+-._"):
            self.at += 1
        if start == self.at:
            raise ValueError("no value" if start == len(self.text) else f"{self.text[start:]!a} is no value")
        return self.text[start : self.at]

    def _kind(self, wanted: str, usual: str, others: str = "") -> str:
        if wanted and (len(wanted) != 1 or wanted not in usual + others):
            raise ValueError(f"not of the type {wanted!a}")
        return wanted or usual

    def _string(self, quote: str) -> str:
        found = []
        self.at += 1
        while (sign := self.text[self.at : self.at + 1]) != quote:
            if sign == "\\":
                self.at += 1
                sign = _ESCAPES.get(self.text[self.at : self.at + 1], "")
            if not sign or sign == "\0":
                raise ValueError("a string that is no string")
            found.append(sign)
            self.at += 1
        self.at += 1
        return "".join(found)

    def _array(self, wanted: str) -> tuple[str, Any]:
        if wanted and not wanted.startswith("a"):
            raise ValueError(f"not of the type {wanted!a}")
        inner, values = wanted[1:], []
        self.at += 1
        while self._next() != "]":
            kind, one = self.value(inner)
            if len(kind) != 1:
                raise ValueError("an array of arrays")
            inner = kind
            values.append(one)
            if self._next() == ",":
                self.at += 1
            elif self._next() != "]":
                raise ValueError("an array without its end")
        self.at += 1
        if not inner:
            raise ValueError("an empty array without a type, as in: @as []")
        return "a" + inner, values

    def _number(self, word: str, wanted: str) -> tuple[str, Any]:
        is_double = wanted == "d" or (
            not wanted and not word.lstrip("+-").startswith("0x") and any(sign in word for sign in ".eE")
        )
        if is_double:
            return "d", float(word)
        kind = self._kind(wanted, "i", "".join(_RANGES))
        number = int(word, 0)
        low, high = _RANGES[kind]
        if not low <= number < high:
            raise ValueError(f"{word} is out of the range of its type")
        return kind, number
