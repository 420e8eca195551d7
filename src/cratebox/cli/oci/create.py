"""crate-oci create."""

from __future__ import annotations

from cratebox.cli.oci.words import CREATION, DONE, ID, bundle_of, settings
from cratebox.cli.options import Command, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

COMMAND = Command(
    name="create",
    arguments=ID,
    summary="Make a container and stop before its command",
    flags=CREATION,
    least=1,
    most=1,
    description="Make a container of a bundle: everything is there but its command, which `start` lets run. The container gets "
    "this command's standard streams, so whoever reads them to the end waits for the container.",
    exit_codes=DONE,
)


def main(words: Words, who: Caller) -> int:
    """Make it."""
    from cratebox.runtime import lifecycle

    lifecycle.create(who.root, words.arguments[0], bundle_of(words), **settings(words, who))
    return 0
