"""crate-oci resume."""

from __future__ import annotations

from cratebox.cli.oci.words import DONE, ID
from cratebox.cli.options import Command, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

COMMAND = Command(
    name="resume",
    arguments=ID,
    summary="Let the processes of a paused container go on",
    least=1,
    most=1,
    completes="container",
    description="Thaw the container's cgroup, which `pause` has frozen.",
    exit_codes=DONE,
)


def main(words: Words, who: Caller) -> int:
    """Thaw it."""
    from cratebox.runtime import lifecycle

    lifecycle.resume(who.root, words.arguments[0])
    return 0
