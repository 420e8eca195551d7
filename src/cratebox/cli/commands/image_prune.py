"""crate image prune: remove the images that nobody needs."""

from __future__ import annotations

from cratebox.cli import pruning
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="prune",
    arguments="",
    summary="Remove unused images",
    flags=(
        Flag("all", "a", help="all images that no container is made of, not only those without a name"),
        pruning.FILTER,
        pruning.FORCE,
    ),
    description="""Remove the images whose name went to a newer one, or with -a all that no container is made of, and what is in
the store of unfinished pulls, after asking. While another command pulls or makes an image, all are left alone.""",
    examples=(("crate image prune -af", "all that no container is made of, without asking"),),
    exit_codes=(("0", "done, or not wanted"), ("125", "the store is damaged: crate system check")),
)


def main(words: Words) -> int:
    """Ask, remove, tell."""
    filters, every = pruning.filters(words), words.yes("all")
    which = "images without at least one container associated to them" if every else "dangling images"
    if not pruning.agreed(words, f"This will remove all {which}."):
        return 0
    return pruning.tell(words, open_engine(words).images.prune(filters, every))
