"""crate wait: until containers have ended."""

from __future__ import annotations

import sys

from cratebox.cli.commands import for_each, open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="wait",
    arguments="CONTAINER [CONTAINER...]",
    summary="Wait until containers have ended and print their exit codes",
    flags=(
        Flag("condition", metavar="CONDITION", help="what to wait for: stopped (the default), next-exit, removed, created, running, "
             "paused, healthy, unhealthy", repeat=True),
        Flag("interval", "i", "DURATION", "how often to ask for a condition that nobody tells of, as 100ms or 2s", default="250ms"),
    ),
    least=1,
    most=None,
    completes="container",
    description="""Wait for all containers at once and print the exit code of each, in the order they were named: at once where
it does not run. A run that a restart policy follows up ends as well. With --condition, wait until one of the conditions holds,
and print -1 where that is not the end of the container.""",
    examples=(
        ("crate wait web", "wait, and print how it ended"),
        ("crate wait --condition healthy web", "wait until its health command says so"),
    ),
    exit_codes=(("0", "all were waited for, whatever their codes"), ("1", "one is not there, or was removed")),
)  # fmt: skip


def main(words: Words) -> int:
    """Wait for each container."""
    from cratebox.engine import waiting
    from cratebox.engine.words import duration

    interval = duration(words.text("interval") or "", "--interval")
    conditions = words.all("condition") or ("stopped",)
    containers = open_engine(words).containers

    answers = waiting.at_once(lambda reference: containers.wait(reference, conditions, interval), words.arguments)

    def wait(reference: str) -> tuple[str]:
        sys.stdout.flush()  # what is known of those before must not wait for this one
        return (str(answers[reference]()),)

    return for_each(words, wait)
