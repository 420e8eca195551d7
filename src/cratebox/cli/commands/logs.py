"""crate logs: what a container wrote."""

from __future__ import annotations

import sys

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, BinaryIO

    from cratebox.engine.containers import Containers
    from cratebox.engine.log_reading import Entry

COMMAND = Command(
    name="logs",
    arguments="CONTAINER [CONTAINER...]",
    summary="Show what containers wrote",
    flags=(
        Flag("follow", "f", help="wait for more until it ends"),
        Flag("timestamps", "t", help="put the time, in UTC, before each line"),
        Flag("tail", "n", "N", "the last N lines (all)", default="all"),
        Flag("since", metavar="TIME", help="what was written from then on: a time, or how long ago (10m)"),
        Flag("until", metavar="TIME", help="what was written up to then"),
        Flag("names", help="where there are several, put its name before each line, not its ID"),
        Flag("details", help="put before each line what --log-opt labels=, env= and tag= ask for"),
    ),
    least=1,
    most=None,
    completes="container",
    description="""Print what a container wrote to its standard output and its standard error, each to the one of this command,
byte by byte as it was written: it may hold escape sequences, so look at strangers' output through `cat -v`.

TIME is as 2026-01-31T12:00:00Z, or less of it in local time, or seconds since 1970, or a time ago, as 90s or 1h30m. Of the last
N lines those are shown that are of the time asked for.

Of several containers the lines are in the order of their times, or with -f as they come, and the ID of its container stands
before each; -n counts for each of them.""",
    examples=(
        ("crate logs -f --tail 10 web", "the last lines, and those to come"),
        ("crate logs -t --since 10m web", "the last ten minutes, with times"),
        ("crate logs -f --names web db", "what two of them say, as it comes"),
    ),
    exit_codes=(("0", "it was shown"), ("125", "there is no such container, or it keeps no log")),
)


def main(words: Words) -> int:
    """Copy the log to the standard streams."""
    from cratebox.engine.times import moment

    tail = None if words.text("tail") == "all" else words.number("tail", -1)
    since, until = words.text("since"), words.text("until")
    asked: dict[str, Any] = {
        "follow": words.yes("follow"),
        "tail": None if tail == -1 else tail,
        "since": moment(since, "since") if since else None,
        "until": moment(until, "until") if until else None,
    }
    containers = open_engine(words).containers
    if len(words.arguments) > 1:
        _several(words, containers, asked)
        return 0
    times, details = words.yes("timestamps"), words.yes("details")
    begun = {"stdout": False, "stderr": False}  # whether a line of the stream is not ended yet
    for entries in containers.logs(words.arguments[0], **asked):
        if times or details:
            entries = [_headed(entry, begun, times, details) for entry in entries]
        _write(entries)
    return 0


def _several(words: Words, containers: Containers, asked: dict[str, Any]) -> None:
    """Copy the logs of several, a line at a time, each with its container before it."""
    from cratebox.engine import logs_together

    who = [containers.get(reference) for reference in words.arguments]
    logs = [containers.logs(one.id, **asked) for one in who]  # who keeps none is told before anything is shown
    heads = [f"{one.name if words.yes('names') else one.id[:12]} ".encode() for one in who]
    times, details = words.yes("timestamps"), words.yes("details")
    together = logs_together.as_they_come if asked["follow"] else logs_together.by_time
    for number, entry in together(logs):
        begun = {"stdout": False, "stderr": False}
        stream, when, data, attributes = _headed(entry, begun, times, details)
        _write([(stream, when, heads[number] + data + (b"\n" if begun[stream] else b""), attributes)])


def _write(entries: Iterable[Entry]) -> None:
    """In the order they have: the two streams often end in one terminal."""
    outputs = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    last: BinaryIO | None = None
    for stream, _, data, _ in entries:
        output = outputs[stream]
        if last is not output and last is not None:
            last.flush()
        output.write(data)
        last = output
    if last is not None:
        last.flush()


def _headed(entry: Entry, begun: dict[str, bool], times: bool, details: bool) -> Entry:
    """Return the entry with a time, and what is told about the container, before a line that begins in it."""
    from cratebox.cli.render import rfc3339

    stream, when, data, attributes = entry
    head = b""
    if not begun[stream]:
        head = (rfc3339(when) + " " if times else "").encode() + (_details(attributes) + " " if details else "").encode()
    begun[stream] = not data.endswith(b"\n")
    return stream, when, head + data, attributes


def _details(attributes: dict[str, str]) -> str:
    from urllib.parse import quote_plus

    return ",".join(f"{quote_plus(name)}={quote_plus(str(attributes[name]))}" for name in sorted(attributes))
