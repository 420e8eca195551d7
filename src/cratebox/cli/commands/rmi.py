"""crate rmi: remove images."""

from __future__ import annotations

from cratebox.cli.commands import for_each, open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="rmi",
    arguments="IMAGE [IMAGE...]",
    summary="Remove images",
    flags=(
        Flag("force", "f", help="also where several names or stopped containers refer to it"),
        Flag("no-prune", help="leave its layers for an image that is built upon them, until crate image prune"),
    ),
    least=1,
    most=None,
    completes="image",
    later=("platform",),
    description="""Take a name from an image; with its last name the image goes, and the layers that no other image has.
An image is named as it was pulled, or by its ID or a beginning of it.""",
    examples=(("crate rmi alpine:3.20", "remove one"),),
    exit_codes=(("0", "all are gone"), ("1", "one could not be removed; the others were")),
)


def main(words: Words) -> int:
    """Remove each image."""
    images = open_engine(words).images
    return for_each(words, lambda name: images.remove(name, force=words.yes("force"), prune=not words.yes("no-prune")))
