"""crate restart: stop, then start."""

from __future__ import annotations

from cratebox.cli.commands import for_each, name_all, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine.config import parse_signal

COMMAND = Command(
    name="restart",
    arguments="[CONTAINER...]",
    summary="Stop containers and start them again",
    flags=(
        Flag("all", "a", help="all that run"),
        Flag("timeout", "t", "SECONDS", "how long to wait before killing (10); -1 waits for ever", alias="time"),
        Flag("signal", "s", "SIGNAL", "what to send first, instead of the container's own stop signal"),
    ),
    most=None,
    completes="container",
    description="""Stop each container as `crate stop` does, and start it as `crate start` does. One that does not run is started.
Print what was typed for each that runs again.""",
    examples=(("crate restart -t 2 web", "it has two seconds to end"),),
    exit_codes=(("0", "all run again"), ("1", "one could not be stopped or started; the others were")),
)


def main(words: Words) -> int:
    """Restart each container."""
    timeout, signal = words.number("timeout", -1), words.text("signal")
    number = None if signal is None else parse_signal(signal)
    containers = open_engine(words).containers
    name_all(words, containers, "running", "paused", "restarting")

    def restart(reference: str) -> tuple[str]:
        containers.restart(reference, None if timeout is None else float(timeout), number)
        return (reference,)

    return for_each(words, restart)
