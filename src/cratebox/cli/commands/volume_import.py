"""crate volume import: a tar archive unpacked into a volume."""

from __future__ import annotations

import os
import sys

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Words
from cratebox.engine.words import shown
from cratebox.errors import InvalidValue

COMMAND = Command(
    name="import",
    arguments="VOLUME FILE|-",
    summary="Unpack a tar archive into a volume",
    least=2,
    most=2,
    completes="volume",
    description="""Unpack the tar archive FILE, or what comes on standard input, compressed or not, into a volume that is there.
Files of the same names are replaced, others stay. Nothing in the archive leads out of the volume.""",
    examples=(
        ("crate volume import data data.tar", "from a file"),
        ("crate volume export a | crate volume import b -", "a copy"),
    ),
    exit_codes=(("0", "it was unpacked"), ("125", "it was not, or not all of it")),
)


def main(words: Words) -> int:
    """Unpack it."""
    name, source = words.arguments
    volumes = open_engine(words).volumes
    if source == "-":
        volumes.import_(name, sys.stdin.fileno())
        return 0
    try:
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidValue(f"cannot read {shown(source)}: {reason}") from None
    try:
        volumes.import_(name, fd)
    finally:
        os.close(fd)
    return 0
