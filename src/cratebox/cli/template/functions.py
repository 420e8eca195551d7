"""The functions of templates: Go's own (text/template/funcs.go) and Docker's (docker/cli templates/templates.go)."""

from __future__ import annotations

from cratebox.cli.render import json_line
from cratebox.cli.template.printing import go_print, go_println, printf
from cratebox.cli.template.values import MISSING, fields_of, kind_of, shown, true

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

REFUSED = ("html", "js", "urlquery", "call")
_LONGEST = 100_000  # spaces that `pad` adds at most


class Refusal(Exception):
    """A function cannot take what it was given; the text says why, in Go's words."""


def _index(value: Any, *keys: Any) -> Any:
    """A list has no entry beyond its ends (an error), a map has an empty one for every key."""
    for key in keys:
        if isinstance(value, dict):
            value = _entry(value, key)
        elif value is None or value is MISSING:
            raise Refusal("index of untyped nil")
        elif isinstance(value, (list, tuple, str)):
            value = _element(value, key)
        else:
            raise Refusal(f"can't index item of type {kind_of(value)}")
    return value


def _entry(value: dict[str, Any], key: Any) -> Any:
    if not isinstance(key, str):
        raise Refusal(f"value has type {kind_of(key)}; should be string")
    if key in value:
        return value[key]
    # The empty value of what this map holds. An empty map does not tell: text is what scripts ask a map of labels for.
    texts = all(isinstance(one, str) for one in value.values())
    return "" if texts else None


def _element(value: Any, key: Any) -> Any:
    if not isinstance(key, int) or isinstance(key, bool):
        raise Refusal(f"cannot index slice/array with type {kind_of(key)}")
    if not 0 <= key < len(value):
        raise Refusal(f"index out of range: {key}")
    return ord(value[key]) if isinstance(value, str) else value[key]


def _slice(value: Any, *ends: Any) -> Any:
    if not isinstance(value, (str, list, tuple)) or len(ends) > 2:
        raise Refusal(f"can't slice item of type {kind_of(value)}")
    begin = ends[0] if ends else 0
    end = ends[1] if len(ends) > 1 else len(value)
    for one in (begin, end):
        if not isinstance(one, int) or not 0 <= one <= len(value):
            raise Refusal(f"index out of range: {shown(one)}")
    if begin > end:
        raise Refusal(f"invalid slice index: {begin} > {end}")
    return value[begin:end]


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, (list, tuple, dict)):
        return len(value)
    raise Refusal(f"len of {'untyped nil' if value is None or value is MISSING else 'type ' + kind_of(value)}")


def _comparable(one: Any, other: Any) -> None:
    numbers = (int, float)
    alike = isinstance(one, numbers) and isinstance(other, numbers) and isinstance(one, bool) == isinstance(other, bool)
    if not alike and type(one) is not type(other) and None not in (one, other) and MISSING not in (one, other):
        raise Refusal("incompatible types for comparison")


def _eq(first: Any, *others: Any) -> bool:
    if not others:
        raise Refusal("missing argument for comparison")
    for other in others:
        _comparable(first, other)
        if isinstance(first, (dict, list)):
            raise Refusal(f"non-comparable type {shown(first)}: {kind_of(first)}")
    return any(first == other for other in others)


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compared(one: Any, other: Any) -> bool:
        _comparable(one, other)
        if isinstance(one, bool) or not isinstance(one, (int, float, str)) or not isinstance(other, (int, float, str)):
            raise Refusal("invalid type for comparison")
        return test(one, other)

    return compared


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _title(text: str) -> str:
    befores = " " + _text(text)
    return "".join(
        one if before.isalnum() or before in "_'" else one.upper() for before, one in zip(befores, text, strict=False)
    )


def _join(values: Any, separator: str) -> str:
    if isinstance(values, str):
        raise TypeError(values)
    return _text(separator).join(map(shown, values or ()))


def _pad(text: str, before: int, after: int) -> str:
    if not _text(text):
        return text
    return " " * min(before, _LONGEST) + text + " " * min(after, _LONGEST)


def _json(value: Any) -> str:
    if value is MISSING:
        return "null"
    return json_line(fields_of(value) if isinstance(value, dict) else value)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    # Go's
    "and": lambda *values: next((one for one in values if not true(one)), values[-1]),
    "or": lambda *values: next((one for one in values if true(one)), values[-1]),
    "not": lambda value: not true(value),
    "index": _index,
    "slice": _slice,
    "len": _len,
    "eq": _eq,
    "ne": lambda one, other: not _eq(one, other),
    "lt": _ordered(lambda one, other: bool(one < other)),
    "le": _ordered(lambda one, other: bool(one <= other)),
    "gt": _ordered(lambda one, other: bool(one > other)),
    "ge": _ordered(lambda one, other: bool(one >= other)),
    "print": go_print,
    "println": go_println,
    "printf": printf,
    # Docker's
    "json": _json,
    "join": _join,
    "split": lambda text, separator: _text(text).split(_text(separator)) if separator else list(_text(text)),
    "title": _title,
    "lower": lambda text: _text(text).lower(),
    "upper": lambda text: _text(text).upper(),
    "pad": _pad,
    "truncate": lambda text, length: _text(text)[: max(length, 0)],
}


def _first(value: Any, *_others: Any) -> Any:
    return value


# For the line of headers of a table: what changes a row's value leaves the header as it is.
OF_HEADERS = FUNCTIONS | dict.fromkeys(("json", "join", "split", "title", "lower", "upper", "pad", "truncate"), _first)
