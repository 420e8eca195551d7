"""crate events: what happens to containers and images."""

from __future__ import annotations

import sys

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cratebox.engine.event_log import Event

COMMAND = Command(
    name="events",
    arguments="",
    summary="Show what happens to containers and images",
    flags=(
        Flag("since", metavar="TIME", help="also what has happened from then on: a time, or how long ago (10m)"),
        Flag("until", metavar="TIME", help="up to then, and end"),
        Flag("filter", "f", "NAME=VALUE", "only those: type, event, container, image, volume or label", repeat=True),
        Flag("format", metavar="TEMPLATE", help="json, or a template as {{.Type}} {{.Action}} {{.Actor.ID}}"),
    ),
    most=0,
    description="""Print each event as it comes, until interrupted. What has happened before is kept in a journal of some
megabytes, which --since shows, also that of the time before a restart of the machine.

TIME is as 2026-01-31T12:00:00Z, or less of it in local time, or seconds since 1970, or a time ago, as 90s or 1h30m.""",
    examples=(
        ("crate events --since 1h --until 0s", "the last hour, without waiting for more"),
        ("crate events --filter event=die --format '{{.Actor.Attributes.name}}'", "who ends, from now on"),
    ),
    exit_codes=(("0", "the time of --until has come"), ("130", "it was interrupted")),
)


def main(words: Words) -> int:
    """Print the events."""
    from cratebox.engine.event_log import parse_filters, read
    from cratebox.engine.times import moment

    since, until = words.text("since"), words.text("until")
    show = _shown_by(words.text("format"))
    pieces = read(
        open_engine(words).paths,
        moment(since, "since") if since else None,
        moment(until, "until") if until else None,
        parse_filters(words.all("filter")),
    )
    for events in pieces:
        for event in events:
            show(event)
        sys.stdout.flush()
    return 0


def _shown_by(form: str | None) -> Callable[[Event], None]:
    """Return what prints an event. Raises InvalidValue, Unsupported for a template that cannot be read."""
    from cratebox.cli.render import json_line, line

    if not form:
        return lambda event: line(_text(event))
    if form == "json" or "".join(form.split()) == "{{json.}}":
        return lambda event: print(json_line(_document(event)))
    from cratebox.cli import template

    wanted = template.parse(template.unescape(form))
    return lambda event: line(wanted.show(_fields(event)), keep="\n\t")


def _text(event: Event) -> str:
    """As Docker's line: time, type, action, ID, and what belongs to it in order."""
    attributes = ", ".join(f"{name}={event.attributes[name]}" for name in sorted(event.attributes))
    return f"{_local(event.when)} {event.kind} {event.action} {event.id}" + (f" ({attributes})" if attributes else "")


def _local(when: int) -> str:
    import time

    seconds, nanoseconds = divmod(when, 1_000_000_000)
    local = time.localtime(seconds)
    zone = time.strftime("%z", local)
    return (
        time.strftime("%Y-%m-%dT%H:%M:%S", local)
        + f".{nanoseconds:09d}"
        + (f"{zone[:3]}:{zone[3:]}" if local.tm_gmtoff else "Z")
    )


def _document(event: Event) -> dict[str, Any]:
    """As Docker's API has it (events.Message)."""
    old = {"status": event.action, "id": event.id}  # before API 1.22, and still there for who knows no better
    if event.kind == "container":
        old["from"] = event.attributes.get("image", "")
    return old | {
        "Type": event.kind,
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": event.attributes},
        "scope": "local",
        "time": event.when // 1_000_000_000,
        "timeNano": event.when,
    }


def _fields(event: Event) -> dict[str, Any]:
    """The same by the names that Docker's templates have for it."""
    names = {"status": "Status", "id": "ID", "from": "From", "scope": "Scope", "time": "Time", "timeNano": "TimeNano"}
    return {names.get(name, name): value for name, value in _document(event).items()}
