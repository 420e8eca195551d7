"""crate manifest ls: which lists of manifests there are."""

from __future__ import annotations

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="ls",
    arguments="",
    summary="List the lists of manifests",
    flags=(
        Flag("quiet", "q", help="print names alone"),
        Flag("format", metavar="FORMAT", help="table, json, TEMPLATE or 'table TEMPLATE', as '{{.Name}} {{.Digest}}'"),
    ),
    description="List the lists of manifests that were made here (crate manifest create), and how many manifests each has.",
    examples=(("crate manifest ls", "a line for each"),),
    exit_codes=(("0", "done"), ("125", "the store cannot be read")),
)

_HEADERS = {"Name": "NAME", "Digest": "DIGEST", "Manifests": "MANIFESTS"}


def main(words: Words) -> int:
    """Print the list."""
    rows = [
        dict(zip(_HEADERS, (name, digest, str(count)), strict=True))
        for name, digest, count in open_engine(words).manifests.list()
    ]
    if words.yes("quiet") and not words.given("format"):
        for row in rows:
            render.line(row["Name"])
        return 0
    render.listing(rows, _HEADERS, tuple(_HEADERS), words.text("format"))
    return 0
