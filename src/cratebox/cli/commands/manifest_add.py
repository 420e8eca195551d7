"""crate manifest add: add images to a list of manifests."""

from __future__ import annotations

from cratebox.cli import manifest_flags, render
from cratebox.cli.commands import PullProgress, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.cli.registry_flags import FLAGS, access

COMMAND = Command(
    name="add",
    arguments="LIST IMAGE [IMAGE...]",
    summary="Add images to a list of manifests",
    flags=(Flag("all", help="of an image for several platforms, those for all of them"), *manifest_flags.DETAILS, *FLAGS),
    least=2,
    most=None,
    completes="image",
    later=("artifact",),
    description="""Add each IMAGE to a list and print the list's new digest. An IMAGE that is in the store is taken from there,
another one is fetched from its registry, packed as it is: it can be pushed with the list, and is not unpacked. Of an image for
several platforms that one is taken which --os, --arch and --variant name, or this machine's. What is in the list already is
replaced.""",
    examples=(
        ("crate manifest add app:1 registry.example/app:1-arm64", "one from a registry"),
        ("crate manifest add --all app:1 debian:12", "all platforms of another list"),
    ),
    exit_codes=(("0", "all are added"), ("125", "none is")),
)


def main(words: Words) -> int:
    """Add each image."""
    name, *images = words.arguments
    details, progress = manifest_flags.details(words), PullProgress(quiet=False)
    try:
        digest = open_engine(words, access(words)).manifests.add(
            name, images, details, every=words.yes("all"), progress=progress
        )
    finally:
        progress.close()
    render.line(digest)
    return 0
