"""crate artifact ls: what speaks of an image."""

from __future__ import annotations

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.cli.registry_flags import FLAGS, access

_HEADERS = {"Digest": "DIGEST", "ArtifactType": "ARTIFACT TYPE", "Size": "SIZE", "Annotations": "ANNOTATIONS"}

COMMAND = Command(
    name="ls",
    arguments="NAME[:TAG|@DIGEST]",
    summary="List the artifacts that speak of an image",
    flags=(
        Flag("artifact-type", metavar="TYPE", help="those of one type alone"),
        Flag("format", metavar="FORMAT", help="table, json, TEMPLATE or 'table TEMPLATE', as '{{.Digest}}'"),
        Flag("quiet", "q", help="print digests alone"),
        *FLAGS,
    ),
    least=1,
    most=1,
    description="""Ask the registry for the artifacts whose subject an image (or another artifact) is: signatures, lists of
parts, reports. A registry without that question is asked for the index that clients keep in its place. SIZE is that of the
artifact's manifest, in bytes.""",
    examples=(("crate artifact ls registry.lan:5000/app:1.0", "all of them"),),
    exit_codes=(("0", "done"), ("125", "there is no such image, or the registry did not answer")),
)


def main(words: Words) -> int:
    """Print the list."""
    found = open_engine(words, access(words)).artifacts.list(words.arguments[0], words.text("artifact-type"))
    form = words.text("format")
    if words.yes("quiet") and not form:
        for one in found:
            render.line(one.digest)
        return 0
    rows = [
        {
            "Annotations": ",".join(f"{key}={value}" for key, value in sorted(one.annotations.items())),
            "ArtifactType": one.type,
            "Digest": one.digest,
            "Size": str(one.size),
        }
        for one in found
    ]
    render.listing(rows, _HEADERS, tuple(_HEADERS), form or None)
    return 0
