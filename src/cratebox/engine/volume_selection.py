"""Which volumes `volume ls --filter` asks for. (Docker's volume/service)"""

from __future__ import annotations

from cratebox.engine import filters
from cratebox.engine.words import boolean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cratebox.engine.volumes import Volume

KEYS = ("dangling", "driver", "label", "label!", "name")
DRIVER = "local"


def select(found: Iterable[Volume], texts: Iterable[str], users: Callable[[], Mapping[str, object]]) -> list[Volume]:
    """Return those of `found` that all filters let through. `users` tells by name which have any. Raises InvalidValue."""
    asked = filters.parse(texts, KEYS)
    dangling = [boolean(value, "--filter dangling") for value in asked.all("dangling")]
    used = users() if dangling else {}

    def fits(one: Volume) -> bool:
        return (
            asked.any("name", lambda value: value in one.name)
            and asked.any("driver", lambda value: value == DRIVER)
            and asked.labels(one.labels)
            and (not dangling or (one.name not in used) in dangling)
        )

    return [one for one in found if fits(one)]
