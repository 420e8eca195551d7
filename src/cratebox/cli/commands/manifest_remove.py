"""crate manifest remove: take a manifest out of a list."""

from __future__ import annotations

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Words

COMMAND = Command(
    name="remove",
    arguments="LIST IMAGE",
    summary="Take a manifest out of a list",
    least=2,
    most=2,
    completes="image",
    description="""Take a manifest out of a list and print the list's new digest. The manifest is named by its digest or a
beginning of it, or by the name of an image of the store, which stays there.""",
    examples=(("crate manifest remove app:1 sha256:0b5c", "one less"),),
    exit_codes=(("0", "it is out"), ("125", "there is no such list, or nothing of that name in it")),
)


def main(words: Words) -> int:
    """Take it out."""
    render.line(open_engine(words).manifests.remove(*words.arguments))
    return 0
