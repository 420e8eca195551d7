"""crate load: the images of an archive."""

from __future__ import annotations

import sys

from cratebox.cli.commands import PullProgress, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.cli.render import line
from cratebox.errors import UsageError
from cratebox.image import reference

COMMAND = Command(
    name="load",
    arguments="",
    summary="Take the images of an archive into the store",
    flags=(
        Flag("input", "i", "PATH", "read PATH, a file or a directory, not standard input", completes="file"),
        Flag("platform", metavar="OS/ARCH[/VARIANT]", help="which ones of multi-platform images"),
        Flag("quiet", "q", help="draw no progress"),
    ),
    description="""Take all images of an archive: what crate save, docker save, podman save, skopeo, BuildKit and ctr images
export write, as docker-archive or OCI layout, as a tar (plain, or compressed with gzip, zstd, xz or bzip2) or as a directory.
Each gets the names that the archive has for it; an image that had one of them keeps none. Everything is checked against its
digests first: an archive that lies about one of its images gives none.""",
    examples=(
        ("crate load -i alpine.tar", "from a file"),
        ("ssh host docker save alpine | crate load", "from another machine"),
    ),
    exit_codes=(("0", "all of its images are there"), ("125", "none of them was taken: the message says why")),
)


def main(words: Words) -> int:
    """Load them, and say what they are called."""
    path = words.text("input") or None
    if path is None and sys.stdin.isatty():
        raise UsageError("there is no archive on a terminal", "crate load -i FILE, or redirect the input")
    # Docker draws on a terminal alone: lines of progress would stand among those that scripts read.
    progress = PullProgress(words.yes("quiet") or not sys.stderr.isatty())
    try:
        loaded = open_engine(words).images.load(
            sys.stdin.fileno() if path is None else path, words.text("platform"), progress=progress
        )
    finally:
        progress.close()
    for one in loaded:
        for name in one.names:
            line(f"Loaded image: {reference.familiar(name)}")
        if not one.names:
            line(f"Loaded image ID: {one.image.id}")
    return 0
