"""crate volume export: the files of a volume as a tar archive."""

from __future__ import annotations

import sys

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.errors import UsageError

COMMAND = Command(
    name="export",
    arguments="VOLUME",
    summary="Write a volume's files as a tar archive",
    flags=(Flag("output", "o", "FILE", "write to FILE, whole or not at all, not to standard output", completes="file"),),
    least=1,
    most=1,
    completes="volume",
    description="""Write all files of a volume as a tar archive. Owners are the numbers that containers see, also without root.
A container that writes meanwhile should be paused.""",
    examples=(("crate volume export data -o data.tar", "into a file"), ("crate volume export data | tar -t", "what is in it")),
    exit_codes=(("0", "it was written"), ("125", "it was not, or the archive would go to a terminal")),
)


def main(words: Words) -> int:
    """Write the archive."""
    path = words.text("output")
    if path is None and sys.stdout.isatty():
        raise UsageError("an archive does not belong on a terminal", "crate volume export -o FILE, or redirect the output")
    open_engine(words).volumes.export(words.arguments[0], sys.stdout.fileno() if path is None else path)
    return 0
