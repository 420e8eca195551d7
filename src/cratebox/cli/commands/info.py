"""crate info: what crate found on this machine."""

from __future__ import annotations

import sys

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = Flag("format", "f", "FORMAT", "json, or a template as '{{.Name}}'")

COMMAND = Command(
    name="info",
    arguments="",
    summary="Show what crate found on this machine",
    flags=(FORMAT,),
    description="""Show where state lives, what the kernel offers, how cgroups and networks are done, and what is missing here
with the command that mends it.""",
    examples=(("crate info -f json", "for a program, or for a bug report"),),
    exit_codes=(("0", "always, save where the state cannot be read (125)"),),
)


def show(values: dict[str, Any], form: str | None) -> None:
    """Print named values as --format says; without it, for people."""
    from cratebox.cli import template

    if not form:
        render.tree(values)
    elif form == "json":
        sys.stdout.write(render.json_line(values) + "\n")
    else:
        render.line(template.parse(template.unescape(form)).show(values), keep="\n\t")


def main(words: Words) -> int:
    """Print it."""
    show(open_engine(words).info(), words.text("format"))
    return 0
