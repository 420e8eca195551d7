"""crate manifest exists: whether there is a list of manifests, for scripts."""

from __future__ import annotations

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Words

COMMAND = Command(
    name="exists",
    arguments="LIST",
    summary="Tell whether there is a list of manifests",
    least=1,
    most=1,
    description="Say by the exit code alone whether there is a list of that name in the store.",
    examples=(("crate manifest exists app:1 || crate manifest create app:1", "make it once"),),
    exit_codes=(("0", "it is there"), ("1", "it is not"), ("125", "the store cannot be read")),
)


def main(words: Words) -> int:
    """Look for it."""
    return 0 if open_engine(words).manifests.exists(words.arguments[0]) else 1
