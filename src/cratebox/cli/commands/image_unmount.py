"""crate image unmount: end what `crate image mount` has begun."""

from __future__ import annotations

from cratebox.cli.commands import for_each, open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="unmount",
    arguments="[IMAGE...]",
    summary="Unmount the files of images",
    flags=(
        Flag("all", "a", help="all images that are mounted"),
        Flag("force", "f", help="also where it was mounted more often than it was unmounted"),
    ),
    least=0,
    most=None,
    completes="image",
    description="""Take back one `crate image mount` of each IMAGE and print its ID; with the last one it is unmounted. One that
a program has open stays, which is an error.""",
    examples=(("crate image unmount --all --force", "whoever has mounted them"),),
    exit_codes=(("0", "done"), ("1", "one is not mounted, or somebody is in it; the others are done")),
)


def main(words: Words) -> int:
    """Unmount each image."""
    images = open_engine(words).images
    if words.yes("all") == bool(words.arguments):
        raise words.wrong("--all takes no IMAGE" if words.arguments else "an IMAGE is missing")
    if words.yes("all"):
        words.arguments = tuple(image for image, _where in images.mounts())
    return for_each(words, lambda name: [images.unmount(name, words.yes("force")).partition(":")[2]])
