"""crate rm: remove containers."""

from __future__ import annotations

from cratebox.cli.commands import for_each, open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="rm",
    arguments="CONTAINER [CONTAINER...]",
    summary="Remove containers",
    flags=(
        Flag("force", "f", help="kill it first where it runs"),
        Flag("volumes", "v", help="also remove its volumes without a name (there are none yet)"),
    ),
    least=1,
    most=None,
    completes="container",
    later=("l/link",),
    description="Remove containers with all that they wrote. One that runs is refused, save with -f.",
    examples=(("crate rm -f $(crate ps -aq)", "remove them all"),),
    exit_codes=(("0", "all are gone"), ("1", "one could not be removed; the others were")),
)


def main(words: Words) -> int:
    """Remove each container."""
    containers = open_engine(words).containers

    def remove(reference: str) -> tuple[str]:
        containers.remove(reference, force=words.yes("force"))
        return (reference,)

    return for_each(words, remove)
