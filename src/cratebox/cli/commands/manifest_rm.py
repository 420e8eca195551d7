"""crate manifest rm: remove lists of manifests."""

from __future__ import annotations

from cratebox.cli.commands import for_each, open_engine
from cratebox.cli.options import Command, Words

COMMAND = Command(
    name="rm",
    arguments="LIST [LIST...]",
    summary="Remove lists of manifests",
    least=1,
    most=None,
    description="""Remove each list from the store. Images that it was made of stay; what was fetched for it alone goes with the
next `crate image prune`.""",
    examples=(("crate manifest rm app:1", "remove one"),),
    exit_codes=(("0", "all are gone"), ("1", "one is not there; the others are gone")),
)


def main(words: Words) -> int:
    """Remove each list."""
    lists = open_engine(words).manifests
    return for_each(words, lambda name: (f"Deleted: {lists.delete(name)}",))
