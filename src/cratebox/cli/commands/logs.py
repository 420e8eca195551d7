"""crate logs: what a container wrote."""

from __future__ import annotations

import sys

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

COMMAND = Command(
    name="logs",
    arguments="CONTAINER",
    summary="Show what a container wrote",
    flags=(
        Flag("follow", "f", help="wait for more until it ends"),
        Flag("timestamps", "t", help="put the time, in UTC, before each line"),
        Flag("tail", "n", "N", "the last N lines (all)", default="all"),
    ),
    least=1,
    most=1,
    completes="container",
    later=("since", "until", "details"),
    description="""Print what a container wrote to its standard output and its standard error, each to the one of this command,
byte by byte as it was written: it may hold escape sequences, so look at strangers' output through `cat -v`.""",
    examples=(("crate logs -f --tail 10 web", "the last lines, and those to come"),),
    exit_codes=(("0", "it was shown"), ("125", "there is no such container")),
)


def main(words: Words) -> int:
    """Copy the log to the standard streams."""
    tail = None if words.text("tail") == "all" else words.number("tail", -1)
    follow, times = words.yes("follow"), words.yes("timestamps")
    entries = open_engine(words).containers.logs(words.arguments[0], follow=follow, tail=None if tail == -1 else tail)
    outputs = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    begun = dict.fromkeys(outputs, False)
    for stream, nanoseconds, chunk in entries:
        if times:
            chunk, begun[stream] = _stamped(chunk, nanoseconds, begun[stream])
        _write(outputs[stream], chunk)
    return 0


def _write(output: BinaryIO, chunk: bytes) -> None:
    """At once: the two streams often end in one terminal, where their order counts."""
    output.write(chunk)
    output.flush()


def _stamped(chunk: bytes, nanoseconds: int, begun: bool) -> tuple[bytes, bool]:
    """Return `chunk` with a time before each line that begins in it, and whether its last line is not ended yet."""
    from cratebox.cli.render import rfc3339

    stamp = rfc3339(nanoseconds).encode() + b" "
    lines = chunk.splitlines(keepends=True) if b"\r" not in chunk else [part for part in _lines(chunk) if part]
    text = stamp.join(lines)
    return (text if begun else stamp + text), not chunk.endswith(b"\n")


def _lines(chunk: bytes) -> list[bytes]:
    parts = chunk.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + parts[-1:]
