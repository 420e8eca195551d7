"""Which networks `network ls --filter` asks for. (Docker's daemon/network/filter.go)"""

from __future__ import annotations

from cratebox.engine.filters import parse
from cratebox.engine.networks import BUILTIN, Networks
from cratebox.engine.words import boolean, shown
from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cratebox.network.model import Network

KEYS = ("id", "name", "label", "driver", "scope", "type", "dangling")
_TYPES = ("builtin", "custom")


def select(networks: Networks, texts: Sequence[str]) -> list[Network]:
    """Return the networks that all filters let through. Raises InvalidValue, StorageError."""
    filters = parse(texts, KEYS)
    for value in filters.all("type"):
        if value not in _TYPES:
            raise InvalidValue(f"--filter type cannot be {shown(value)}", f"one of {', '.join(_TYPES)}")
    dangling = [boolean(value, "--filter dangling") for value in filters.all("dangling")]

    def fits(one: Network) -> bool:
        return (
            filters.any("id", lambda value: bool(value) and one.id.startswith(value.lower()))
            and filters.any("name", lambda value: value in one.name)
            and filters.any("driver", lambda value: value == one.driver)
            and filters.any("scope", lambda value: value == "local")
            and filters.any("type", lambda value: (value == "builtin") == (one.name in BUILTIN))
            and filters.labels(one.labels)
            and all(wanted == (one.name not in BUILTIN and not networks.members(one)) for wanted in dangling)
        )

    return [one for one in networks.list() if fits(one)]
