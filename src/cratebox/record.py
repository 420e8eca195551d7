"""Small frozen typed values that cost nothing to define.

`dataclasses` costs 14 ms to import and 0.4 ms for each class; a `Record` costs a few microseconds. To a type checker it
is a frozen dataclass:

    class Size(Record):
        width: int
        height: int = 1

    Size(3), Size(width=3, height=2), Size(3).replace(height=2)
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

    _C = TypeVar("_C")
else:

    def dataclass_transform(**_options: object) -> Callable[[_C], _C]:
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Record:
    """A frozen value with named fields; a class attribute of a field's name is its default.

    Defaults are shared between instances, so they must be immutable (or never changed).
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _known: ClassVar[frozenset[str]] = frozenset()
    _required: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        own = vars(cls)
        cls._fields = (*cls._fields, *own.get("__annotations__", ()))
        cls._known = frozenset(cls._fields)
        cls._required = cls._required.union(cls._fields).difference(own)

    def __init__(self, *args: Any, **values: Any) -> None:
        if args:
            if len(args) > len(self._fields):
                raise TypeError(f"{type(self).__name__} takes {len(self._fields)} values, not {len(args)}")
            values.update(zip(self._fields, args, strict=False))
        if not values.keys() >= self._required or not values.keys() <= self._known:
            wrong = sorted((self._required - values.keys()) | (values.keys() - self._known))
            raise TypeError(f"{type(self).__name__}: missing or unknown: {', '.join(wrong)}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._fields)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, name) for name in self._fields)))

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({inside})"

    def replace(self, **changes: Any) -> Self:
        """Return a copy with `changes` made."""
        return type(self)(**{**self.__dict__, **changes})

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and their values, defaults included, one level deep."""
        return {name: getattr(self, name) for name in self._fields}
