"""JSON without the `json` module, which costs 7 ms to import (most of it `re`). The trick stays in this file.

`json` is a thin layer over the accelerator `_json`; its scanner and encoder are used here directly. Where an
interpreter has no such accelerator, or another form of it, `json` itself does the work.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class JSONError(ValueError):
    """The text is not one JSON document."""


def _refuse_constant(name: str) -> Any:
    raise JSONError(f"{name} is not JSON")


class RepeatedName(JSONError):
    """A name stands twice in one object."""


class _Context:
    """What `_json.make_scanner` reads its settings from (the attributes of json.JSONDecoder)."""

    strict = True
    object_hook = None
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)
    memo: dict[str, str] = {}  # noqa: RUF012  read once by the C scanner, never shared


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise RepeatedName("a name stands twice in one object")
    return found


class _OnceContext(_Context):
    object_pairs_hook = staticmethod(_once)


_SPACE = " \t\n\r"


def loads(text: str | bytes) -> Any:
    """Parse one JSON document (RFC 8259); bytes must be UTF-8. Raises JSONError; nesting is bounded by the interpreter."""
    return _loads(text, _scan)


def loads_once(text: str | bytes) -> Any:
    """As `loads`, for what may forbid something: raises RepeatedName where one of two values of a name would be lost."""
    return _loads(text, _bind_once())


def _loads(text: str | bytes, scan: Callable[[str, int], tuple[Any, int]]) -> Any:
    try:
        if not isinstance(text, str):
            text = text.decode("utf-8")
        start = len(text) - len(text.lstrip(_SPACE))
        value, end = scan(text, start)
    except StopIteration as stop:
        raise JSONError(f"no JSON value at character {stop.value}") from None
    except JSONError:
        raise
    except SystemError:
        raise JSONError(_diagnosis(str(text))) from None
    except (ValueError, RecursionError) as error:
        raise JSONError(str(error)) from None
    if text[end:].strip(_SPACE):
        raise JSONError(f"something follows the JSON document at character {end}")
    return value


def _diagnosis(text: str) -> str:
    """Say what is wrong with `text`: the scanner can raise its error only where json.decoder is loaded already."""
    import json

    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        return str(error)
    return "not JSON"


def dumps(value: Any) -> str:
    """Return `value` as compact JSON in ASCII. Raises TypeError for what JSON has no form for."""
    if type(value) is str:
        return str(_quote(value))
    return str("".join(_encode(value, 0)))


def dumps_pretty(value: Any) -> str:
    """Return `value` as JSON for people: four spaces deep, as Docker prints it. Imports `json`; not for the hot path."""
    import json

    return json.dumps(value, indent=4, ensure_ascii=False)


def _unknown(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _bind() -> tuple[Any, Any, Any]:
    try:
        import _json

        scan = _json.make_scanner(_Context())  # type: ignore[arg-type]  # the settings alone are read
        encode = _json.make_encoder(None, _unknown, _json.encode_basestring_ascii, None, ":", ",", False, False, False)
        if scan('{"a":[1,"b"]}', 0) == ({"a": [1, "b"]}, 13) and "".join(encode({"a": [1, None]}, 0)) == '{"a":[1,null]}':
            return scan, encode, _json.encode_basestring_ascii
    except (ImportError, TypeError, AttributeError):
        pass
    return _bind_slowly()


def _bind_once() -> Any:
    try:
        import _json

        scan = _json.make_scanner(_OnceContext())  # type: ignore[arg-type]
        if scan('{"a":[1,"b"]}', 0) == ({"a": [1, "b"]}, 13):
            return scan
    except (ImportError, TypeError, AttributeError):
        pass
    import json

    return json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse_constant).raw_decode


def _bind_slowly() -> tuple[Any, Any, Any]:
    import json

    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
    return decoder.raw_decode, lambda value, _level: (encoder.encode(value),), encoder.encode


_scan, _encode, _quote = _bind()
