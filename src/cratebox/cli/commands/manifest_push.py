"""crate manifest push: push a list of manifests, with the images it is made of."""

from __future__ import annotations

from cratebox.cli import render
from cratebox.cli.commands import PullProgress, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.cli.registry_flags import FLAGS, INSECURE, access

COMMAND = Command(
    name="push",
    arguments="LIST [DESTINATION]",
    summary="Push a list of manifests, with its images",
    flags=(
        Flag("all", default="true", help="push the images as well (a registry refuses a list of images that it has not)"),
        Flag("purge", "p", help="remove the list afterwards", alias="rm"),
        Flag("quiet", "q", help="print nothing but the digest"),
        *FLAGS,
        INSECURE,
    ),
    least=1,
    most=2,
    completes="image",
    later=("format", "digestfile", "remove-signatures", "sign-by"),
    description="""Push the images of a list, what the registry has not of them, then the list itself under its name, and print
its digest. DESTINATION is another name for it, as REGISTRY/NAME:TAG or docker://REGISTRY/NAME:TAG.""",
    examples=(("crate manifest push app:1 registry.example/app:1", "under another name"),),
    exit_codes=(("0", "the registry has it"), ("125", "it has not")),
)


def main(words: Words) -> int:
    """Push it."""
    if not words.yes("all"):
        raise words.wrong("--all=false is not there: the images are pushed with their list")
    lists = open_engine(words, access(words)).manifests
    name, *destination = words.arguments
    progress = PullProgress(words.yes("quiet"), doing="Pushing")
    try:
        pushed = lists.push(name, destination[0] if destination else None, progress)
    finally:
        progress.close()
    if words.yes("purge"):
        lists.delete(name)
    render.line(pushed.digest)
    return 0
