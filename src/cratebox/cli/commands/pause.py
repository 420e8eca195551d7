"""crate pause: hold every process of a container."""

from __future__ import annotations

from cratebox.cli.commands import for_each, name_all, open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="pause",
    arguments="[CONTAINER...]",
    summary="Freeze all processes of containers",
    flags=(Flag("all", "a", help="all that run"),),
    most=None,
    completes="container",
    description="""The kernel's freezer holds every process of each container where it stands; `crate unpause` lets them go on.
They notice nothing of it, save that time has passed. Print what was typed for each.""",
    examples=(("crate pause web && crate unpause web", "hold it, and let it go on"),),
    exit_codes=(("0", "all are paused"), ("1", "one could not be paused; the others were")),
)


def main(words: Words) -> int:
    """Pause each container."""
    containers = open_engine(words).containers
    name_all(words, containers, "running")

    def pause(reference: str) -> tuple[str]:
        containers.pause(reference)
        return (reference,)

    return for_each(words, pause)
