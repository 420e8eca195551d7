"""crate restart: stop, then start."""

from __future__ import annotations

from cratebox.cli.commands import for_each, name_all, open_engine
from cratebox.cli.commands.stop import STOP_FLAGS, how_to_stop
from cratebox.cli.options import Command, Words

COMMAND = Command(
    name="restart",
    arguments="[CONTAINER...]",
    summary="Stop containers and start them again",
    flags=STOP_FLAGS,
    most=None,
    completes="container",
    description="""Stop each container as `crate stop` does, and start it as `crate start` does. One that does not run is
started. Print what was typed for each that runs again.""",
    examples=(("crate restart -t 2 web", "it has two seconds to end"),),
    exit_codes=(("0", "all run again"), ("1", "one could not be stopped or started; the others were")),
)


def main(words: Words) -> int:
    """Restart each container."""
    how = how_to_stop(words)
    containers = open_engine(words).containers
    name_all(words, containers, "running", "paused", "restarting")

    def restart(reference: str) -> tuple[str]:
        containers.restart(reference, *how)
        return (reference,)

    return for_each(words, restart)
