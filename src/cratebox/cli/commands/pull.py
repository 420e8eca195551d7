"""crate pull: fetch an image."""

from __future__ import annotations

import sys

from cratebox.cli.commands import STORED, PullProgress, for_each, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.cli.registry_flags import FLAGS, access
from cratebox.cli.render import line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.images import Images

COMMAND = Command(
    name="pull",
    arguments="IMAGE",
    summary="Fetch an image from a registry",
    flags=(
        Flag("all-tags", "a", help="all tags that the repository has"),
        Flag("platform", metavar="OS/ARCH[/VARIANT]", help="which one of a multi-platform image"),
        Flag("quiet", "q", help="print the image's full name alone"),
        *FLAGS,
    ),
    least=1,
    most=1,
    completes="image",
    later=("disable-content-trust",),
    description=f"""Fetch what is not there yet of an image, check it against its digests, and keep it. Layers come side by
side; a pull that was cut off goes on where it stopped. Without a tag, :latest is meant. An image from a file gets the names
that the file has for it, as `docker save` writes them; where one is run from a file, it gets none.

{STORED}.""",
    examples=(
        ("crate pull alpine", "docker.io/library/alpine:latest"),
        ("crate pull --platform linux/arm64 debian:12", "another platform's"),
        ("crate pull --all-tags registry.lan:5000/team/app", "every tag of it"),
    ),
    exit_codes=(
        ("0", "the image is there"),
        ("1", "--all-tags: one of them could not be fetched; the others were"),
        ("125", "it could not be fetched; nothing of a wrong one is kept"),
    ),
)


def main(words: Words) -> int:
    """Fetch the image, or all of a repository, and say what came of it."""
    images = open_engine(words, access(words)).images
    name = words.arguments[0]
    if not words.yes("all-tags"):
        _pull(words, images, name)
        return 0
    words.arguments = tuple(f"{name}:{tag}" for tag in images.tags(name))
    return for_each(words, lambda each: _pull(words, images, each))


def _pull(words: Words, images: Images, name: str) -> tuple[str, ...]:
    source = images.source(name)
    reference, quiet = source.reference, words.yes("quiet")
    if not quiet and reference is not None and reference.tag == "latest" and ":latest" not in name:
        line("Using default tag: latest")
        sys.stdout.flush()
    progress = PullProgress(quiet, to_stdout=True)
    try:
        image = images.pull(name, platform=words.text("platform"), policy="always", progress=progress)
    finally:
        progress.close()
    if not quiet:
        news = "Image is up to date for" if images.last_status == "present" else "Downloaded newer image for"
        line(f"Digest: {image.manifest_digest}")
        line(f"Status: {news} {reference.familiar if reference else source}")
    line(str(source))
    return ()
