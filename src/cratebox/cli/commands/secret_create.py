"""crate secret create: keep something that only containers may read."""

from __future__ import annotations

import os
import sys

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.engine import given_files
from cratebox.engine.config import parse_label
from cratebox.engine.secrets import MOST
from cratebox.engine.words import shown
from cratebox.errors import InvalidValue

COMMAND = Command(
    name="create",
    arguments="NAME FILE|-",
    summary="Keep a secret",
    flags=(
        Flag("label", "l", "KEY=VALUE", "keep a word with it", repeat=True),
        Flag("env", help="FILE is the name of a variable of this command"),
        Flag("replace", help="in place of the one of that name"),
    ),
    least=2,
    most=2,
    completes="file",
    later=("d/driver", "driver-opts", "template-driver"),
    description="""Keep what is in FILE, or comes on standard input, by that name, and print its ID. It lies in your store,
readable by you alone, and is told by no command; `crate run --secret NAME` gives it to a container.""",
    examples=(
        ("printf %s s3cret | crate secret create password -", "without an end of line"),
        ("crate run --rm --secret password alpine cat /run/secrets/password", "in a container"),
    ),
    exit_codes=(("0", "it is kept"), ("125", "it is not")),
)


def main(words: Words) -> int:
    """Keep it and print its ID."""
    name, source = words.arguments
    labels = dict(map(parse_label, words.all("label")))
    data = _of_variable(source) if words.yes("env") else _of_file(source)
    print(open_engine(words).secrets.create(name, data, labels, words.yes("replace")).id)
    return 0


def _of_variable(name: str) -> bytes:
    try:
        return os.environb[os.fsencode(name)]
    except KeyError:
        raise InvalidValue(f"there is no variable {shown(name)}") from None


def _of_file(path: str) -> bytes:
    if path != "-":
        return given_files.read(path, MOST, "secret")
    try:
        return sys.stdin.buffer.read(MOST + 1)
    except OSError as error:
        raise InvalidValue(f"cannot read standard input: {error.strerror}") from None
