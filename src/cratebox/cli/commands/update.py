"""crate update: other limits for containers that are there."""

from __future__ import annotations

from cratebox.cli.commands import for_each, open_engine
from cratebox.cli.commands.flags_limits import LIMITS, typed
from cratebox.cli.options import Command, Words

COMMAND = Command(
    name="update",
    arguments="CONTAINER [CONTAINER...]",
    summary="Change the limits of containers",
    flags=LIMITS,
    least=1,
    most=None,
    completes="container",
    later=("restart", "cpu-rt-period", "cpu-rt-runtime"),
    description="""Change limits of containers, running or not, and print what was typed for each. What no flag names stays as it is; -1 takes
a limit of memory, of processes or --cpu-quota away. In a container that runs all of the limits are set, or none is.""",
    examples=(
        ("crate update -m 512m web", "half a gigabyte, and as much swap"),
        ("crate update --cpus 1.5 --pids-limit 200 web db", "two of them at once"),
    ),
    exit_codes=(("0", "all were changed"), ("1", "one could not be changed; the others were")),
)


def main(words: Words) -> int:
    """Change each container."""
    given = typed(words, unlimited=True)
    if not given:
        raise words.wrong("nothing was given that could be changed")
    containers = open_engine(words).containers

    def update(reference: str) -> tuple[str]:
        containers.update(reference, **given)
        return (reference,)

    return for_each(words, update)
