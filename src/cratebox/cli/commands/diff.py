"""crate diff: what a container has changed in its root file system."""

from __future__ import annotations

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cratebox.engine.changes import Change

COMMAND = Command(
    name="diff",
    arguments="CONTAINER",
    summary="Show what a container changed in its file system",
    flags=(Flag("format", metavar="FORMAT", help="json: lists of what was changed, added and deleted", words=("json",)),),
    least=1,
    most=1,
    completes="container",
    description="""List the files and directories that a container has added (A), changed (C) or deleted (D) since it was made
from its image, a directory before what is in it. What is mounted in it, volumes among it, is not looked at.""",
    examples=(("crate diff web", "one line for each"),),
    exit_codes=(("0", "it was shown"), ("125", "there is no such container, or it keeps its changes in memory (rootfs:)")),
)

_LISTS = {"C": "changed", "A": "added", "D": "deleted"}


def main(words: Words) -> int:
    """Print the changes."""
    show(open_engine(words).containers.diff(words.arguments[0]), words.text("format"))
    return 0


def show(changes: Iterable[Change], form: str | None) -> None:
    """Print changes as --format asks: a line for each, or `json`."""
    if form == "json":
        lists: dict[str, list[str]] = {name: [] for name in _LISTS.values()}
        for change in changes:
            lists[_LISTS[change.kind]].append(change.path)
        print(render.json_text({name: paths for name, paths in lists.items() if paths}))
    else:
        for change in changes:
            render.line(f"{change.kind} {change.path}")
