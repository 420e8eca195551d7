"""crate volume prune: delete volumes that nobody uses."""

from __future__ import annotations

from cratebox.cli import pruning
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="prune",
    arguments="",
    summary="Delete volumes that no container has",
    flags=(Flag("all", "a", help="also those that were given a name"), pruning.FILTER, pruning.FORCE),
    description="""Delete the volumes that no container has, running or not: those that were made without a name, or with -a
all. It asks first.""",
    examples=(("crate volume prune -af --filter label!=keep", "all but some"),),
    exit_codes=(("0", "done, or not wanted"), ("1", "something could not be removed; the rest was")),
)


def main(words: Words) -> int:
    """Ask, remove, tell."""
    filters, every = pruning.filters(words, also=("all",)), words.yes("all") or pruning.says_all(words)
    which = "all local volumes" if every else "anonymous local volumes"
    if not pruning.agreed(words, f"This will remove {which} not used by at least one container."):
        return 0
    return pruning.tell(words, open_engine(words).volumes.prune(filters, every))
