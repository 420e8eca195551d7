"""crate-oci pause."""

from __future__ import annotations

from cratebox.cli.oci.words import DONE, ID
from cratebox.cli.options import Command, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

COMMAND = Command(
    name="pause",
    arguments=ID,
    summary="Stop all processes of a container where they are",
    least=1,
    most=1,
    completes="container",
    description="Freeze the container's cgroup: its processes neither run nor see signals until `resume`.",
    exit_codes=DONE,
)


def main(words: Words, who: Caller) -> int:
    """Freeze it."""
    from cratebox.runtime import lifecycle

    lifecycle.pause(who.root, words.arguments[0])
    return 0
