"""Published ports in the words of `ps` and `port`: 0.0.0.0:8080->80/tcp.
(Docker's api/types/container and cli/command/formatter)
"""

from __future__ import annotations

from cratebox.engine.inspect_network import addresses_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cratebox.network.model import Port


def shown(ports: Sequence[Port], exposed: Iterable[str]) -> str:
    """Return what `ps` shows of the ports of a container that runs: ports beside each other as one range, those that are
    exposed alone without an address.
    """
    published = {(one.container, one.protocol) for one in ports}
    places = [(address, one.host, one.container, one.protocol) for one in ports for address in addresses_of(one)]
    for text in exposed:
        number, _, protocol = text.partition("/")
        if (int(number), protocol) not in published:
            places.append(("", 0, int(number), protocol))
    places.sort(key=lambda one: (one[3], ":" in one[0], one[0], one[2], one[1]))
    ranges: list[list[tuple[str, int, int, str]]] = []
    for place in places:
        if ranges and _follows(ranges[-1][-1], place):
            ranges[-1].append(place)
        else:
            ranges.append([place])
    return ", ".join(_range(one) for one in ranges)


def _follows(before: tuple[str, int, int, str], after: tuple[str, int, int, str]) -> bool:
    """A range of ports is one at each of its ends: of the machine, and of the container."""
    same = (before[0], before[3]) == (after[0], after[3])
    step = 1 if before[0] else 0
    return same and after[2] == before[2] + 1 and after[1] == before[1] + step


def _range(places: Sequence[tuple[str, int, int, str]]) -> str:
    (address, host, container, protocol), last = places[0], places[-1]
    inside = _numbers(container, last[2])
    return f"{written(address, _numbers(host, last[1]))}->{inside}/{protocol}" if address else f"{inside}/{protocol}"


def _numbers(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def written(address: str, port: str | int) -> str:
    """Return an address and a port as people write them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
