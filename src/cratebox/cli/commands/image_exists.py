"""crate image exists: whether an image is in the store, for scripts."""

from __future__ import annotations

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Words

COMMAND = Command(
    name="exists",
    arguments="IMAGE",
    summary="Tell whether an image is in the store",
    least=1,
    most=1,
    completes="image",
    description="Say by the exit code alone whether there is an image of that name, digest or ID.",
    examples=(("crate image exists alpine || crate pull alpine", "pull what is not there"),),
    exit_codes=(("0", "it is there"), ("1", "it is not"), ("125", "the store cannot be read")),
)


def main(words: Words) -> int:
    """Look for it."""
    return 0 if open_engine(words).images.exists(words.arguments[0]) else 1
