"""crate manifest inspect: what a list has, or what a registry has for a name."""

from __future__ import annotations

import sys

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.cli.registry_flags import FLAGS, INSECURE, access

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    name="inspect",
    arguments="LIST|IMAGE",
    summary="Show a list of manifests, or what a registry has for a name",
    flags=(Flag("verbose", "v", help="each manifest of it, with its descriptor, as Docker shows them"), *FLAGS, INSECURE),
    least=1,
    most=1,
    completes="image",
    description="""Print the document of a list of this store; where there is none of that name, the manifest or the index that
its registry has for it, without fetching anything else.""",
    examples=(("crate manifest inspect alpine", "which platforms there are"),),
    exit_codes=(("0", "it was shown"), ("125", "there is none, here or in the registry")),
)


def main(words: Words) -> int:
    """Print the document."""
    lists, name = open_engine(words, access(words)).manifests, words.arguments[0]
    found: Any = lists.inspect(name)
    if words.yes("verbose"):
        each = lists.manifests_of(name)
        found = each if "manifests" in found else each[0]
    sys.stdout.write(render.json_text(found) + "\n")
    return 0
