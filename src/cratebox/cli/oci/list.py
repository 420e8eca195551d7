"""crate-oci list."""

from __future__ import annotations

import sys

from cratebox.cli.oci.words import DONE, print_json
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")
COMMAND = Command(
    name="list",
    arguments="",
    summary="List containers",
    flags=(
        Flag("format", "f", "FORMAT", "table or json", default="table", words=("table", "json")),
        Flag("quiet", "q", help="print IDs alone"),
    ),
    description="List the containers whose state is in the directory of --root.",
    exit_codes=DONE,
)


def main(words: Words, who: Caller) -> int:
    """List them."""
    from cratebox.runtime import lifecycle

    found = lifecycle.list_containers(who.root)
    if words.yes("quiet"):
        sys.stdout.write("".join(f"{entry['id']}\n" for entry in found))
    elif words.text("format") == "json":
        print_json(found)
    else:
        from cratebox.cli.render import table

        table([[name.upper() for name in _COLUMNS], *([str(one.get(name, "")) for name in _COLUMNS] for one in found)])
    return 0
