"""crate cp: files into a container and out of it."""

from __future__ import annotations

import os
import sys

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine.words import shown
from cratebox.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.containers import Containers

COMMAND = Command(
    name="cp",
    arguments="CONTAINER:SOURCE|SOURCE|- DESTINATION|CONTAINER:DESTINATION|-",
    summary="Copy files between a container and this machine",
    flags=(
        Flag("archive", "a", help="keep owners, and of a container's files devices and set-user-ID bits too"),
        Flag("follow-link", "L", help="where SOURCE is a symlink, copy what it leads to"),
        Flag("quiet", "q", help="do not say what was copied"),
    ),
    least=2,
    most=2,
    description="""Copy a file or a directory with all that is in it, from a container, running or not, or into it. Paths of the
container begin at its root. A DESTINATION that is a directory gets SOURCE by its name, or, where SOURCE ends with /., what is
in it; one that is not there is made, in a directory that is. Without -a what comes here is yours, and what goes into the
container is its root's.

With - a tar archive is read from standard input, or written to standard output. A path of this machine with a colon in it is
written with a slash before that: ./file:name.""",
    examples=(
        ("crate cp web:/etc/hosts .", "a file, here"),
        ("crate cp site/. web:/srv", "what is in a directory, there"),
        ("crate cp web:/var/log - | tar t", "an archive"),
    ),
    exit_codes=(("0", "it was copied"), ("125", "it could not be, or not all of it")),
)


def main(words: Words) -> int:
    """Copy, one way or the other."""
    source, destination = (_split(text) for text in words.arguments)
    if source[0] and destination[0]:
        raise words.wrong("files cannot be copied from one container to another", "copy them here, and then there")
    if not source[0] and not destination[0]:
        raise words.wrong("one of the two must be of a container", "write CONTAINER:PATH")
    containers = open_engine(words).containers
    copied = _from(containers, words, source, destination[1]) if source[0] else _to(containers, words, source[1], destination)
    if copied >= 0 and not words.yes("quiet") and (words.given("quiet") or sys.stderr.isatty()):
        from cratebox.cli.render import size

        sys.stderr.write(f"Successfully copied {size(copied)} to {shown(words.arguments[1])}\n")
    return 0


def _split(text: str) -> tuple[str, str]:
    """Return (container, path); no container for a path of this machine."""
    name, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")):
        return "", text
    if not name or not path:
        raise UsageError(f"not a path: {shown(text)}", "write CONTAINER:PATH")
    return name, path


def _here(path: str) -> str:
    """Return a path of this machine, absolute; how it ends, in / or /., means something."""
    if not path:
        raise UsageError("a path is empty")
    return path if path.startswith("/") else f"{os.getcwd()}/{path}"


def _from(containers: Containers, words: Words, source: tuple[str, str], to: str) -> int:
    follow = words.yes("follow-link")
    if to == "-":
        if os.isatty(1):
            raise UsageError("standard output is a terminal", "crate cp CONTAINER:PATH - > FILE")
        containers.copy_out(*source, 1, follow)
        return -1
    return containers.copy_from(*source, _here(to), words.yes("archive"), follow)


def _to(containers: Containers, words: Words, source: str, to: tuple[str, str]) -> int:
    if source == "-":
        containers.copy_in(to[0], 0, to[1])
        return -1
    return containers.copy_to(to[0], _here(source), to[1], words.yes("archive"), words.yes("follow-link"))
