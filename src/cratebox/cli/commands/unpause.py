"""crate unpause: let the processes of a paused container go on."""

from __future__ import annotations

from cratebox.cli.commands import for_each, name_all, open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="unpause",
    arguments="[CONTAINER...]",
    summary="Let paused containers go on",
    flags=(Flag("all", "a", help="all that are paused"),),
    most=None,
    completes="container",
    description="Let the processes of each paused container go on. Print what was typed for each.",
    examples=(("crate unpause web", "let it go on"),),
    exit_codes=(("0", "all go on"), ("1", "one could not be unpaused; the others were")),
)


def main(words: Words) -> int:
    """Unpause each container."""
    containers = open_engine(words).containers
    name_all(words, containers, "paused")

    def unpause(reference: str) -> tuple[str]:
        containers.unpause(reference)
        return (reference,)

    return for_each(words, unpause)
