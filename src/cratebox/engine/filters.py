"""--filter KEY=VALUE, as `ps`, `images`, `events` and the prunes take it.

Values of one key are alternatives, keys must all hold (`status=created status=exited name=web`); of labels, each must be there.
(Docker's api/types/filters)
"""

from __future__ import annotations

from cratebox.engine.words import shown
from cratebox.errors import InvalidValue, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Filters:
    """What --filter was given: for each key its values."""

    def __init__(self, values: Mapping[str, tuple[str, ...]]) -> None:
        self._values = values

    def __bool__(self) -> bool:
        return bool(self._values)

    def all(self, key: str) -> tuple[str, ...]:
        """Return the values of a key."""
        return self._values.get(key, ())

    def any(self, key: str, fits: Callable[[str], bool]) -> bool:
        """Tell whether one of the values of a key fits, or none was asked for."""
        values = self._values.get(key)
        return values is None or any(map(fits, values))

    def labels(self, labels: Mapping[str, str]) -> bool:
        """Tell whether every label asked for (KEY or KEY=VALUE) is there, and none of `label!`."""
        return all(_labelled(one, labels) for one in self.all("label")) and not any(
            _labelled(one, labels) for one in self.all("label!")
        )


def _labelled(wanted: str, labels: Mapping[str, str]) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def parse(texts: Iterable[str], known: Iterable[str], later: Mapping[str, str] | None = None) -> Filters:
    """Read KEY=VALUE words. `known`: the keys there are; `later`: those that Docker has and crate does not, and why not.

    Raises InvalidValue, Unsupported.
    """
    values: dict[str, tuple[str, ...]] = {}
    keys = tuple(known)
    for text in texts:
        key, equals, value = text.partition("=")
        key, value = key.strip().lower(), value.strip()
        if later and key in later:
            raise Unsupported(f"--filter {shown(key)}: {later[key]}")
        if key not in keys:
            raise InvalidValue(f"no such filter: {shown(key)}", f"one of {', '.join(keys)}")
        if not equals:
            raise InvalidValue(f"not a filter: {shown(text)}", f"write {key}=VALUE")
        values[key] = (*values.get(key, ()), value)
    return Filters(values)
