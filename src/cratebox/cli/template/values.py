"""What a value of Go is, as far as a document of JSON tells: how it prints, whether it counts as true."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final


class Map(dict):  # type: ignore[type-arg]  # of whatever a document holds
    """A map, which has no entry for a key without that being an error; any other dict is a struct of named fields."""


class _Missing:
    """What a map holds for a key that is not there: prints as <no value>, counts as false."""


MISSING: Final = _Missing()


def shown(value: Any) -> str:
    """Return a value as Go's %v prints it: true, <nil>, [a b], map[k:v]."""
    if value is None:
        return "<nil>"
    if value is MISSING:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(map(shown, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{shown(one)}' for key, one in sorted(fields_of(value).items()))}]"
    return str(value)


def fields_of(value: dict[str, Any]) -> dict[str, Any]:
    """Return what of a struct is data: its methods, as .Label of `ps`, are functions."""
    return {key: one for key, one in value.items() if not callable(one)}


def true(value: Any) -> bool:
    """Return whether `if` takes a value for true: not where it is nil, zero, or empty."""
    return value is not MISSING and bool(value)


def kind_of(value: Any) -> str:
    """Return the name of a value's type as Go writes it."""
    if value is None or value is MISSING:
        return "nil"
    kinds = {bool: "bool", int: "int", float: "float64", str: "string", list: "[]interface {}", tuple: "[]interface {}"}
    return kinds.get(type(value), "map[string]interface {}")
