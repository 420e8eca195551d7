"""crate secret ls: what secrets there are."""

from __future__ import annotations

import time

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

_HEADERS = {"ID": "ID", "Name": "NAME", "Driver": "DRIVER", "CreatedAt": "CREATED", "UpdatedAt": "UPDATED"}
COMMAND = Command(
    name="ls",
    arguments="",
    summary="List secrets",
    flags=(
        Flag("quiet", "q", help="print IDs alone"),
        Flag("format", metavar="FORMAT", help="table, json, TEMPLATE or 'table TEMPLATE', as '{{.Name}}'"),
    ),
    later=("f/filter", "n/noheading"),
    description="List the secrets in your store by name; what is in them is never shown.",
    exit_codes=(("0", "done"),),
)


def main(words: Words) -> int:
    """Print the list."""
    found = open_engine(words).secrets.list()
    if words.yes("quiet") and not words.given("format"):
        for secret in found:
            render.line(secret.id)
        return 0
    rows = [
        {
            "ID": secret.id,
            "Name": secret.name,
            "Driver": "file",
            "CreatedAt": (when := render.duration(time.time() - secret.created) + " ago"),
            "UpdatedAt": when,
        }
        for secret in found
    ]
    render.listing(rows, _HEADERS, list(_HEADERS), words.text("format"))
    return 0
