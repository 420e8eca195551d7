"""crate volume inspect: all that is known of volumes."""

from __future__ import annotations

from cratebox.cli.commands import documents, open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="inspect",
    arguments="VOLUME [VOLUME...]",
    summary="Show all that is known of volumes",
    flags=(Flag("format", "f", "FORMAT", "json, or a template as '{{.Mountpoint}}'"),),
    least=1,
    most=None,
    completes="volume",
    description="""Print a JSON document of each volume, with Docker's names of fields. Mountpoint is where its files are on
this machine, save of one whose Options say that they are elsewhere.""",
    examples=(("crate volume inspect -f '{{.Mountpoint}}' data", "one field"),),
    exit_codes=(("0", "all were found"), ("1", "one was not; the others are shown")),
)


def main(words: Words) -> int:
    """Print the documents."""
    return documents(words, open_engine(words).volumes.inspect)
