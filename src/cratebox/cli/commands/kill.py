"""crate kill: one signal."""

from __future__ import annotations

from cratebox.cli.commands import for_each, name_all, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine.config import parse_signal

COMMAND = Command(
    name="kill",
    arguments="[CONTAINER...]",
    summary="Send a signal to running containers",
    flags=(
        Flag("all", "a", help="all that run"),
        Flag("signal", "s", "SIGNAL", "a name or a number: KILL, SIGHUP, 15, RTMIN+1", default="KILL"),
    ),
    most=None,
    completes="container",
    description="""Send a signal to the first process of each container. Print what was typed for each.

SIGKILL and the container's stop signal say that it is to end: no restart policy starts it again, and a paused container goes on
to receive them. After any other signal its restart policy holds as before.""",
    examples=(("crate kill -s HUP web", "tell it to read its settings again"),),
    exit_codes=(("0", "all were signalled"), ("1", "one could not be; the others were")),
)


def main(words: Words) -> int:
    """Signal each container."""
    signal = parse_signal(words.text("signal") or "KILL")
    containers = open_engine(words).containers
    name_all(words, containers, "running", "paused", "restarting")

    def kill(reference: str) -> tuple[str]:
        containers.kill(reference, signal)
        return (reference,)

    return for_each(words, kill)
