"""crate-oci start."""

from __future__ import annotations

from cratebox.cli.oci.words import DONE, ID
from cratebox.cli.options import Command, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

COMMAND = Command(
    name="start",
    arguments=ID,
    summary="Run the command of a created container",
    least=1,
    most=1,
    completes="container",
    description="Let the command of a container that `create` has made run. What keeps it from running is told here.",
    exit_codes=DONE,
)


def main(words: Words, who: Caller) -> int:
    """Start it."""
    from cratebox.runtime import lifecycle

    lifecycle.start(who.root, words.arguments[0])
    return 0
