"""crate save: images as an archive."""

from __future__ import annotations

import sys

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.errors import UsageError

COMMAND = Command(
    name="save",
    arguments="IMAGE [IMAGE...]",
    summary="Write images as an archive that crate load and other engines take",
    flags=(
        Flag("output", "o", "PATH", "write to PATH, whole or not at all, not to standard output", completes="file"),
        Flag(
            "format",
            metavar="FORM",
            help="docker-archive (default), oci-archive, or oci-dir, a directory",
            words=("docker-archive", "oci-archive", "oci-dir"),
            default="docker-archive",
        ),
        Flag("platform", metavar="OS/ARCH[/VARIANT]", help="refuse images for another platform"),
    ),
    least=1,
    most=None,
    completes="image",
    description="""Write one or more images, with the names by which they are given, as a tar archive. A name without a tag
means all tags of its repository; an image that is given by its ID has no name in the archive. Layers that images share are
there once. The default form is an OCI layout and a docker-archive in one, as Docker writes it; oci-archive leaves out what is
Docker's. Layers stay compressed, so the archive need not be compressed again, and it is a tar whatever it is called. The same
images give the same bytes.""",
    examples=(
        ("crate save -o alpine.tar alpine:3.20", "into a file"),
        ("crate save alpine:3.20 debian:12 | ssh host crate load", "two images to another machine"),
        ("crate save --format oci-dir -o layout alpine:3.20", "a directory in the OCI layout"),
    ),
    exit_codes=(("0", "it was written"), ("125", "it was not, or the archive would go to a terminal")),
)


def main(words: Words) -> int:
    """Write the archive."""
    path = words.text("output") or None
    if path is None and sys.stdout.isatty():
        raise UsageError("an archive does not belong on a terminal", "crate save -o FILE, or redirect the output")
    to = sys.stdout.fileno() if path is None else path
    open_engine(words).images.save(words.arguments, to, words.text("format") or "docker-archive", words.text("platform"))
    return 0
