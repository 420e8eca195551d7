"""crate secret rm: delete secrets."""

from __future__ import annotations

from cratebox.cli.commands import for_each, open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="rm",
    arguments="[SECRET...]",
    summary="Delete secrets",
    flags=(Flag("all", "a", help="all of them"),),
    most=None,
    later=("i/ignore",),
    description="Delete secrets and print the ID of each. Containers that run keep what they have; they do not start again without it.",
    exit_codes=(("0", "all were deleted"), ("1", "one could not be deleted; the others were")),
)


def main(words: Words) -> int:
    """Delete each."""
    store = open_engine(words).secrets
    if words.yes("all") == bool(words.arguments):
        raise words.wrong("name secrets, or say --all")
    if words.yes("all"):
        words.arguments = tuple(secret.name for secret in store.list())

    def remove(reference: str) -> tuple[str]:
        return (store.remove(reference).id,)

    return for_each(words, remove)
