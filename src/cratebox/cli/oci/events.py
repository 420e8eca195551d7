"""crate-oci events."""

from __future__ import annotations

import sys

from cratebox.cli.oci.words import DONE, ID
from cratebox.cli.options import Command, Flag, Words
from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.cli.oci.caller import Caller

# The units of Go's durations, in seconds.
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
COMMAND = Command(
    name="events",
    arguments=ID,
    summary="Print statistics and what happens to a container",
    flags=(
        Flag("interval", metavar="TIME", help="how often there are statistics, as 500ms, 5s, 1m30s", default="5s"),
        Flag("stats", help="print the statistics once and end"),
    ),
    least=1,
    most=1,
    completes="container",
    description="Print one JSON object a line, as runc does: of type stats at each interval, and of type oom when the kernel had to end "
    "a process because the container's memory was used up. It ends with the container.",
    exit_codes=DONE,
)


def main(words: Words, who: Caller) -> int:
    """Print them."""
    from cratebox.runtime import lifecycle

    name = words.arguments[0]
    interval = seconds(words.text("interval") or "")
    if words.yes("stats"):
        _print({"type": "stats", "id": name, "data": lifecycle.stats(who.root, name)})
        return 0
    for event in lifecycle.watch_events(who.root, name, interval):
        _print(event)
    return 0


def _print(event: dict[str, Any]) -> None:
    from cratebox.jsontext import dumps

    sys.stdout.write(dumps(event) + "\n")
    sys.stdout.flush()


def seconds(text: str) -> float:
    """Return the seconds of a duration as Go writes it: 5s, 500ms, 1m30s, 1.5h. Raises InvalidValue."""
    total, rest = 0.0, text
    while rest:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(digits) :]
        unit = next((unit for unit in sorted(_UNITS, key=len, reverse=True) if rest.startswith(unit)), "")
        if not unit or not digits.replace(".", "", 1).isdigit():
            total = 0
            break
        total += float(digits) * _UNITS[unit]
        rest = rest[len(unit) :]
    if not total > 0:
        raise InvalidValue(f"--interval {text!a} is no time", "as 500ms, 5s, 1m30s; it must be more than none")
    return total
