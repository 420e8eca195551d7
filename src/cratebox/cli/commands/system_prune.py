"""crate system prune: remove all that nobody needs."""

from __future__ import annotations

from cratebox.cli import pruning
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="prune",
    arguments="",
    summary="Remove what nobody needs",
    flags=(
        Flag("all", "a", help="all images that no container is made of, not only those without a name"),
        pruning.FILTER,
        pruning.FORCE,
        Flag("volumes", help="also volumes without a name that no container has"),
    ),
    description="""Remove stopped containers, networks that no container is made for, images without a name, mounts of images
(crate image mount) that nobody is in, and what commands that were killed have left behind: containers half made or half
removed, cgroups, names, state, unfinished downloads. It asks first. What another command uses stays.""",
    examples=(
        ("crate system prune", "what is certainly not needed"),
        ("crate system prune -af --filter until=240h", "all that is older than ten days"),
    ),
    exit_codes=(("0", "done, or not wanted"), ("1", "something could not be removed; the rest was")),
)


def main(words: Words) -> int:
    """Ask, remove, tell."""
    filters, every = pruning.filters(words), words.yes("all")
    images = "all images without at least one container associated to them" if every else "all dangling images"
    volumes = ("all anonymous volumes not used by at least one container",) if words.yes("volumes") else ()
    items = (
        "all stopped containers",
        "all networks not used by at least one container",
        *volumes,
        images,
        "all mounts of images that nobody is in",
        "all that killed commands have left behind",
    )
    if not pruning.agreed(words, "This will remove:", items):
        return 0
    return pruning.tell(words, open_engine(words).prune(filters, every, words.yes("volumes")))
