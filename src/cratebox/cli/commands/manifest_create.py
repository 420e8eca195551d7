"""crate manifest create: make a list of manifests."""

from __future__ import annotations

from cratebox.cli import manifest_flags, render
from cratebox.cli.commands import PullProgress, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.cli.registry_flags import FLAGS, INSECURE, access

COMMAND = Command(
    name="create",
    arguments="LIST [IMAGE...]",
    summary="Make a list of manifests",
    flags=(
        Flag("all", help="of an image for several platforms, those for all of them"),
        Flag("amend", "a", help="a list that is there already is as good, and is added to"),
        manifest_flags.ANNOTATION,
        *FLAGS,
        INSECURE,
    ),
    least=1,
    most=None,
    completes="image",
    description=f"""Make a list of the images that follow and print its digest. Each is one of the store, or is fetched from its
registry (crate manifest add). {manifest_flags.LISTED}""",
    examples=(
        ("crate manifest create app:1 app:1-amd64 app:1-arm64", "then: crate manifest push app:1 registry.example/app:1"),
    ),
    exit_codes=(("0", "it is there"), ("125", "it is not, as it was before: an image could not be added")),
)


def main(words: Words) -> int:
    """Make the list."""
    name, *images = words.arguments
    progress = PullProgress(quiet=False)
    try:
        digest = open_engine(words, access(words)).manifests.create(
            name,
            images,
            amend=words.yes("amend"),
            every=words.yes("all"),
            annotations=manifest_flags.given_annotations(words),
            progress=progress,
        )
    finally:
        progress.close()
    render.line(digest)
    return 0
