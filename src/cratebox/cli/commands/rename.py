"""crate rename: another name for a container."""

from __future__ import annotations

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Words

COMMAND = Command(
    name="rename",
    arguments="CONTAINER NEW-NAME",
    summary="Give a container another name",
    least=2,
    most=2,
    completes="container",
    description="Give a container, running or not, another name. Its ID stays, and the old name is free.",
    examples=(("crate rename web web-old", "before a new one gets the name"),),
    exit_codes=(("0", "it has the new name"), ("125", "it has not: the name is taken, or none")),
)


def main(words: Words) -> int:
    """Rename it."""
    reference, name = words.arguments
    open_engine(words).containers.rename(reference, name)
    return 0
