"""crate-oci ps: the host's own ps, told of the container's processes alone. No program of the container is run."""

from __future__ import annotations

import sys

from cratebox.cli.oci.words import DONE, ID, print_json
from cratebox.cli.options import Command, Flag, Words
from cratebox.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
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
    "those of the machine. Among the columns there must be PID, and before it none whose values have spaces.",
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
    head, *lines = _ps(options or ["-ef"]).splitlines() or [""]
    column = _column(head)
    ours = {str(pid) for pid in pids}
    kept = [line for line in lines if len(cells := line.split()) > column and cells[column] in ours]
    sys.stdout.write("".join(line + "\n" for line in (head, *kept)))
    return 0


def _ps(options: list[str]) -> str:
    """Return what ps prints. Raises RuntimeFailure."""
    import os
    import shutil
    import subprocess

    program = shutil.which("ps", path=os.environ.get("PATH") or _PATH) or shutil.which("ps", path=_PATH)
    if program is None:
        raise RuntimeFailure("there is no ps on this machine", "install procps, or use --format json")
    done = subprocess.run([program, *options], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeFailure(f"{program} ended with {done.returncode}: {said[0] if said else 'no word'}")
    return done.stdout.decode(errors="surrogateescape")


def _column(head: str) -> int:
    names = head.split()
    if "PID" not in names:
        raise RuntimeFailure("ps prints no column PID with these options: the container's processes cannot be told")
    return names.index("PID")
