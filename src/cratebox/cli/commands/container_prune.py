"""crate container prune: remove the containers that have ended."""

from __future__ import annotations

from cratebox.cli import pruning
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Words

COMMAND = Command(
    name="prune",
    arguments="",
    summary="Remove all stopped containers",
    flags=(pruning.FILTER, pruning.FORCE),
    description="Remove the containers that have ended or were never started, with all that they wrote, after asking.",
    examples=(("crate container prune -f --filter until=24h", "those made more than a day ago"),),
    exit_codes=(("0", "done, or not wanted"), ("1", "one could not be removed; the others were")),
)


def main(words: Words) -> int:
    """Ask, remove, tell."""
    filters = pruning.filters(words)
    if not pruning.agreed(words, "This will remove all stopped containers."):
        return 0
    return pruning.tell(words, open_engine(words).containers.prune(filters))
