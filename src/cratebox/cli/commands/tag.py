"""crate tag: one more name for an image."""

from __future__ import annotations

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Words

COMMAND = Command(
    name="tag",
    arguments="IMAGE NAME[:TAG]",
    summary="Give an image one more name",
    least=2,
    most=2,
    completes="image",
    description="""The image keeps the names that it has. Where another image has the new one, that image keeps what names it
has beside, or none. Without a tag, :latest is meant. A name says where the image goes to when it is pushed.""",
    examples=(
        ("crate tag alpine registry.lan:5000/base", "then: crate push registry.lan:5000/base"),
        ("crate tag 1b2c3d app:1.0", "by the beginning of its ID"),
    ),
    exit_codes=(("0", "it has the name"), ("125", "there is no such image, or that is no name")),
)


def main(words: Words) -> int:
    """Give it."""
    open_engine(words).images.tag(*words.arguments)
    return 0
