"""crate rm: remove containers."""

from __future__ import annotations

from cratebox.cli.commands import for_each, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.cli.render import complain
from cratebox.errors import NotFound

COMMAND = Command(
    name="rm",
    arguments="CONTAINER [CONTAINER...]",
    summary="Remove containers",
    flags=(
        Flag("force", "f", help="kill it first where it runs"),
        Flag("volumes", "v", help="also remove its volumes that have no name"),
    ),
    least=1,
    most=None,
    completes="container",
    later=("l/link",),
    description="""Remove containers with all that they wrote. One that runs is refused, save with -f. Volumes stay; those
without a name go with -v, or where the container was made with --rm, unless another container has them.""",
    examples=(("crate rm -f $(crate ps -aq)", "remove them all"),),
    exit_codes=(
        ("0", "all are gone; with -f also where one was not there"),
        ("1", "one could not be removed; the others were"),
    ),
)


def main(words: Words) -> int:
    """Remove each container."""
    containers, force, volumes = open_engine(words).containers, words.yes("force"), words.yes("volumes")

    def remove(reference: str) -> tuple[str, ...]:
        try:
            containers.remove(reference, force=force, volumes=volumes)
        except NotFound as error:
            if not force or not reference:
                raise
            complain(error, f"{words.program} {words.verb}")  # said, but what was asked for is so: as with Docker and rm(1)
            return ()
        return (reference,)

    return for_each(words, remove)
