"""Records as JSON documents and back: `encode` and `decode`, driven by the records' own annotations.

A field `no_new_privileges` is the property `noNewPrivileges`. What comes from outside is checked against the annotation,
property by property; unknown properties are ignored, missing ones take the record's default.
"""

from __future__ import annotations

import sys

from cratebox.errors import InvalidValue
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    R = TypeVar("R", bound=Record)
    Decoder = Callable[[Any, str], Any]

_ODD_KEYS = {
    "container_id": "containerID",
    "host_id": "hostID",
    "exec_cpu_affinity": "execCPUAffinity",
    "io_priority": "ioPriority",
    "class_": "class",
    "class_id": "classID",
    "disable_oom_killer": "disableOOMKiller",
    "kernel_tcp": "kernelTCP",
    "block_io": "blockIO",
    "throttle_read_iops_device": "throttleReadIOPSDevice",
    "throttle_write_iops_device": "throttleWriteIOPSDevice",
    "clos_id": "closID",
    "enable_cmt": "enableCMT",
    "enable_mbm": "enableMBM",
}


def key(field: str) -> str:
    """Return the property's name in the document: camel case, save where the specification writes it otherwise."""
    if field in _ODD_KEYS:
        return _ODD_KEYS[field]
    if "_" not in field:
        return field
    first, *rest = field.split("_")
    return first + "".join(word.capitalize() for word in rest)


def encode(value: Any) -> Any:
    """Return a record as the document's form; what has its default is left out, as the specification's omitempty."""
    if isinstance(value, Record):
        # An instance holds only what it was given: its defaults stay with the class.
        return {key(name): encode(one) for name, one in value.__dict__.items() if one is not None and one != ()}
    if isinstance(value, tuple):
        return [encode(one) for one in value]
    if isinstance(value, dict):
        return {name: encode(one) for name, one in value.items()}
    return value


def decode(cls: type[R], parsed: Any, what: str) -> R:
    """Return the `cls` that a parsed document is. Raises InvalidValue: `what`, the property, and what it must be."""
    try:
        return _decoder_of(cls)(parsed, "")
    except InvalidValue as error:
        raise InvalidValue(f"{what}: {error.message}", error.hint) from None


_decoders: dict[type[Record], Decoder] = {}


def _decoder_of(cls: type[R]) -> Callable[[Any, str], R]:
    """Made once for each class: a list of containers reads hundreds of one kind."""
    found = _decoders.get(cls)
    if found is None:
        found = _decoders[cls] = _record(cls)
    return found


def _record(cls: type[R]) -> Callable[[Any, str], R]:
    annotations = {
        name: str(kind) for base in reversed(cls.__mro__) for name, kind in vars(base).get("__annotations__", {}).items()
    }
    names = vars(sys.modules[cls.__module__])
    fields = {key(name): (name, _decoder(annotations[name], names)) for name in cls._fields}
    required = cls._required

    def decoded(value: Any, where: str) -> R:
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        prefix = f"{where}." if where else ""
        given = {}
        for word, one in value.items():  # what is there, and not what could be: most of a document's fields are not given
            if one is not None and word in fields:
                name, decoder = fields[word]
                given[name] = decoder(one, prefix + word)
        if not required <= given.keys():
            missing = next(word for word, (name, _) in fields.items() if name in required and name not in given)
            raise InvalidValue(f"{prefix}{missing} is missing")
        made = object.__new__(cls)  # what cls(**given) would check was checked
        made.__dict__.update(given)
        return made

    return decoded


def _decoder(kind: str, names: dict[str, Any]) -> Decoder:
    kind = kind.removesuffix(" | None")
    if kind.startswith("tuple[") and kind.endswith(", ...]"):
        inner = _decoder(kind[6:-6], names)
        return lambda value, where: tuple(inner(one, f"{where}[{n}]") for n, one in enumerate(_list(value, where)))
    if kind == "dict[str, Any]":
        return _object
    if kind.startswith("dict[str, "):
        return _mapping(_decoder(kind[10:-1], names))
    return _SCALARS.get(kind) or _later(names[kind])


def _later(cls: type[Record]) -> Decoder:
    """Make the decoder of a nested record when the first value of it is met."""

    def decoded(value: Any, where: str) -> Any:
        return _decoder_of(cls)(value, where)

    return decoded


def _wrong(where: str, form: str, value: Any) -> InvalidValue:
    shown = ascii(value)
    return InvalidValue(f"{where or 'the document'} must be {form}, not {shown if len(shown) < 60 else type(value).__name__}")


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise _wrong(where, "a string without NUL", value)
    return value


def _integer(value: Any, where: str) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**64:
        raise _wrong(where, "an integer of 64 bits", value)
    return value


def _boolean(value: Any, where: str) -> bool:
    if type(value) is not bool:
        raise _wrong(where, "true or false", value)
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(where, "a list", value)
    return value


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    return value


def _mapping(inner: Decoder) -> Decoder:
    return lambda value, where: {
        name: inner(one, f"{where}.{ascii(name)[1:-1]}") for name, one in _object(value, where).items()
    }


_MOST = 1e300


def _number(value: Any, where: str) -> float:
    if type(value) not in {int, float} or not abs(value) < _MOST:  # an infinite one, and what is none (NaN), too
        raise _wrong(where, f"a number below {_MOST:.0e}", value)
    return float(value)


_SCALARS: dict[str, Decoder] = {"str": _string, "int": _integer, "bool": _boolean, "float": _number}
