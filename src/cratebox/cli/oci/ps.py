"""crate-oci ps: the host's own ps, told of the container's processes alone. No program of the container is run."""

from __future__ import annotations

import sys

from cratebox.cli.host_ps import lines_of
from cratebox.cli.oci.words import DONE, ID, print_json
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

COMMAND = Command(
    name="ps",
    arguments=f"{ID} [PS-OPTION...]",
    summary="List the processes of a container",
    flags=(
        Flag("format", "f", "FORMAT", "table, as ps prints it, or json: the pids", default="table", words=("table", "json")),
    ),
    least=1,
    most=None,
    stops=True,
    completes="container",
    description="Run the machine's ps with the options that follow (-ef) and print the lines of the container's processes. The pids are "
    "those of the machine. Among the columns there must be PID, and before it none whose values a process chooses.",
    exit_codes=DONE,
)


def main(words: Words, who: Caller) -> int:
    """List them."""
    from cratebox.runtime import lifecycle

    name, *options = words.arguments
    pids = lifecycle.processes(who.root, name)
    if words.text("format") == "json":
        print_json(pids)
        return 0
    sys.stdout.write("".join(line + "\n" for line in lines_of(pids, options or ["-ef"], "use --format json")))
    return 0
