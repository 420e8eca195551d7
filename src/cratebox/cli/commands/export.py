"""crate export: the file system of a container as a tar archive."""

from __future__ import annotations

import sys

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.errors import UsageError

COMMAND = Command(
    name="export",
    arguments="CONTAINER",
    summary="Write a container's file system as a tar archive",
    flags=(Flag("output", "o", "FILE", "write to FILE, whole or not at all, not to standard output", completes="file"),),
    least=1,
    most=1,
    completes="container",
    description="""Write all files of a container, running or not, as a tar archive: those of its image and its own changes,
without what is mounted in it (/proc, /sys, /dev and volumes are empty). Owners are the numbers that the container sees, also
without root.""",
    examples=(("crate export web -o web.tar", "into a file"), ("crate export web | tar -t", "what is in it")),
    exit_codes=(("0", "it was written"), ("125", "it was not, or the archive would go to a terminal")),
)


def main(words: Words) -> int:
    """Write the archive."""
    path = words.text("output")
    if path is None and sys.stdout.isatty():
        raise UsageError("an archive does not belong on a terminal", "crate export -o FILE, or redirect the output")
    open_engine(words).containers.export(words.arguments[0], sys.stdout.fileno() if path is None else path)
    return 0
