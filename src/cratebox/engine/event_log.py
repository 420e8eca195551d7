"""Reading the journal of events, which events.py writes: those of a time, of a kind, and those to come."""

from __future__ import annotations

import time

from cratebox import jsontext
from cratebox.engine import filters, turned_files
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cratebox.engine.filters import Filters
    from cratebox.paths import Paths

FILTERS = ("container", "event", "image", "label", "network", "type", "volume")
_LATER = ("builder", "config", "daemon", "node", "plugin", "scope", "secret", "service")


class Event(Record):
    """Something that happened to `id`, a "container", "image", "network" or "volume"; `when` is in nanoseconds since 1970."""

    when: int
    kind: str
    action: str
    id: str
    attributes: dict[str, str]


def read(paths: Paths, since: int | None, until: int | None, asked: Filters) -> Iterator[list[Event]]:
    """Yield the events from `since` (None: from now on) to `until` (None: for ever), as they come. Raises OSError.

    Times are in nanoseconds since 1970. `asked`: any value of a name is enough, each name counts; of labels, each value.
    """
    path = paths.root + "/events/journal"
    places = turned_files.open_all(path)
    try:
        if since is None:
            for place in places[:-1]:
                place.close()
            del places[:-1]
            for place in places:
                place.go_to_end()
        for lines in turned_files.lines(path, places, lambda: until is None or time.time_ns() <= until, until):
            some = [event for event in map(parse, lines) if event and _is_wanted(event, since, until, asked)]
            if some:
                yield some
    finally:
        for place in places:
            place.close()


def parse(line: bytes) -> Event | None:
    """Return the event that a line of the journal tells; None where it tells none (an empty one, a half one)."""
    try:
        found = jsontext.loads(line)
        event = Event(found["timeNano"], found["Type"], found["Action"], found["ID"], found["Attributes"])
    except (jsontext.JSONError, KeyError, TypeError):
        return None
    words = (event.kind, event.action, event.id, *event.attributes, *event.attributes.values()) if _is_map(event) else (None,)
    return event if type(event.when) is int and all(type(word) is str for word in words) else None


def _is_map(event: Event) -> bool:
    return type(event.attributes) is dict


def parse_filters(texts: Iterable[str]) -> Filters:
    """Return the values of each name in NAME=VALUE. Raises InvalidValue, Unsupported."""
    return filters.parse(texts, FILTERS, dict.fromkeys(_LATER, "crate has no such events"))


def _is_wanted(event: Event, since: int | None, until: int | None, asked: Filters) -> bool:
    if (since is not None and event.when < since) or (until is not None and event.when > until):
        return False
    said = all(asked.any(name, lambda value, name=name: _is(event, name, value)) for name in FILTERS if name != "label")  # type: ignore[misc]
    return said and asked.labels(event.attributes)


def _is(event: Event, name: str, value: str) -> bool:
    """An action may say more behind a colon: "health_status: healthy". A name of an image may go without its tag."""
    if name == "type":
        return event.kind == value
    if name == "event":
        return value in {event.action, event.action.partition(":")[0]}
    if name == "volume":
        return event.kind == "volume" and event.id.startswith(value)
    if name == "container":
        return event.kind == "container" and (event.attributes.get("name") == value or event.id.startswith(value))
    if name == "network":
        return event.kind == "network" and (event.attributes.get("name") == value or event.id.startswith(value))
    image = event.attributes.get("image" if event.kind == "container" else "name", "")
    return value in {image, _without_tag(image)} or (event.kind == "image" and event.id == value)


def _without_tag(image: str) -> str:
    head, slash, last = image.rpartition("/")
    return head + slash + last.partition("@")[0].partition(":")[0]
