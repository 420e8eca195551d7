"""crate system check: whether all that crate keeps is as it was written."""

from __future__ import annotations

import sys

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="check",
    arguments="",
    summary="Look for damage, and repair it",
    flags=(
        Flag(
            "repair",
            "r",
            help="repair what can be, by fetching images again as well; one that cannot be and that no container needs is removed",
        ),
        Flag("force", "f", help="with --repair: remove the containers that cannot be repaired"),
        Flag("quick", "q", help="do not read all layers: sizes and records alone"),
    ),
    description="""Look at the records of all containers and at the store: the index, the digest of each blob, each unpacked
layer beside its archive, file by file. Each damage has one line, with what helps. Other commands may go on meanwhile. A layer
is unpacked once more, beside, to be compared, which takes its space on the disk for a moment; --quick does without.""",
    examples=(
        ("crate system check -q", "a quick look"),
        ("crate system check --repair", "repair what can be, and tell the rest"),
    ),
    exit_codes=(
        ("0", "nothing is damaged, or all was repaired"),
        ("1", "something is damaged"),
        ("125", "it cannot be looked at"),
    ),
)


def main(words: Words) -> int:
    """Print what is damaged and what was repaired."""
    from cratebox.engine.checking import Wish

    wish = Wish(repair=words.yes("repair"), remove=words.yes("force"), quick=words.yes("quick"))
    if wish.remove and not wish.repair:
        raise words.wrong("--force removes what --repair cannot repair", "give both")
    checked = open_engine(words).check(wish)
    for text in checked.repaired:
        render.line(f"repaired {text}")
    for damage in checked.damages:
        render.line(f"{damage.subject}: {damage.problem} ({damage.remedy})")
    if not checked.damages and not checked.repaired:
        render.line("nothing is damaged")
    sys.stdout.flush()
    return 1 if checked.damages else 0
