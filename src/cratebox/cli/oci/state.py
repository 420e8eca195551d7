"""crate-oci state."""

from __future__ import annotations

from cratebox.cli.oci.words import DONE, ID, print_json
from cratebox.cli.options import Command, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

COMMAND = Command(
    name="state",
    arguments=ID,
    summary="Print the state as JSON",
    least=1,
    most=1,
    completes="container",
    description="Print the state of a container as the runtime specification has it (runtime.md, State), with rootfs, created and "
    "owner as runc adds them.",
    exit_codes=DONE,
)


def main(words: Words, who: Caller) -> int:
    """Print it."""
    from cratebox.runtime import lifecycle

    print_json(lifecycle.state(who.root, words.arguments[0]))
    return 0
