"""crate attach: stay with a container that runs already."""

from __future__ import annotations

import os
import sys

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine.config import parse_detach_keys
from cratebox.errors import UsageError

COMMAND = Command(
    name="attach",
    arguments="CONTAINER",
    summary="Stay with a container that runs already",
    flags=(
        Flag("no-stdin", help="do not pass standard input on"),
        Flag("sig-proxy", help="pass signals on to it (the default; =false does not)", default="true"),
        Flag("detach-keys", metavar="KEYS", help="what to type to leave it running (ctrl-p,ctrl-q)"),
    ),
    least=1,
    most=1,
    completes="container",
    description="""Show what a running container says from now on, pass on to it what is typed, and signals, and end with its
exit code. What it said before is in `crate logs`. Standard input is passed on where the container was made with -i. Any number
of people can be attached to one container; of one with a terminal they share the screen.""",
    examples=(
        ("crate attach web", "see what it says; ctrl-c ends it"),
        ("crate attach --sig-proxy=false web", "ctrl-c ends attach alone"),
        ("crate attach --detach-keys ctrl-x,x box", "leave it by typing ctrl-x and x"),
    ),
    exit_codes=(
        ("1", "the detach keys were typed: the container runs on"),
        ("125", "crate itself could not do it: it does not run, for instance"),
        ("otherwise", "the exit code of the container"),
    ),
)


def main(words: Words) -> int:
    """Stay with the container; return its exit code."""
    containers = open_engine(words).containers
    reference, keys, stdin = words.arguments[0], words.text("detach-keys"), not words.yes("no-stdin")
    config = containers.get(reference).config
    if stdin and config.interactive and config.tty and not os.isatty(0):
        raise UsageError("standard input is not a terminal", "crate attach --no-stdin shows what it says")
    code = containers.attach(
        reference, stdin=stdin, sig_proxy=words.yes("sig-proxy"), detach_keys=None if keys is None else parse_detach_keys(keys)
    )
    if code is None:
        sys.stderr.write("read escape sequence\n")  # Docker's words and exit code
        return 1
    return code
