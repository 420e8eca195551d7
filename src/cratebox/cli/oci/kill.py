"""crate-oci kill."""

from __future__ import annotations

from cratebox.cli.oci.words import DONE, ID
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

COMMAND = Command(
    name="kill",
    arguments=f"{ID} [SIGNAL]",
    summary="Send a signal (TERM)",
    flags=(
        Flag("all", "a", help="to every process of the container"),
        Flag("regex", "r", help="CONTAINER-ID is a regular expression: to all containers whose whole ID it matches"),
    ),
    least=1,
    most=2,
    completes="container",
    description="Send a signal to the container's process. A signal is a number, or a name with SIG or without: 15, TERM, "
    "SIGTERM, RTMIN+3.",
    exit_codes=DONE,
)


def main(words: Words, who: Caller) -> int:
    """Send it."""
    from cratebox.engine.signals import parse
    from cratebox.runtime import lifecycle

    name, *signal = words.arguments
    number = parse(signal[0] if signal else "TERM")
    if words.yes("regex"):
        from cratebox.cli.oci.matching import each

        return each(who, name, lambda one: lifecycle.kill(who.root, one, number, all=words.yes("all")))
    lifecycle.kill(who.root, name, number, all=words.yes("all"))
    return 0
