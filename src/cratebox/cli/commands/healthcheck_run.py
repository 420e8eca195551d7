"""crate healthcheck run: the health command, now."""

from __future__ import annotations

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Words

COMMAND = Command(
    name="healthcheck run",
    arguments="CONTAINER",
    summary="Run the health command of a container now",
    least=1,
    most=1,
    completes="container",
    description="""Run the container's health command (--health-cmd, or the image's HEALTHCHECK) once, out of turn. The result
counts as that of any other run: `crate inspect` shows it below State.Health.""",
    examples=(("crate healthcheck run web && echo well", "ask it"),),
    exit_codes=(
        ("0", "the command succeeded"),
        ("1", "it failed"),
        ("125", "it was not run: no such container, no health command"),
    ),
)


def main(words: Words) -> int:
    """Run it; say nothing, as Podman does."""
    return 0 if open_engine(words).containers.probe(words.arguments[0]) == 0 else 1
