"""crate stop: ask, wait, kill."""

from __future__ import annotations

from cratebox.cli.commands import for_each, open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="stop",
    arguments="CONTAINER [CONTAINER...]",
    summary="Stop running containers",
    flags=(Flag("timeout", "t", "SECONDS", "how long to wait before killing (10); -1 waits for ever", alias="time"),),
    least=1,
    most=None,
    completes="container",
    later=("s/signal",),
    description="""Send each container its stop signal (SIGTERM, where neither the image nor --stop-signal say otherwise) and,
where it is still there after the time, SIGKILL. Print what was typed for each that has stopped.""",
    examples=(("crate stop -t 2 web db", "two seconds each"),),
    exit_codes=(("0", "all have stopped"), ("1", "one could not be stopped; the others were")),
)


def main(words: Words) -> int:
    """Stop each container."""
    timeout = words.number("timeout", -1)
    containers = open_engine(words).containers

    def stop(reference: str) -> tuple[str]:
        containers.stop(reference, timeout=None if timeout is None else float(timeout))
        return (reference,)

    return for_each(words, stop)
