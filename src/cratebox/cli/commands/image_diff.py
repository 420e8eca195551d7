"""crate image diff: in which files an image differs from another."""

from __future__ import annotations

from cratebox.cli.commands import diff, open_engine
from cratebox.cli.options import Command, Words

COMMAND = Command(
    name="diff",
    arguments="IMAGE [BASE]",
    summary="Show in which files an image differs from another",
    flags=diff.COMMAND.flags,
    least=1,
    most=2,
    completes="image",
    description="""List the files and directories that IMAGE has and BASE has not (A), has otherwise (C) or lacks (D), a
directory before what is in it. Without BASE, IMAGE is compared with what lies below its uppermost layer. Files are compared by
their kind, owner, mode, size, time and capabilities, not by their content.""",
    examples=(
        ("crate image diff mine alpine", "what mine has changed of alpine"),
        ("crate image diff mine", "what its last layer has changed"),
    ),
    exit_codes=(("0", "it was shown"), ("125", "there is no such image, or it is damaged")),
)


def main(words: Words) -> int:
    """Print the changes."""
    diff.show(open_engine(words).images.diff(*words.arguments), words.text("format"))
    return 0
