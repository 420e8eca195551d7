"""crate-oci run."""

from __future__ import annotations

from cratebox.cli.oci.words import CREATION, ID, bundle_of, settings
from cratebox.cli.options import Command, Flag, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

COMMAND = Command(
    name="run",
    arguments=ID,
    summary="create, start, and wait for the end",
    flags=(
        *CREATION,
        Flag("detach", "d", help="do not wait"),
        Flag("keep", help="do not delete the container when it has ended"),
        Flag("no-subreaper", help="adopt no processes that the container orphans: crate-oci never does"),
    ),
    least=1,
    most=1,
    description="Make a container of a bundle, run its command, and wait for its end, copying from and to its terminal where it "
    "has one. Then the container is deleted, unless --keep says otherwise.",
    exit_codes=(
        ("1", "an error of the runtime"),
        ("128+N", "the process died of signal N"),
        ("otherwise", "its exit code; with --detach 0"),
    ),
)


def main(words: Words, who: Caller) -> int:
    """Run it."""
    from cratebox.runtime import lifecycle

    more = settings(words, who) | ({"keep": True} if words.yes("keep") else {})
    return int(lifecycle.run(who.root, words.arguments[0], bundle_of(words), detach=words.yes("detach"), **more))
