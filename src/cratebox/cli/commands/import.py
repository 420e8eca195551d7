# ruff: noqa: N999  a word of Python's, and the verb's own name: no import statement names this module
"""crate import: an image of a root file system."""

from __future__ import annotations

import os
import sys

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine.words import shown
from cratebox.errors import InvalidValue, Unsupported, UsageError

COMMAND = Command(
    name="import",
    arguments="FILE|- [REPOSITORY[:TAG]]",
    summary="Make an image of the files of a tar archive",
    flags=(
        Flag("change", "c", "INSTRUCTION", "say how it is run, as a Dockerfile does: 'CMD [\"sh\"]'", repeat=True),
        Flag("message", "m", "TEXT", "a comment in its history"),
        Flag("platform", metavar="OS/ARCH[/VARIANT]", help="what its programs are made for; this machine's by default"),
    ),
    least=1,
    most=2,
    description="""Make an image of one layer of FILE, or of what comes on standard input: a root file system as a tar, plain or
compressed with gzip, zstd, xz or bzip2, as crate export and the makers of distributions write it. An archive that crate save or
docker save has written is for crate load.""",
    examples=(
        ("crate import rootfs.tar.xz mine:1", "from a file"),
        ("crate export web | crate import -c 'CMD [\"httpd\"]' - site", "a container's files as an image of one layer"),
        ("curl -fL https://example.com/rootfs.tar.gz | crate import - mine", "from the network"),
    ),
    exit_codes=(("0", "the image's ID was printed"), ("125", "there is no image: the message says why")),
)


def main(words: Words) -> int:
    """Make the image and print its ID."""
    from cratebox.engine.importing import Wish

    source, name = words.arguments[0], words.arguments[1] if len(words.arguments) > 1 else ""
    wish = Wish(name, words.text("message") or "", words.all("change"), words.text("platform") or "")
    images = open_engine(words).images
    if source == "-":
        if sys.stdin.isatty():
            raise UsageError("there is no archive on a terminal", "crate import FILE, or redirect the input")
        render.line(images.import_(sys.stdin.fileno(), wish).id)
        return 0
    fd = _open(source)
    try:
        render.line(images.import_(fd, wish, source).id)
    finally:
        os.close(fd)
    return 0


def _open(source: str) -> int:
    if source.startswith(("http://", "https://", "ftp://")):
        raise Unsupported(
            f"cannot import {shown(source)}: crate fetches from registries alone", f"curl -fL {shown(source)} | crate import -"
        )
    try:
        return os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidValue(f"cannot read {shown(source)}: {reason}") from None
