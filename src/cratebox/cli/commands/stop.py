"""crate stop: ask, wait, kill."""

from __future__ import annotations

from cratebox.cli.commands import for_each, name_all, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine.config import parse_signal

STOP_FLAGS = (
    Flag("all", "a", help="all that run"),
    Flag("timeout", "t", "SECONDS", "how long to wait before killing (10); -1 waits for ever", alias="time"),
    Flag("signal", "s", "SIGNAL", "what to send first, instead of the container's own stop signal"),
)
COMMAND = Command(
    name="stop",
    arguments="[CONTAINER...]",
    summary="Stop running containers",
    flags=STOP_FLAGS,
    most=None,
    completes="container",
    description="""Send each container its stop signal (SIGTERM, where neither the image nor --stop-signal say otherwise) and,
where it is still there after the time, SIGKILL. A paused container goes on to receive them. No restart policy starts it again,
and `unless-stopped` not even after a reboot. Print what was typed for each that has stopped.""",
    examples=(("crate stop -t 2 web db", "two seconds each"),),
    exit_codes=(("0", "all have stopped"), ("1", "one could not be stopped; the others were")),
)


def main(words: Words) -> int:
    """Stop each container."""
    how = how_to_stop(words)
    containers = open_engine(words).containers
    name_all(words, containers, "running", "paused", "restarting")

    def stop(reference: str) -> tuple[str]:
        containers.stop(reference, *how)
        return (reference,)

    return for_each(words, stop)


def how_to_stop(words: Words) -> tuple[float | None, int | None]:
    """Return the seconds of --timeout and the number of --signal, None where they are not given.
    Raises UsageError, InvalidValue.
    """
    timeout, signal = words.number("timeout", -1), words.text("signal")
    return None if timeout is None else float(timeout), None if signal is None else parse_signal(signal)
