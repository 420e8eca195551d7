"""crate volume rm: delete volumes."""

from __future__ import annotations

from cratebox.cli.commands import for_each, open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="rm",
    arguments="VOLUME [VOLUME...]",
    summary="Delete volumes",
    flags=(Flag("force", "f", help="one that is not there is no error"),),
    least=1,
    most=None,
    completes="volume",
    later=("a/all", "t/time"),
    description="Delete volumes with all that is in them. One that a container has, running or not, is refused, with -f as well.",
    examples=(("crate volume rm $(crate volume ls -qf dangling=true)", "all that no container has"),),
    exit_codes=(("0", "all are gone"), ("1", "one could not be deleted; the others were")),
)


def main(words: Words) -> int:
    """Delete each."""
    volumes, force = open_engine(words).volumes, words.yes("force")

    def remove(name: str) -> tuple[str]:
        volumes.remove(name, force)
        return (name,)

    return for_each(words, remove)
