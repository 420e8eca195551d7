"""crate system stop: before the machine goes down."""

from __future__ import annotations

from cratebox.cli.commands import open_engine
from cratebox.cli.commands.system_start import tell
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="system stop",
    arguments="",
    summary="Stop all containers, as a shutdown of the machine would",
    flags=(
        Flag(
            "timeout", "t", "SECONDS", "how long to wait before killing; -1 waits for ever (each container's own)", alias="time"
        ),
    ),
    description="""Stop every container as `crate stop` does, save that it does not count as stopped by the user: after the next
boot, `crate system start` brings back what its restart policy says.""",
    examples=(("crate system stop", "before a shutdown"),),
    exit_codes=(("0", "all have stopped"), ("1", "one could not be stopped; the others were")),
)


def main(words: Words) -> int:
    """Stop them and tell what was done."""
    from cratebox.engine import boots

    timeout = words.number("timeout", -1)
    return tell(words, boots.stop(open_engine(words).containers, None if timeout is None else float(timeout)))
