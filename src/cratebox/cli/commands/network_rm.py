"""crate network rm: delete networks."""

from __future__ import annotations

from cratebox.cli.commands import for_each, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.errors import NotFound

COMMAND = Command(
    name="rm",
    arguments="NETWORK [NETWORK...]",
    summary="Delete networks",
    flags=(Flag("force", "f", help="one that is not there is no error"),),
    least=1,
    most=None,
    completes="network",
    description="""Delete networks and print the name of each. One that containers which run are on stays, and is told.
Containers that do not run are left as they are: they start again when there is a network of that name.""",
    exit_codes=(("0", "all were deleted"), ("1", "one could not be deleted; the others were")),
)


def main(words: Words) -> int:
    """Delete each."""
    networks = open_engine(words).networks

    def remove(reference: str) -> tuple[str, ...]:
        try:
            networks.remove(reference)
        except NotFound:
            if not words.yes("force"):
                raise
        return (reference,)

    return for_each(words, remove)
