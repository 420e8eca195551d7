"""crate network prune: delete the networks that no container is made for."""

from __future__ import annotations

from cratebox.cli import pruning, render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Words

COMMAND = Command(
    name="prune",
    arguments="",
    summary="Delete all unused networks",
    flags=(pruning.FILTER, pruning.FORCE),
    description="Delete the networks that no container is made for, running or not, after asking. The default one stays.",
    exit_codes=(("0", "done, or not wanted"),),
)


def main(words: Words) -> int:
    """Ask, delete, tell."""
    filters = pruning.filters(words)
    if not pruning.agreed(words, "This will remove all custom networks not used by at least one container."):
        return 0
    gone = open_engine(words).networks.prune(filters)
    if gone:
        render.line("Deleted Networks:")
        for name in gone:
            render.line(name)
        render.line()
    return 0
