"""Values of this package as bytes and back, between two processes of one program: Records, and what marshal(3) of Python takes.

Only for a peer that runs the very same code, such as the other side of a fork: whoever writes these bytes chooses which of our
classes are made of them.
"""

from __future__ import annotations

import marshal
import sys

from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def dumps(value: object) -> bytes:
    """Return the bytes of a value made of Records, tuples, lists, dicts and plain values. Raises ValueError for any other."""
    return marshal.dumps(_plain(value))


def loads(raw: bytes) -> Any:
    """Return the value that `dumps` was given. Raises ValueError, EOFError and TypeError for what it has not made."""
    return _value(marshal.loads(raw))  # noqa: S302  see above


def _plain(value: Any) -> Any:
    """A list stands for what marshal does not know: its first element is the class of a Record, or empty for a list."""
    kind = type(value)
    if isinstance(value, Record):
        # As it was made: what is not there is a default.
        return [f"{kind.__module__}:{kind.__qualname__}", {name: _plain(one) for name, one in vars(value).items()}]
    if kind is tuple:
        return tuple(map(_plain, value))
    if kind is dict:
        return {name: _plain(one) for name, one in value.items()}
    if kind is list:
        return ["", *map(_plain, value)]
    return value


def _value(plain: Any) -> Any:
    kind = type(plain)
    if kind is list:
        name, *rest = plain
        return _class(name)(**{field: _value(one) for field, one in rest[0].items()}) if name else list(map(_value, rest))
    if kind is tuple:
        return tuple(map(_value, plain))
    if kind is dict:
        return {name: _value(one) for name, one in plain.items()}
    return plain


def _class(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if module not in sys.modules:
        __import__(module)
    return getattr(sys.modules[module], attribute)
