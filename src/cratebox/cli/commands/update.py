"""crate update: other limits and another restart policy for containers that are there."""

from __future__ import annotations

from cratebox.cli.commands import for_each, open_engine
from cratebox.cli.commands.flags_life import RESTART
from cratebox.cli.commands.flags_limits import LIMITS, typed
from cratebox.cli.options import Command, Words

COMMAND = Command(
    name="update",
    arguments="CONTAINER [CONTAINER...]",
    summary="Change the limits and the restart policy of containers",
    flags=(*LIMITS, RESTART.replace(default=None)),
    least=1,
    most=None,
    completes="container",
    later=("cpu-rt-period", "cpu-rt-runtime"),
    description="""Change limits of containers, running or not, and print what was typed for each. What no flag names stays as
it is; -1 takes a limit of memory, of processes or --cpu-quota away. A restart policy counts when the container ends the next
time. In a container that runs all of the limits are set, or none is.""",
    examples=(
        ("crate update -m 512m web", "half a gigabyte, and as much swap"),
        ("crate update --restart unless-stopped web", "bring it back from now on"),
        ("crate update --cpus 1.5 --pids-limit 200 web db", "two of them at once"),
    ),
    exit_codes=(("0", "all were changed"), ("1", "one could not be changed; the others were")),
)


def main(words: Words) -> int:
    """Change each container."""
    given = typed(words, unlimited=True)
    restart = words.text("restart")
    if not given and restart is None:
        raise words.wrong("nothing was given that could be changed")
    containers = open_engine(words).containers

    def update(reference: str) -> tuple[str]:
        containers.update(reference, restart, **given)
        return (reference,)

    return for_each(words, update)
